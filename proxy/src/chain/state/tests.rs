use std::time::Duration;

use switchyard_snapshot::{Backend, Failback};

use super::*;
use crate::chain::event::ConnectFailed;
use crate::chain::fixture::{self, Clock, answer, backend, failing, question};
use crate::resolve::{FailureKind, Lookup, RecordKind};

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
        while let Some(at) = self.state.wake_at().filter(|at| *at <= end) {
            let now = self.clock.to(at);
            self.orders.extend(self.state.handle(Event::Tick, now));
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
            self.send(Event::Probed {
                endpoint,
                monitor: 0,
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
        self.send(Event::Confirmed { endpoint, result });
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
