//! Two operators that have work to do: the one that leads goes, or stands
//! still, while chains are changed. The next one has the proxies, makes the
//! changes take effect and tells of them in time; the one before writes
//! nothing any more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;
use switchyard_crds::ProxyChain;
use switchyard_tests::apiserver::{Entry, Mark, User};
use switchyard_tests::backend::Backend;
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::member::Member;
use switchyard_tests::operator::{DISCOVERY_PORT, Operator, Plan};
use switchyard_tests::service::Service;
use switchyard_tests::suite::Suite;

use crate::rights;
use crate::shared::{SOON, Shared, manifest};
use crate::site::{Site, chain_spec, served_by};

const CHAINS: usize = 20;
/// What [`Plan::short_lease`] says.
const LEASE: Duration = Duration::from_secs(3);
/// So long after everybody is connected, what changes has been reported and told.
const REPORTED: Duration = Duration::from_secs(5);
/// So long after a leader fell silent, the next one has told of everything: the lease, and the time for reports to be back.
const TOLD: Duration = Duration::from_secs(3 + 5);

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "succession::a_killed_leaders_work_is_done_by_the_next",
            killed as fn(&Lab, &Shared),
        ),
        (
            "succession::a_paused_leaders_work_is_done_by_the_next_alone",
            paused,
        ),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

/// Two operators behind one address, two proxies, and chains that all of them run.
struct Two<'a> {
    site: Site<'a>,
    _follower: Operator,
    members: [Member; 2],
    client: Host,
    /// Chains begin at the first, and are changed to the second.
    backends: [Backend; 2],
    _service: Service,
}

fn name(number: usize) -> String {
    format!("c{number:02}")
}

/// Every other one is changed; what is not must not be touched either.
fn is_changed(number: usize) -> bool {
    number.is_multiple_of(2)
}

impl<'a> Two<'a> {
    fn start(lab: &'a Lab, shared: &Shared) -> Self {
        let replicas =
            [10, 11].map(|number| std::net::SocketAddr::from(([10, 77, 0, number], DISCOVERY_PORT)));
        let service = Service::start(&lab.host("service", 9), DISCOVERY_PORT, &replicas);
        let at = service.address().to_string();
        let site = Site::with(lab, shared.space(), |plan| plan.reached_at(&at));
        let listener =
            |number: usize| json!({"name": name(number), "port": 8001 + number, "protocol": "TCP"});
        let listeners: Vec<_> = (0..CHAINS).map(listener).collect();
        let backends = [site.backend("b1", 21), site.backend("b2", 22)];
        site.apply(
            "ProxyPool",
            "edge",
            &json!({"replicas": 2, "listeners": listeners}),
        );
        let all = (0..CHAINS).map(|number| manifest_of(number, &backends[0]));
        site.space.apply(&all.collect::<Vec<_>>().join("\n---\n"));
        let members = [site.member(31), site.member(32)];
        let client = lab.host("client", 100);
        let user = rights::operator(&site.space, "operator-2");
        let plan = Plan::new(&user, &site.space.namespace)
            .short_lease()
            .reached_at(&at);
        let follower = Operator::start(&lab.host("operator-2", 11), &site.space.plane, plan);
        let two = Self {
            site,
            _follower: follower,
            members,
            client,
            backends,
            _service: service,
        };
        two.await_told(SOON);
        two
    }

    fn chains(&self) -> Result<Vec<ProxyChain>, String> {
        let all = self.site.space.all::<ProxyChain>();
        let listed = self.site.space.plane.block_on(all.list(&ListParams::default()));
        Ok(listed.map_err(|error| error.to_string())?.items)
    }

    /// Awaits that every chain's status is about its newest generation, and says that both proxies run it and serve it.
    #[track_caller]
    fn await_told(&self, within: Duration) {
        eventually("every status is up to date", within, || {
            let chains = self.chains()?;
            let late: Vec<String> = chains.iter().filter_map(|chain| is_late(chain).err()).collect();
            if chains.len() == CHAINS && late.is_empty() {
                Ok(())
            } else {
                Err(format!("{} of {}: {late:#?}", late.len(), chains.len()))
            }
        });
    }

    /// Since when the conditions of chains that nobody changes are as they are.
    fn untouched(&self) -> BTreeMap<String, Vec<String>> {
        let line = |it: &Condition| {
            format!(
                "{}={} {} since {:?}",
                it.type_, it.status, it.reason, it.last_transition_time
            )
        };
        let untouched: Vec<String> = (0..CHAINS).filter(|n| !is_changed(*n)).map(name).collect();
        let chains = self.chains().unwrap().into_iter();
        let chains = chains.filter(|chain| untouched.contains(&chain.name_any()));
        chains
            .map(|chain| {
                let status = chain.status.clone().unwrap_or_default();
                (chain.name_any(), status.conditions.iter().map(line).collect())
            })
            .collect()
    }

    fn change(&self, to: &Backend) {
        let some = (0..CHAINS).filter(|n| is_changed(*n));
        let all: Vec<String> = some.map(|number| manifest_of(number, to)).collect();
        self.site.space.apply(&all.join("\n---\n"));
    }

    /// Both proxies send clients of the changed chains to this backend.
    #[track_caller]
    fn in_effect(&self, backend: &Backend) {
        for member in &self.members {
            for number in (0..CHAINS).filter(|n| is_changed(*n)) {
                let port = u16::try_from(8001 + number).unwrap();
                served_by(&self.client, member.at(port), backend);
            }
        }
    }

    /// What this operator has written since then.
    fn written(&self, operator: &str, since: Mark) -> Vec<Entry> {
        let user = User::service_account(&self.site.space.namespace, operator).name();
        let all = self.site.space.plane.audit().since(since).into_iter();
        all.filter(|entry| entry.user.username == user && entry.is_write())
            .collect()
    }

    /// The other operator has told of each changed chain, and nobody else has.
    fn told_by_the_next(&self, lab: &Lab, since: Mark) {
        let told = self.written("operator-2", since);
        let told = told.iter().filter(|entry| {
            entry.object_ref.resource == "proxychains" && entry.object_ref.subresource == "status"
        });
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for entry in told {
            *count.entry(entry.object_ref.name.clone()).or_default() += 1;
        }
        lab.say(format!("status writes of the next leader: {count:?}"));
        for number in (0..CHAINS).filter(|n| is_changed(*n)) {
            assert!(count.contains_key(&name(number)), "{count:?}");
        }
    }
}

/// After the test, nothing may have been asked for that the role does not allow.
impl Drop for Two<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let user = User::service_account(&self.site.space.namespace, "operator-2").name();
        let refused = self.site.space.plane.audit().forbidden(&user, self.site.begun());
        // Between its account and its roles there is a moment, but it is started after both.
        let refused: Vec<String> = refused.iter().map(Entry::line).collect();
        assert!(refused.is_empty(), "the role does not allow: {refused:#?}");
    }
}

fn manifest_of(number: usize, backend: &Backend) -> String {
    let name = name(number);
    manifest("ProxyChain", &name, &chain_spec(&name, &[backend]))
}

fn is_late(chain: &ProxyChain) -> Result<(), String> {
    let generation = chain.metadata.generation;
    let status = chain.status.clone().unwrap_or_default();
    let holds = |wanted: &str| {
        let found = status.conditions.iter().find(|it| it.type_ == wanted);
        found.is_some_and(|it| it.status == "True" && it.observed_generation == generation)
    };
    if status.observed_generation == generation
        && status.programmed.as_deref() == Some("2/2")
        && holds("Programmed")
        && holds("Ready")
    {
        return Ok(());
    }
    let told: Vec<String> = status
        .conditions
        .iter()
        .map(|it| {
            format!(
                "{}={} {:?} {}",
                it.type_, it.status, it.observed_generation, it.message
            )
        })
        .collect();
    Err(format!(
        "{} generation {generation:?}: {told:?}",
        chain.name_any()
    ))
}

fn killed(lab: &Lab, shared: &Shared) {
    let mut two = Two::start(lab, shared);
    let before = two.untouched();
    let mark = two.site.space.plane.audit().mark();
    let at = Instant::now();
    two.site.operator.kill();
    two.change(&two.backends[1]);
    // On a busy machine it takes kubectl seconds to say what changes: nobody can tell of it before.
    let changed = Instant::now();
    two.await_told(TOLD.saturating_sub(at.elapsed()).max(REPORTED));
    lab.say(format!(
        "told {:.1?} after the leader was killed, {:.1?} after the change",
        at.elapsed(),
        changed.elapsed()
    ));
    two.in_effect(&two.backends[1]);
    lab.say(format!("all seen by clients after {:.1?}", at.elapsed()));
    two.told_by_the_next(lab, mark);
    assert_eq!(two.untouched(), before, "what nobody changed");
    // It comes back as one that follows.
    two.site.operator.start_again();
    let mark = two.site.space.plane.audit().mark();
    two.change(&two.backends[0]);
    two.await_told(SOON);
    let_pass(LEASE);
    let written: Vec<String> = two.written("operator-1", mark).iter().map(Entry::line).collect();
    assert_eq!(written, [] as [String; 0], "it writes and does not lead");
}

fn paused(lab: &Lab, shared: &Shared) {
    let two = Two::start(lab, shared);
    let before = two.untouched();
    let mark = two.site.space.plane.audit().mark();
    let at = Instant::now();
    two.site.operator.pause();
    two.change(&two.backends[1]);
    two.await_told(SOON + SOON);
    lab.say(format!("told {:.1?} after the leader was paused", at.elapsed()));
    two.in_effect(&two.backends[1]);
    lab.say(format!("all seen by clients after {:.1?}", at.elapsed()));
    two.told_by_the_next(lab, mark);
    assert_eq!(two.untouched(), before, "what nobody changed");
    let mark = two.site.space.plane.audit().mark();
    two.site.operator.go_on();
    // It wakes with everything to tell that has changed meanwhile, and takes itself for the leader until it looks at the clock.
    two.change(&two.backends[0]);
    two.await_told(SOON);
    two.in_effect(&two.backends[0]);
    let_pass(LEASE);
    let written = two.written("operator-1", mark);
    let lines: Vec<String> = written.iter().map(Entry::line).collect();
    lab.say(format!("written by the one that was paused: {lines:?}"));
    assert!(written.len() <= 1, "more than its request in flight: {lines:#?}");
    assert!(
        written.iter().all(|entry| entry.response_status.code == 409),
        "it came through: {lines:#?}"
    );
}
