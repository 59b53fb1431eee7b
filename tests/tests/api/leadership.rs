//! Two operators and one lease: who leads when the other is killed, paused,
//! stopped, or cannot reach the API server; and that nobody writes who does
//! not lead.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use switchyard_tests::apiserver::{Entry, User};
use switchyard_tests::eventually::{eventually, let_pass, throughout};
use switchyard_tests::lab::Lab;
use switchyard_tests::operator::{Operator, Plan};
use switchyard_tests::suite::Suite;

use crate::rights;
use crate::shared::{SOON, Shared, Space};

/// What [`Plan::short_lease`] says: a leader that falls silent is waited for
/// so long, and looked at so often.
const LEASE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(500);
/// The lease itself, one look (with its jitter), and what a busy machine needs.
const TAKEN_OVER: Duration = Duration::from_secs(6);
/// A lease where nobody is to lose it, or to wait for its end.
const LONG: Duration = Duration::from_secs(15);
/// A few looks, and what a busy machine needs; whoever waits for the end of [`LONG`] is not there by then.
const GIVEN_BACK: Duration = Duration::from_secs(8);

const NAME: &str = "switchyard-operator";

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "leadership::a_killed_leader_is_followed",
            killed as fn(&Lab, &Shared),
        ),
        (
            "leadership::a_paused_leader_is_followed_and_writes_nothing_after",
            paused,
        ),
        ("leadership::a_stopped_leader_is_followed_at_once", stopped),
        ("leadership::a_leader_without_an_api_server_is_followed", cut_off),
        ("leadership::a_leader_stays_while_all_is_well", steady),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

/// Two operators, each a user of its own, so that the audit log tells them apart.
struct Two {
    space: Space,
    /// Looked at a hundred times a second: not by a connection of its own each time.
    leases: Api<Lease>,
    leader: Operator,
    follower: Operator,
}

fn user(space: &Space, operator: &Operator) -> String {
    User::service_account(&space.namespace, operator.name()).name()
}

impl Two {
    /// With a lease that is soon over.
    fn start(lab: &Lab, shared: &Shared) -> Self {
        Self::with(lab, shared, Plan::short_lease)
    }

    /// With a lease that a busy machine does not lose: [`LONG`], renewed as often as the short one.
    fn start_calm(lab: &Lab, shared: &Shared) -> Self {
        Self::with(lab, shared, |plan| {
            plan.argument(&format!("--lease-duration={}s", LONG.as_secs()))
                .argument("--lease-renew-deadline=10s")
                .argument(&format!("--lease-retry-period={}ms", LOOK.as_millis()))
        })
    }

    fn with(lab: &Lab, shared: &Shared, timing: fn(Plan) -> Plan) -> Self {
        let space = shared.space();
        let start = |name: &str, number: u8| {
            let user = rights::operator(&space, name);
            let plan = timing(Plan::new(&user, &space.namespace));
            Operator::start(&lab.host(name, number), &space.plane, plan)
        };
        let one = start("operator-1", 10);
        let leases = space.all();
        holder_is(&space, &leases, one.name(), SOON);
        let other = start("operator-2", 11);
        Self {
            space,
            leases,
            leader: one,
            follower: other,
        }
    }

    /// Awaits that the follower holds the lease, and says how long that took.
    fn follower_leads(&self, lab: &Lab, since: Instant, within: Duration) {
        self.holder_is(&self.follower, within);
        lab.say(format!("followed after {:.1?}", since.elapsed()));
    }

    #[track_caller]
    fn holder_is(&self, operator: &Operator, within: Duration) {
        holder_is(&self.space, &self.leases, operator.name(), within);
    }

    /// That it holds the lease at every look for so long.
    #[track_caller]
    fn holder_stays(&self, operator: &Operator, period: Duration) {
        let what = format!("{} stays the leader", operator.name());
        throughout(&what, period, || match holder(&self.space, &self.leases)? {
            Some(holder) if holder.starts_with(operator.name()) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// What the lease says.
    fn lease(&self) -> LeaseSpec {
        lease(&self.space, &self.leases).unwrap().expect("a lease")
    }

    /// What an operator has written since then, leases too.
    fn written(&self, by: &Operator, since: switchyard_tests::apiserver::Mark) -> Vec<String> {
        let user = user(&self.space, by);
        let all = self.space.plane.audit().since(since);
        let mine = all.iter().filter(|e| e.user.username == user && e.is_write());
        mine.map(Entry::line).collect()
    }
}

/// Who holds the lease: the identity begins with the pod's name.
fn holder(space: &Space, leases: &Api<Lease>) -> Result<Option<String>, String> {
    let holder = lease(space, leases)?.and_then(|lease| lease.holder_identity);
    Ok(holder.filter(|holder| !holder.is_empty()))
}

/// What the lease says, if there is one.
fn lease(space: &Space, leases: &Api<Lease>) -> Result<Option<LeaseSpec>, String> {
    let found = space.plane.block_on(leases.get_opt(NAME));
    let found = found.map_err(|e| e.to_string())?;
    Ok(found.and_then(|lease| lease.spec))
}

#[track_caller]
fn holder_is(space: &Space, leases: &Api<Lease>, name: &str, within: Duration) {
    eventually(&format!("{name} holds the lease"), within, || {
        match holder(space, leases)? {
            Some(holder) if holder.starts_with(name) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn killed(lab: &Lab, shared: &Shared) {
    let mut two = Two::start(lab, shared);
    let at = Instant::now();
    two.leader.kill();
    let left = two.lease();
    assert!(
        left.holder_identity
            .is_some_and(|it| it.starts_with(two.leader.name()))
    );
    two.follower_leads(lab, at, TAKEN_OVER);
    // It may have been alive for all that the other knew: nobody else leads before the lease is over, which counts from its
    // last renewal, and not from its end.
    let taken = two.lease();
    let renewed = left.renew_time.expect("it was renewed").0;
    let acquired = taken.acquire_time.expect("it was acquired").0;
    let silent = Duration::try_from(acquired.duration_since(renewed)).unwrap_or_default();
    lab.say(format!("acquired {silent:.1?} after the last renewal"));
    assert!(
        silent >= LEASE,
        "{silent:?}: renewed {renewed}, acquired {acquired}"
    );
    // Back from the dead, it follows.
    two.leader.start_again();
    two.holder_stays(&two.follower, LEASE);
}

fn paused(lab: &Lab, shared: &Shared) {
    let two = Two::start(lab, shared);
    let at = Instant::now();
    two.leader.pause();
    two.follower_leads(lab, at, TAKEN_OVER);
    let_pass(LEASE);
    let mark = two.space.plane.audit().mark();
    two.leader.go_on();
    // It takes itself for the leader until it looks at the clock, which must be before it writes.
    let_pass(2 * LEASE);
    let written = two.written(&two.leader, mark);
    assert!(
        written.len() <= 1,
        "more than its request in flight: {written:#?}"
    );
    let refused = written.iter().all(|line| line.ends_with(": 409"));
    assert!(refused, "it came through: {written:#?}");
    two.holder_is(&two.follower, SOON);
}

fn stopped(lab: &Lab, shared: &Shared) {
    let mut two = Two::start_calm(lab, shared);
    let at = Instant::now();
    let ended = two.leader.stop(SOON);
    assert!(ended.success(), "{ended}");
    // It has given the lease back: nobody needs to wait until it is over.
    two.follower_leads(lab, at, GIVEN_BACK);
}

fn cut_off(lab: &Lab, shared: &Shared) {
    let mut two = Two::start(lab, shared);
    let at = Instant::now();
    two.leader.relay().cut();
    two.follower_leads(lab, at, TAKEN_OVER);
    assert!(
        two.leader.program().runs(),
        "an outage ends no operator:\n{}",
        two.leader.output()
    );
    let mark = two.space.plane.audit().mark();
    two.leader.relay().restore();
    let_pass(2 * LEASE);
    assert_eq!(two.written(&two.leader, mark), [] as [String; 0]);
    two.holder_is(&two.follower, SOON);
}

fn steady(lab: &Lab, shared: &Shared) {
    let two = Two::start_calm(lab, shared);
    let mark = two.space.plane.audit().mark();
    two.holder_stays(&two.leader, 4 * LEASE);
    assert_eq!(
        two.written(&two.follower, mark),
        [] as [String; 0],
        "the follower writes"
    );
    let leader = two.written(&two.leader, mark);
    let renewals = leader.iter().filter(|line| line.contains("/leases/")).count();
    lab.say(format!("{renewals} renewals in {:.0?}", 4 * LEASE));
    assert!(renewals >= 4, "{leader:#?}");
    assert_eq!(renewals, leader.len(), "{leader:#?}");
}
