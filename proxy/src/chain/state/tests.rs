use std::time::Duration;

use switchyard_snapshot::{Backend, Failback, OnDown, Target};

use super::*;
use crate::chain::event::ConnectFailed;
use crate::chain::fixture::{self, Clock, answer, backend, failing, question};
use crate::resolve::{FailureKind, Lookup, RecordKind};

mod agreement;
mod blackout;
mod group;
mod outward;
mod properties;

/// A chain's state with a clock, driven in words.
struct Rig {
    clock: Clock,
    state: ChainState,
    orders: Vec<Order>,
}

impl Rig {
    fn new(backends: Vec<Backend>) -> Self {
        Self::of(fixture::chain(backends), None)
    }

    fn of(chain: Chain, stored: Option<Stored>) -> Self {
        let clock = Clock::new();
        let state = ChainState::new(Arc::new(chain), stored, clock.0);
        Self {
            clock,
            state,
            orders: Vec::new(),
        }
    }

    fn send(&mut self, event: Event) -> &[Order] {
        self.orders = self.state.handle(event, self.clock.0);
        &self.orders
    }

    /// Passes time, waking the state whenever it asks for it.
    fn pass(&mut self, millis: u64) {
        let end = self.clock.0.mono + Duration::from_millis(millis);
        self.orders.clear();
        let mut ticks = 0;
        while let Some(at) = self.state.wake_at().filter(|at| *at <= end) {
            ticks += 1;
            assert!(ticks < 100_000, "it is woken again and again");
            let now = self.clock.to(at);
            self.orders.extend(self.state.handle(Event::Tick, now));
            let next = self.state.wake_at();
            assert!(
                next.is_none_or(|next| next > now.mono),
                "it is woken at once again"
            );
        }
        self.clock.to(end);
    }

    fn resolved(&mut self, name: &str, lookup: Arc<Lookup>) {
        self.send(Event::Resolved(question(name, RecordKind::A), lookup));
    }

    fn answers(&mut self, name: &str, addresses: &[&str]) {
        let lookup = answer(addresses, self.clock.0.mono);
        self.resolved(name, lookup);
    }

    fn id(&self, address: &str) -> EndpointId {
        let members = self.state.roster.iter();
        let mut of = members.filter(|m| m.endpoint.address.ip().to_string() == address);
        of.next().expect("an endpoint of that address").endpoint.id
    }

    fn probed(&mut self, address: &str, results: &str) {
        let endpoint = self.id(address);
        for result in results.chars() {
            let result = if result == '+' {
                Ok(())
            } else {
                Err("connection refused".to_owned())
            };
            let begun = self.clock.0.mono;
            self.send(Event::Probed {
                endpoint,
                monitor: 0,
                begun,
                result,
            });
        }
    }

    fn connect_failed(&mut self, address: &str, in_a_row: u32) {
        let failed = ConnectFailed {
            endpoint: self.id(address),
            in_a_row,
            why: "connection refused".into(),
            at: self.clock.0.mono,
        };
        self.send(Event::ConnectFailed(failed));
    }

    fn confirmed(&mut self, address: &str, result: Result<(), &str>) {
        let endpoint = self.id(address);
        let result = result.map_err(str::to_owned);
        let begun = self.clock.0.mono;
        self.send(Event::Confirmed {
            endpoint,
            begun,
            result,
        });
    }

    /// The candidates' addresses, best rank first.
    fn candidates(&self) -> Vec<String> {
        let candidates = self.state.view().candidates.iter();
        candidates.map(|c| c.endpoint.address.ip().to_string()).collect()
    }

    fn state_of(&self, address: &str) -> (String, String) {
        let report = self.state.report(self.clock.0);
        let mut of = report
            .endpoints
            .into_iter()
            .filter(|e| e.address.ip().to_string() == address);
        let endpoint = of.next().expect("an endpoint of that address");
        (endpoint.state.to_owned(), endpoint.reason)
    }

    fn empty(&self) -> String {
        self.state
            .view()
            .empty
            .as_ref()
            .map_or_else(String::new, |e| e.why.clone())
    }

    fn leaving(&self) -> Vec<(String, LeaveReason)> {
        let leaving = self.state.leaving().iter();
        leaving
            .map(|(id, why)| (self.state.endpoint(*id).unwrap().address.ip().to_string(), *why))
            .collect()
    }

    fn persisted(&self) -> Option<&Stored> {
        self.orders.iter().rev().find_map(|order| match order {
            Order::Persist(stored) => Some(stored),
            _ => None,
        })
    }
}

/// Tier 0 at 10.0.0.1, tier 1 at 10.0.1.1, both proven.
fn pair(failback: Failback) -> Rig {
    let mut chain = fixture::chain(vec![
        backend("primary", "10.0.0.1", 0),
        backend("standby", "10.0.1.1", 1),
    ]);
    chain.failover.failback = failback;
    let mut rig = Rig::of(chain, None);
    rig.probed("10.0.0.1", "+");
    rig.probed("10.0.1.1", "+");
    rig
}

#[test]
fn addresses_of_the_configuration_serve_at_once() {
    let rig = Rig::new(vec![backend("primary", "10.0.0.1", 0)]);
    assert_eq!(rig.candidates(), ["10.0.0.1"]);
    assert_eq!(rig.state.questions(), BTreeSet::new());
    assert!(!rig.state.probed(rig.clock.0)[0].probed);
}

#[test]
fn a_name_is_waited_for_then_served() {
    let mut rig = Rig::new(vec![backend("primary", "CMS.example.", 0)]);
    assert_eq!(rig.empty(), "waiting for the first answer of CMS.example.");
    assert_eq!(
        rig.state.questions().into_iter().collect::<Vec<_>>(),
        [question("cms.example", RecordKind::A)]
    );
    rig.answers("cms.example", &["10.0.0.1", "10.0.0.2"]);
    assert_eq!(rig.candidates(), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(rig.empty(), "");
}

#[test]
fn who_is_not_proven_ranks_last() {
    let mut rig = Rig::new(vec![backend("primary", "a", 0)]);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    rig.probed("10.0.0.2", "+");
    assert_eq!(rig.candidates(), ["10.0.0.2", "10.0.0.1"]);
    rig.probed("10.0.0.1", "+");
    assert_eq!(rig.candidates(), ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn a_live_failure_that_is_confirmed_ejects_until_rise() {
    let mut rig = Rig::new(vec![backend("primary", "a", 0)]);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    rig.probed("10.0.0.1", "+");
    rig.connect_failed("10.0.0.1", 1);
    assert_eq!(rig.orders, [Order::Confirm(rig.id("10.0.0.1"))]);
    assert_eq!(rig.candidates(), ["10.0.0.1", "10.0.0.2"]);
    rig.confirmed("10.0.0.1", Err("connection refused"));
    assert_eq!(rig.candidates(), ["10.0.0.2"]);
    assert_eq!(
        rig.state_of("10.0.0.1"),
        ("Ejected".into(), "ejected: connection refused, confirmed".into())
    );
    rig.confirmed("10.0.0.1", Ok(()));
    assert_eq!(rig.orders, [Order::Confirm(rig.id("10.0.0.1"))]);
    assert_eq!(rig.candidates(), ["10.0.0.2"]);
    rig.confirmed("10.0.0.1", Ok(()));
    assert_eq!(rig.candidates(), ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn sticky_stays_on_the_backup() {
    let mut rig = pair(Failback::Sticky);
    rig.probed("10.0.0.1", "--");
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
    assert_eq!(rig.persisted().map(|s| (s.epoch, s.tier)), Some((1, 1)));
    rig.probed("10.0.0.1", "++");
    rig.pass(3_600_000);
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
}

#[test]
fn delayed_goes_back_after_its_delay_and_moves_sessions() {
    let mut rig = pair(Failback::Delayed);
    rig.probed("10.0.0.1", "--");
    rig.probed("10.0.0.1", "++");
    assert!(rig.persisted().unwrap().failback_at.is_some());
    rig.pass(59_999);
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
    rig.pass(1);
    assert_eq!(rig.candidates(), ["10.0.0.1"]);
    assert_eq!(rig.leaving(), [("10.0.1.1".into(), LeaveReason::FailedBack)]);
}

#[test]
fn a_failing_resolver_removes_nobody_whose_monitors_pass() {
    let mut rig = Rig::new(vec![backend("primary", "a", 0)]);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    rig.probed("10.0.0.1", "+");
    let last = answer(&["10.0.0.1", "10.0.0.2"], rig.clock.0.mono);
    rig.pass(8_000);
    rig.resolved(
        "a",
        failing(Some(&last), FailureKind::Server, 1, rig.clock.0.mono),
    );
    assert_eq!(rig.state_of("10.0.0.1").0, "Serving");
    rig.pass(2_000);
    assert_eq!(
        rig.state_of("10.0.0.1"),
        (
            "Stale".into(),
            "served: stale 0 s, monitor tcp:80 passes (DNS: SERVFAIL)".into()
        )
    );
    rig.pass(3_599_999);
    assert_eq!(rig.candidates(), ["10.0.0.1", "10.0.0.2"]);
    rig.pass(1);
    assert_eq!(rig.candidates(), ["10.0.0.1"]);
    assert_eq!(rig.state_of("10.0.0.2").0, "Draining");
}

#[test]
fn an_address_that_left_dns_leaves_rotation_at_once_and_its_sessions_later() {
    let mut chain = fixture::chain(vec![backend("primary", "a", 0)]);
    chain.drain_vanished = Some(Duration::from_secs(30));
    let mut rig = Rig::of(chain, None);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    rig.answers("a", &["10.0.0.2"]);
    assert_eq!(rig.candidates(), ["10.0.0.2"]);
    rig.pass(29_999);
    assert_eq!(rig.leaving(), []);
    rig.pass(1);
    assert_eq!(rig.leaving(), [("10.0.0.1".into(), LeaveReason::Vanished)]);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    assert_eq!(rig.leaving(), []);
}

#[test]
fn unproven_addresses_never_take_over() {
    let mut rig = Rig::new(vec![
        backend("primary", "10.0.0.1", 0),
        backend("standby", "10.0.1.1", 1),
    ]);
    rig.probed("10.0.0.1", "--");
    assert_eq!(rig.candidates(), Vec::<String>::new());
    assert_eq!(
        rig.empty(),
        "the only endpoint of tier 0 is out: 10.0.0.1:80: monitor tcp:80 fails: connection refused"
    );
    rig.probed("10.0.1.1", "+");
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
}

#[test]
fn a_lone_proxy_that_sees_nobody_keeps_its_tier() {
    let mut rig = pair(Failback::Immediate);
    rig.probed("10.0.1.1", "--");
    rig.probed("10.0.0.1", "--");
    rig.pass(100_000);
    let report = rig.state.report(rig.clock.0);
    assert_eq!((report.active.tier, report.active.epoch), (0, 0));
}

#[test]
fn a_name_that_is_still_looked_up_is_not_down() {
    let mut rig = Rig::new(vec![
        backend("primary", "a", 0),
        backend("standby", "10.0.1.1", 1),
    ]);
    rig.probed("10.0.1.1", "+");
    assert_eq!(rig.candidates(), Vec::<String>::new());
    let lookup = failing(None, FailureKind::Unreachable, 1, rig.clock.0.mono);
    rig.resolved("a", lookup);
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
}

#[test]
fn an_empty_chain_says_why_and_since_when() {
    let mut rig = Rig::new(vec![backend("primary", "a", 0)]);
    let start = rig.clock.0.mono;
    rig.pass(700);
    let lookup = failing(None, FailureKind::NxDomain, 1, rig.clock.0.mono);
    rig.resolved("a", lookup);
    assert_eq!(rig.empty(), "DNS: NXDOMAIN for a");
    assert_eq!(rig.state.view().empty.as_ref().unwrap().since, start);
    rig.answers("a", &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    rig.pass(700);
    for n in 1..=4 {
        rig.probed(&format!("10.0.0.{n}"), "--");
    }
    assert_eq!(rig.state.view().empty.as_ref().unwrap().since, rig.clock.0.mono);
    let cause = "monitor tcp:80 fails: connection refused";
    assert_eq!(
        rig.empty(),
        format!(
            "all 4 endpoints of tier 0 are out: 10.0.0.1:80: {cause}; 10.0.0.2:80: {cause}; 10.0.0.3:80: {cause}; …"
        )
    );
}

#[test]
fn what_changes_nothing_wakes_nobody() {
    let mut rig = Rig::new(vec![backend("primary", "a", 0)]);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    rig.probed("10.0.0.1", "+");
    rig.probed("10.0.0.2", "+");
    let version = rig.state.view().version;
    rig.pass(5_000);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    rig.probed("10.0.0.1", "+-+-+");
    rig.connect_failed("10.0.0.2", 1);
    rig.confirmed("10.0.0.2", Ok(()));
    rig.send(Event::Tick);
    let same = Arc::new((*rig.state.chain).clone());
    rig.send(Event::Configured(same));
    assert_eq!(rig.state.view().version, version);
    rig.probed("10.0.0.1", "--");
    assert_eq!(rig.state.view().version, version + 1);
    rig.probed("10.0.0.1", "---");
    assert_eq!(rig.state.view().version, version + 1);
}

#[test]
fn what_is_known_of_an_address_survives_its_absence() {
    let mut rig = Rig::new(vec![backend("primary", "a", 0)]);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    rig.probed("10.0.0.1", "--");
    rig.probed("10.0.0.2", "+");
    let before = rig.id("10.0.0.1");
    rig.answers("a", &["10.0.0.2"]);
    rig.pass(500_000);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    assert_eq!(rig.id("10.0.0.1"), before);
    assert_eq!(rig.candidates(), ["10.0.0.2"]);
    rig.probed("10.0.0.1", "+");
    assert_eq!(rig.candidates(), ["10.0.0.2"], "it failed before: rise is 2");
    rig.probed("10.0.0.1", "+");
    assert_eq!(rig.candidates(), ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn an_address_may_be_missing_for_a_while() {
    let mut chain = fixture::chain(vec![backend("primary", "a", 0)]);
    chain.resolution.missing_for = Duration::from_secs(5);
    let mut rig = Rig::of(chain, None);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    rig.answers("a", &["10.0.0.2"]);
    rig.pass(4_999);
    assert_eq!(rig.candidates(), ["10.0.0.1", "10.0.0.2"]);
    rig.pass(1);
    assert_eq!(rig.candidates(), ["10.0.0.2"]);
}

#[test]
fn who_is_gone_is_probed_for_a_minute_and_forgotten_after_ten() {
    let mut rig = Rig::new(vec![backend("primary", "a", 0)]);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    let place = rig.state.endpoint(rig.id("10.0.0.1")).unwrap().reserve(None);
    rig.answers("a", &["10.0.0.3"]);
    let known = |rig: &Rig| {
        (
            rig.state.roster.iter().count(),
            rig.state.probed(rig.clock.0).len(),
        )
    };
    assert_eq!(known(&rig), (3, 3));
    rig.pass(60_000);
    assert_eq!(known(&rig), (3, 2));
    rig.pass(540_000);
    assert_eq!(known(&rig), (2, 2), "one still has a connection");
    drop(place);
    rig.pass(10_000);
    assert_eq!(known(&rig), (1, 1));
}

#[test]
fn no_more_than_so_many_are_remembered() {
    let mut rig = Rig::new(vec![backend("primary", "a", 0)]);
    for n in 0..400u16 {
        let address = format!("10.1.{}.{}", n / 250, n % 250);
        rig.pass(1);
        rig.answers("a", &[&address]);
    }
    assert_eq!(rig.state.roster.iter().count(), 257);
    assert_eq!(rig.candidates(), ["10.1.1.149"]);
}

#[test]
fn failures_in_a_row_eject_for_a_time() {
    let mut rig = Rig::new(vec![backend("primary", "a", 0)]);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    rig.probed("10.0.0.1", "+");
    rig.probed("10.0.0.2", "+");
    for in_a_row in 1..=3 {
        let endpoint = Arc::clone(rig.state.endpoint(rig.id("10.0.0.1")).unwrap());
        assert_eq!(endpoint.note_failure(), in_a_row);
        rig.connect_failed("10.0.0.1", in_a_row);
        rig.confirmed("10.0.0.1", Ok(()));
    }
    assert_eq!(rig.candidates(), ["10.0.0.2"]);
    rig.pass(9_999);
    assert_eq!(rig.candidates(), ["10.0.0.2"]);
    rig.pass(1);
    assert_eq!(rig.candidates(), ["10.0.0.1", "10.0.0.2"]);
    let endpoint = rig.state.endpoint(rig.id("10.0.0.1")).unwrap();
    assert_eq!(endpoint.note_failure(), 1, "it begins with a clean record");
}

#[test]
fn a_confirming_probe_that_got_lost_is_ordered_again() {
    let mut rig = Rig::new(vec![backend("primary", "10.0.0.1", 0)]);
    rig.connect_failed("10.0.0.1", 1);
    let again = [Order::Confirm(rig.id("10.0.0.1"))];
    assert_eq!(rig.orders, again);
    rig.pass(8_999);
    assert_eq!(rig.orders, []);
    rig.pass(1);
    assert_eq!(rig.orders, again);
}

#[test]
fn nobody_confirms_what_is_gone() {
    let mut rig = Rig::new(vec![backend("primary", "a", 0)]);
    rig.answers("a", &["10.0.0.1"]);
    rig.connect_failed("10.0.0.1", 1);
    rig.confirmed("10.0.0.1", Err("connection refused"));
    let id = rig.id("10.0.0.1");
    rig.answers("a", &["10.0.0.2"]);
    assert_eq!(rig.orders, [Order::StopConfirming(id)]);
    rig.answers("a", &["10.0.0.1"]);
    assert_eq!(rig.orders, [Order::Confirm(id)]);
    assert_eq!(rig.candidates(), Vec::<String>::new(), "it was dead when it left");
}

#[test]
fn sessions_leave_who_is_down_if_the_user_says_so() {
    for (on_down, leaving) in [(OnDown::Keep, 0), (OnDown::Close, 1)] {
        let mut chain = fixture::chain(vec![
            backend("primary", "10.0.0.1", 0),
            backend("standby", "10.0.1.1", 1),
        ]);
        chain.failover.on_down = on_down;
        let mut rig = Rig::of(chain, None);
        rig.probed("10.0.0.1", "+--");
        assert_eq!(rig.leaving().len(), leaving);
        rig.probed("10.0.0.1", "++");
        assert_eq!(rig.leaving(), []);
    }
}

#[test]
fn going_back_moves_sessions_but_sticky_never_does() {
    for failback in [Failback::Sticky, Failback::Immediate, Failback::Delayed] {
        let mut rig = pair(failback);
        rig.probed("10.0.0.1", "--");
        assert_eq!(rig.leaving(), [], "going over moves nobody");
        rig.probed("10.0.0.1", "++");
        if failback == Failback::Sticky {
            rig.probed("10.0.1.1", "--");
        }
        rig.pass(60_000);
        assert_eq!(rig.candidates(), ["10.0.0.1"]);
        let moved = rig
            .leaving()
            .iter()
            .map(|(address, _)| address == "10.0.1.1")
            .collect::<Vec<_>>();
        let expected: &[bool] = if failback == Failback::Sticky {
            &[]
        } else {
            &[true]
        };
        assert_eq!(moved, expected, "{failback:?}");
        rig.probed("10.0.1.1", "++");
        rig.probed("10.0.0.1", "--");
        assert_eq!(
            rig.leaving(),
            [],
            "{failback:?}: over again, so nobody has to leave the standby"
        );
    }
}

#[test]
fn the_user_switches_suspends_and_resumes() {
    let mut rig = pair(Failback::Sticky);
    let mut chain = (*rig.state.chain).clone();
    chain.failover.mode = Mode::Manual;
    chain.failover.active = Some("standby".into());
    rig.send(Event::Configured(Arc::new(chain.clone())));
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
    assert_eq!(rig.leaving(), [("10.0.0.1".into(), LeaveReason::Switched)]);
    assert_eq!(rig.persisted().map(|s| (s.epoch, s.tier)), Some((1, 1)));
    chain.suspend = true;
    rig.send(Event::Configured(Arc::new(chain.clone())));
    let empty = rig.state.view().empty.clone().unwrap();
    assert!(empty.suspended);
    assert_eq!(rig.leaving().len(), 2);
    assert_eq!(
        rig.state_of("10.0.1.1"),
        ("Draining".into(), "draining: the chain is suspended".into())
    );
    chain.suspend = false;
    rig.send(Event::Configured(Arc::new(chain)));
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
    let kinds: Vec<_> = rig
        .state
        .report(rig.clock.0)
        .transitions
        .iter()
        .map(|t| t.kind)
        .collect();
    let expected = [
        TransitionKind::Switched,
        TransitionKind::Suspended,
        TransitionKind::Resumed,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn what_is_not_configured_any_more_is_left_and_forgotten() {
    let mut rig = Rig::new(vec![backend("one", "10.0.0.1", 0), backend("two", "10.0.0.2", 0)]);
    let place = rig.state.endpoint(rig.id("10.0.0.2")).unwrap().reserve(None);
    let mut chain = (*rig.state.chain).clone();
    chain.backends = vec![backend("one", "10.0.0.3", 0)];
    rig.send(Event::Configured(Arc::new(chain)));
    assert_eq!(rig.candidates(), ["10.0.0.3"]);
    assert_eq!(rig.leaving(), [("10.0.0.2".into(), LeaveReason::Unconfigured)]);
    assert_eq!(rig.state.probed(rig.clock.0).len(), 1);
    drop(place);
    rig.pass(10_000);
    assert_eq!(rig.state.roster.iter().count(), 1);
}

#[test]
fn endpoints_of_a_service_come_and_go_with_the_configuration() {
    let service = |service: &str, endpoints: &[&str]| Backend {
        target: Target::Endpoints {
            service: service.into(),
            port: 80,
            endpoints: endpoints
                .iter()
                .map(|endpoint| endpoint.parse().unwrap())
                .collect(),
        },
        ..backend("cms", "", 0)
    };
    let mut rig = Rig::new(vec![service(
        "cms",
        &["10.0.0.1:8080", "10.0.0.2:8080", "[2001:db8::2]:8080"],
    )]);
    assert_eq!(rig.state.questions(), BTreeSet::new());
    // the chain wants IPv4 only
    assert_eq!(rig.candidates(), ["10.0.0.1", "10.0.0.2"]);
    rig.probed("10.0.0.1", "++");
    rig.probed("10.0.0.2", "++");
    let stayed = rig.id("10.0.0.1");
    let mut chain = (*rig.state.chain).clone();
    chain.drain_vanished = Some(Duration::from_secs(5));
    chain.backends = vec![service("cms", &["10.0.0.1:8080", "10.0.0.3:8080"])];
    rig.send(Event::Configured(Arc::new(chain.clone())));
    assert_eq!(rig.id("10.0.0.1"), stayed);
    assert_eq!(rig.candidates(), ["10.0.0.1", "10.0.0.3"]);
    assert_eq!(
        rig.state_of("10.0.0.2"),
        (
            "Draining".into(),
            "draining: missing from its Service for 0 s".into()
        )
    );
    assert_eq!(rig.leaving(), []);
    rig.pass(5_000);
    assert_eq!(rig.leaving(), [("10.0.0.2".into(), LeaveReason::Vanished)]);
    chain.backends = vec![service("cms", &[])];
    rig.send(Event::Configured(Arc::new(chain.clone())));
    let why = rig.empty();
    assert!(why.contains("no longer in its Service"), "{why}");
    chain.backends = vec![service("other", &["10.0.0.1:8080"])];
    rig.send(Event::Configured(Arc::new(chain)));
    assert_eq!(rig.candidates(), ["10.0.0.1"]);
    // nobody is connected to the others: they are forgotten with their Service
    assert_eq!(rig.leaving(), []);
}

#[test]
fn an_edit_of_something_else_keeps_every_endpoint_as_it_is() {
    let mut rig = Rig::new(vec![backend("primary", "a", 0)]);
    rig.answers("a", &["10.0.0.1", "10.0.0.2"]);
    rig.probed("10.0.0.1", "+");
    rig.probed("10.0.0.2", "--");
    let ids = [rig.id("10.0.0.1"), rig.id("10.0.0.2")];
    let mut chain = (*rig.state.chain).clone();
    chain.backends[0].weight = 7;
    chain.backends[0].tier = 3;
    chain.resolution.nameservers = vec!["10.9.9.9:53".parse().unwrap()];
    chain
        .health
        .monitors
        .push(switchyard_snapshot::Monitor::Tls { port: Some(443) });
    rig.send(Event::Configured(Arc::new(chain)));
    assert_eq!(rig.candidates(), ["10.0.0.1"]);
    assert_eq!(rig.state.view().candidates[0].weight, 7);
    assert_eq!([rig.id("10.0.0.1"), rig.id("10.0.0.2")], ids);
    assert_eq!(rig.state_of("10.0.0.2").0, "Ejected");
    assert_eq!(
        rig.state_of("10.0.0.1").1,
        "served: monitor tls:443 has not answered yet"
    );
}

#[test]
fn all_monitors_must_pass() {
    let mut chain = fixture::chain(vec![backend("primary", "10.0.0.1", 0)]);
    chain
        .health
        .monitors
        .push(switchyard_snapshot::Monitor::Tls { port: Some(443) });
    let mut rig = Rig::of(chain, None);
    rig.probed("10.0.0.1", "+");
    let endpoint = rig.id("10.0.0.1");
    for _ in 0..2 {
        let result = Err("handshake failed".to_owned());
        rig.send(Event::Probed {
            endpoint,
            monitor: 1,
            begun: rig.clock.0.mono,
            result,
        });
    }
    assert_eq!(
        rig.state_of("10.0.0.1"),
        (
            "Ejected".into(),
            "ejected: monitor tls:443 failed 2 in a row: handshake failed".into()
        )
    );
}

#[test]
fn srv_priorities_and_family_preference_rank() {
    let mut chain = fixture::chain(vec![backend("primary", "a", 0)]);
    chain.resolution.families = switchyard_snapshot::Families::PreferV6;
    let mut rig = Rig::of(chain, None);
    rig.answers("a", &["10.0.0.1"]);
    let v6 = answer(&["2001:db8::1"], rig.clock.0.mono);
    rig.send(Event::Resolved(question("a", RecordKind::Aaaa), v6));
    assert_eq!(rig.candidates(), ["2001:db8::1", "10.0.0.1"]);
    let ranks: Vec<_> = rig
        .state
        .view()
        .candidates
        .iter()
        .map(|c| c.rank & !crate::chain::view::UNPROVEN)
        .collect();
    assert_eq!(ranks, [0, 1]);
}

#[test]
fn who_comes_back_from_the_dead_warms_up() {
    let mut chain = fixture::chain(vec![backend("primary", "a", 0)]);
    chain.slow_start = Duration::from_secs(30);
    let mut rig = Rig::of(chain, None);
    let start = rig.clock.0.mono;
    rig.answers("a", &["10.0.0.1"]);
    let warming = |rig: &Rig| rig.state.view().candidates[0].warming_since;
    assert_eq!(warming(&rig), Some(start));
    rig.pass(60_000);
    rig.answers("a", &["10.0.0.2"]);
    rig.answers("a", &["10.0.0.1"]);
    assert_eq!(warming(&rig), Some(start), "it was only out of DNS");
    rig.probed("10.0.0.1", "--++");
    assert_eq!(warming(&rig), Some(rig.clock.0.mono));
}

#[test]
fn a_restart_adopts_what_was_kept() {
    let chain = || {
        let mut chain = fixture::chain(vec![
            backend("primary", "10.0.0.1", 0),
            backend("standby", "10.0.1.1", 1),
        ]);
        chain.failover.failback = Failback::Delayed;
        chain
    };
    let mut rig = Rig::of(chain(), None);
    rig.probed("10.0.0.1", "+--");
    rig.probed("10.0.1.1", "+");
    rig.probed("10.0.0.1", "++");
    let kept = rig.persisted().unwrap().clone();
    assert_eq!((kept.tier, kept.epoch), (1, 1));
    let due = kept.failback_at.unwrap();
    let mut rig = Rig::of(chain(), Some(kept));
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
    rig.pass(20_000);
    rig.probed("10.0.0.1", "+");
    assert_eq!(rig.state.report(rig.clock.0).failback_at, Some(due));
    rig.pass(40_000);
    assert_eq!(rig.candidates(), ["10.0.0.1"]);
}

#[test]
fn the_report_has_the_shape_that_users_know() {
    let mut rig = pair(Failback::Sticky);
    rig.probed("10.0.0.1", "--");
    let report = serde_json::to_value(rig.state.report(rig.clock.0)).unwrap();
    let at = "2026-11-21T09:00:00Z";
    let expected = serde_json::json!({
        "chain": "edge/sync",
        "active": {"backend": "standby", "tier": 1, "since": at, "epoch": 1,
            "reason": "tier 0 is down: 0 of at least 1 endpoints serve"},
        "failbackAt": null,
        "standing": {"standing": "Degraded", "reason": "tier 1 serves in the place of tier 0"},
        "generation": 1,
        "endpoints": [
            {"backend": "primary", "address": "10.0.0.1:80", "tier": 0, "state": "Ejected", "since": at, "connections": 0,
                "reason": "ejected: monitor tcp:80 failed 2 in a row: connection refused"},
            {"backend": "standby", "address": "10.0.1.1:80", "tier": 1, "state": "Serving", "since": at, "connections": 0,
                "reason": "served: monitor tcp:80 passes"}
        ],
        "transitions": [
            {"at": at, "kind": "BackendDown", "from": "primary 10.0.0.1:80 Serving", "to": "primary 10.0.0.1:80 Ejected",
                "reason": "ejected: monitor tcp:80 failed 2 in a row: connection refused"},
            {"at": at, "kind": "FailedOver", "from": "primary", "to": "standby",
                "reason": "tier 0 is down: 0 of at least 1 endpoints serve"}
        ]
    });
    assert_eq!(report, expected);
}
