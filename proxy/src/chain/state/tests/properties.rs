//! What holds for a chain's state whatever happens to it.

use proptest::prelude::*;

use super::*;
use crate::chain::fixture::answered;
use crate::resolve::Record;

/// What happens to a chain. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    /// A name (0, 1) has these addresses (bits) from now on.
    Answer(usize, u8),
    /// The newest attempt to resolve a name failed, for the n-th time in a row.
    Failing(usize, FailureKind, u32),
    Probe(usize, bool),
    Refused(usize, u32),
    Confirm(usize, bool),
    Pass(u64),
    Edit(Edit),
}

#[derive(Clone, Copy, Debug)]
enum Edit {
    Suspend(bool),
    Failback(Failback),
    MinHealthy(u32),
    Missing(u64),
    Without(usize),
    All,
}

const NAMES: [&str; 2] = ["a", "b"];

fn step() -> impl Strategy<Value = Step> {
    use FailureKind::{Empty, NxDomain, Server, Unreachable};
    let kind = prop::sample::select(vec![Empty, NxDomain, Server, Unreachable]);
    let failback = prop::sample::select(vec![Failback::Sticky, Failback::Immediate, Failback::Delayed]);
    let edit = prop_oneof![
        prop::bool::ANY.prop_map(Edit::Suspend),
        failback.prop_map(Edit::Failback),
        (1u32..3).prop_map(Edit::MinHealthy),
        (0u64..5).prop_map(Edit::Missing),
        (0usize..3).prop_map(Edit::Without),
        Just(Edit::All),
    ];
    prop_oneof![
        4 => (0usize..2, 0u8..8).prop_map(|(name, bits)| Step::Answer(name, bits)),
        3 => (0usize..2, kind, 1u32..5).prop_map(|(name, kind, n)| Step::Failing(name, kind, n)),
        8 => (0usize..9, prop::bool::weighted(0.6)).prop_map(|(n, passed)| Step::Probe(n, passed)),
        3 => (0usize..9, 1u32..5).prop_map(|(n, in_a_row)| Step::Refused(n, in_a_row)),
        3 => (0usize..9, prop::bool::ANY).prop_map(|(n, passed)| Step::Confirm(n, passed)),
        4 => prop_oneof![0u64..3_000, 10_000u64..100_000, 3_000_000u64..4_000_000].prop_map(Step::Pass),
        1 => edit.prop_map(Step::Edit),
    ]
}

fn all_backends() -> Vec<Backend> {
    vec![
        backend("one", "a", 0),
        backend("two", "b", 1),
        backend("three", "10.0.2.1", 1),
    ]
}

/// A rig and the answers its resolver gave last.
struct World {
    rig: Rig,
    last: [Option<Arc<Lookup>>; 2],
}

impl World {
    fn new() -> Self {
        let mut chain = fixture::chain(all_backends());
        chain.drain_vanished = Some(Duration::from_secs(30));
        chain.resolution.on_empty = switchyard_snapshot::OnMissing::Remove;
        Self {
            rig: Rig::of(chain, None),
            last: [None, None],
        }
    }

    fn nth(&self, n: usize) -> Option<EndpointId> {
        let all: Vec<_> = self
            .rig
            .state
            .roster
            .iter()
            .map(|member| member.endpoint.id)
            .collect();
        (!all.is_empty()).then(|| all[n % all.len()])
    }

    fn apply(&mut self, step: &Step) {
        self.rig.orders.clear();
        let at = self.rig.clock.0.mono;
        let result = |passed: bool| {
            if passed {
                Ok(())
            } else {
                Err("connection refused".to_owned())
            }
        };
        let event = match step {
            Step::Answer(name, bits) => {
                let addresses = (0..3u8).filter(|bit| bits & (1 << bit) != 0);
                let network = *name as u8;
                let records: Vec<_> = addresses
                    .map(|bit| Record::Address([10, 0, network, bit].into()))
                    .collect();
                if records.is_empty() {
                    return;
                }
                let lookup = answered(records, at);
                self.last[*name] = Some(Arc::clone(&lookup));
                Some(Event::Resolved(question(NAMES[*name], RecordKind::A), lookup))
            }
            Step::Failing(name, kind, in_a_row) => {
                let lookup = failing(self.last[*name].as_deref(), *kind, *in_a_row, at);
                Some(Event::Resolved(question(NAMES[*name], RecordKind::A), lookup))
            }
            Step::Probe(n, passed) => self.nth(*n).map(|endpoint| Event::Probed {
                endpoint,
                monitor: 0,
                begun: at,
                result: result(*passed),
            }),
            Step::Refused(n, in_a_row) => self.nth(*n).map(|endpoint| {
                let why = "connection refused".into();
                let in_a_row = *in_a_row;
                Event::ConnectFailed(ConnectFailed {
                    endpoint,
                    in_a_row,
                    why,
                    at,
                })
            }),
            Step::Confirm(n, passed) => self.nth(*n).map(|endpoint| Event::Confirmed {
                endpoint,
                begun: at,
                result: result(*passed),
            }),
            Step::Pass(millis) => return self.rig.pass(*millis),
            Step::Edit(edit) => Some(Event::Configured(Arc::new(self.edited(*edit)))),
        };
        if let Some(event) = event {
            self.rig.send(event);
        }
    }

    fn edited(&self, edit: Edit) -> Chain {
        let mut chain = (*self.rig.state.chain).clone();
        match edit {
            Edit::Suspend(suspend) => chain.suspend = suspend,
            Edit::Failback(failback) => chain.failover.failback = failback,
            Edit::MinHealthy(min) => chain.failover.min_healthy = min,
            Edit::Missing(seconds) => chain.resolution.missing_for = Duration::from_secs(seconds),
            Edit::Without(n) => drop(chain.backends.remove(n % chain.backends.len())),
            Edit::All => chain.backends = all_backends(),
        }
        if chain.backends.is_empty() {
            chain.backends = all_backends();
        }
        chain
    }
}

/// Everything data workers could notice of a view.
fn seen(view: &View) -> String {
    let View {
        chain,
        version: _,
        tier,
        candidates,
        away,
        empty,
        detour: _,
        returning: _,
    } = view;
    let endpoint = |endpoint: &Endpoint| endpoint.id;
    let candidates: Vec<_> = candidates
        .iter()
        .map(|c| {
            (
                endpoint(&c.endpoint),
                c.weight,
                c.rank,
                c.warming_since,
                c.max_connections,
                c.via,
            )
        })
        .collect();
    let away: Vec<_> = away
        .iter()
        .map(|a| (endpoint(&a.endpoint), a.weight, a.rank))
        .collect();
    format!("{chain:?} {tier} {candidates:?} {away:?} {empty:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Who is ejected, draining, of another tier or not known is not in a view; who serves in the active tier is; and
    /// a view is empty if, and only if, it says why.
    #[test]
    fn property_a_view_holds_exactly_who_serves(steps in prop::collection::vec(step(), 1..90)) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
            let (rig, view) = (&world.rig, world.rig.state.view());
            let report = rig.state.report(rig.clock.0);
            let serving = report.endpoints.iter().filter(|e| {
                e.tier == Some(view.tier) && (e.state == "Serving" || e.state == "Stale")
            });
            let mut serving: Vec<_> = serving.map(|e| (e.backend.clone(), e.address)).collect();
            let candidates = view.candidates.iter().map(|c| (c.endpoint.backend.to_string(), c.endpoint.address));
            let mut candidates: Vec<_> = candidates.collect();
            serving.sort();
            candidates.sort();
            prop_assert_eq!(&candidates, &serving);
            prop_assert_eq!(view.empty.is_some(), candidates.is_empty());
            prop_assert!(view.candidates.is_sorted_by_key(|c| c.rank));
            prop_assert_eq!(report.active.tier, view.tier);
        }
    }

    /// However a resolver fails (and however often it denies a name, where the policy is Stale), nobody leaves whose
    /// monitors pass and whom live traffic does not accuse.
    #[test]
    fn property_a_failing_resolver_removes_nobody_who_passes(
        before in prop::collection::vec(step(), 1..60),
        failures in prop::collection::vec((0usize..2, 0usize..3, 1u32..9, 0u64..10_000_000), 1..40),
    ) {
        use FailureKind::{NxDomain, Server, Unreachable};
        let mut world = World::new();
        for step in &before {
            world.apply(step);
        }
        let passing = |world: &World| -> BTreeSet<EndpointId> {
            let state = &world.rig.state;
            let serving = state.roster.iter().filter(|m| m.health.0.serves() && m.proven());
            // who is missing from the last answer is leaving anyway
            let present = serving.filter(|m| matches!(m.presence, crate::presence::Presence::Listed(_)));
            present.map(|m| m.endpoint.id).collect()
        };
        let served = passing(&world);
        for (name, kind, in_a_row, millis) in failures {
            world.apply(&Step::Failing(name, [NxDomain, Server, Unreachable][kind], in_a_row));
            world.apply(&Step::Pass(millis));
            let still = passing(&world);
            prop_assert!(served.is_subset(&still), "{:?} of {:?}", still, served);
        }
    }

    /// A view's version grows when the view differs, by one, and never otherwise; and the view is what would be made of
    /// what is known now.
    #[test]
    fn property_a_version_is_a_difference(steps in prop::collection::vec(step(), 1..90)) {
        let mut world = World::new();
        let mut before = (world.rig.state.view().version, seen(world.rig.state.view()));
        for step in &steps {
            if let Step::Pass(millis) = step {
                world.rig.clock.pass(*millis);
                world.rig.send(Event::Tick);
            } else {
                world.apply(step);
            }
            let after = (world.rig.state.view().version, seen(world.rig.state.view()));
            prop_assert_eq!(after.0 - before.0, u64::from(after.1 != before.1));
            let (state, now) = (&world.rig.state, world.rig.clock.0.mono);
            let since = state.view().empty.as_ref().map(|empty| empty.since);
            let fresh = outlook::view(&state.chain, &state.roster, state.machine.tier(), since, now);
            prop_assert_eq!(seen(&fresh), seen(state.view()));
            before = after;
        }
    }

    /// The next wake-up always lies ahead, so that a tick at it is progress; and whoever is woken only then believes the
    /// same as somebody who is woken at other times, too.
    #[test]
    fn property_wake_ups_are_ahead_and_enough(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            let Step::Pass(millis) = step else {
                world.apply(step);
                let now = world.rig.clock.0.mono;
                prop_assert!(world.rig.state.wake_at().is_none_or(|at| at > now));
                continue;
            };
            let mut eager = Rig {
                clock: world.rig.clock,
                state: world.rig.state.clone(),
                orders: Vec::new(),
            };
            let naps = 40;
            for _ in 0..naps {
                // What comes and goes between two naps is seen by both.
                eager.pass(millis / naps);
                eager.send(Event::Tick);
                prop_assert!(eager.state.wake_at().is_none_or(|at| at > eager.clock.0.mono));
            }
            world.rig.pass(millis / naps * naps);
            let now = world.rig.clock.0;
            prop_assert_eq!(now, eager.clock.0);
            prop_assert!(world.rig.state.wake_at().is_none_or(|at| at > now.mono));
            let tell = |state: &ChainState| {
                let report = state.report(now);
                let states: Vec<_> = report.endpoints.iter().map(|e| (e.address, e.state, e.reason.clone())).collect();
                let candidates: Vec<_> = state.view().candidates.iter().map(|c| c.endpoint.id).collect();
                (states, candidates, state.leaving().clone(), report.active.tier, report.active.epoch)
            };
            prop_assert_eq!(tell(&world.rig.state), tell(&eager.state));
        }
    }

    /// Every confirming probe that is out is stopped, or reported, before its endpoint is forgotten; none is ordered
    /// twice while it is out, but for one that was lost, or began in a blackout that has ended now.
    #[test]
    fn property_confirmations_are_ordered_once_and_ended(steps in prop::collection::vec(step(), 1..90)) {
        let mut world = World::new();
        let lost = Duration::from_secs(9);
        let mut out = BTreeMap::new();
        for step in &steps {
            let now = world.rig.clock.0.mono;
            if let Step::Confirm(n, passed) = step {
                // the edge reports only on what it was told to confirm, and goes on after a failure
                let Some(id) = world.nth(*n).filter(|id| out.contains_key(id)) else { continue };
                if *passed {
                    out.remove(&id);
                } else {
                    out.insert(id, now);
                }
            }
            world.apply(step);
            for order in &world.rig.orders {
                match order {
                    Order::Confirm(id) => {
                        let at = world.rig.clock.0.mono;
                        let anew = world.rig.state.blackout.ended() == Some(at);
                        let heard = out.get(id).filter(|_| !anew).map(|heard| *heard + lost);
                        prop_assert!(heard.is_none_or(|due| due <= at));
                        out.insert(*id, heard.unwrap_or(now));
                    }
                    Order::StopConfirming(id) => prop_assert!(out.remove(id).is_some()),
                    Order::Persist(_) | Order::Announce(_) => {}
                }
            }
            for id in out.keys() {
                prop_assert!(world.rig.state.endpoint(*id).is_some());
            }
        }
    }
}
