//! What holds for any reports in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use switchyard_discovery::server::What;

use super::*;

fn state() -> impl Strategy<Value = switchyard_snapshot::EndpointState> {
    prop_oneof![Just(Serving), Just(Stale), Just(Ejected), Just(Draining)]
}

fn any_report() -> impl Strategy<Value = ChainReport> {
    let active = prop::option::of((0u32..2, 0i64..500));
    let changes = prop::collection::vec((0i64..500, any::<bool>()), 0..4);
    let sent = prop::option::weighted(0.4, (0i64..500, prop_oneof![Just("m"), Just("n"), Just("c")]));
    (active, state(), state(), changes, any::<bool>(), 0i64..3, sent).prop_map(
        |(active, primary, standby, changes, suspended, generation, sent)| {
            let mut report = seen(active, primary, standby);
            report.suspended = suspended && primary == Draining;
            report.generation = generation;
            report.redirect = sent.map(|(since, to)| redirect::sent(to, since));
            report.returns_at = Some(time(generation));
            let names = |over: bool| {
                if over {
                    ("primary", "standby")
                } else {
                    ("standby", "primary")
                }
            };
            report.transitions = changes
                .iter()
                .map(|(at, over)| change(*at, names(*over).0, names(*over).1))
                .collect();
            report.transitions.sort_by_key(|it| it.at);
            report
        },
    )
}

/// What a proxy does next.
#[derive(Clone, Debug)]
enum Move {
    Report(Box<ChainReport>),
    Run(bool),
    Refuse,
    Leave,
    Come,
    Pass(u64),
    NewLeader,
    Suspend,
}

fn moves() -> impl Strategy<Value = Vec<(usize, Move)>> {
    let one = prop_oneof![
        6 => any_report().prop_map(|report| Move::Report(Box::new(report))),
        2 => any::<bool>().prop_map(Move::Run),
        1 => Just(Move::Refuse),
        1 => Just(Move::Leave),
        2 => Just(Move::Come),
        3 => (1u64..4).prop_map(Move::Pass),
        1 => Just(Move::NewLeader),
        1 => Just(Move::Suspend),
    ];
    prop::collection::vec((0usize..3, one), 1..40)
}

const NAMES: [&str; 3] = ["a", "b", "d"];

fn play(scene: &mut Scene, who: usize, what: Move) {
    let name = NAMES[who];
    match what {
        Move::Report(report) => scene.reports(name, *report),
        Move::Run(newest) => scene.runs(name, if newest { &[("c", "c 1")] } else { &[("c", "c 0")] }),
        Move::Refuse => scene.refuses(name, c(), "c 1", "no"),
        Move::Leave => {
            scene.does(name, What::Disconnected);
        }
        Move::Come => scene.connect(name),
        Move::Pass(seconds) => scene.pass(seconds),
        Move::NewLeader => {
            scene.another_leads(&NAMES);
        }
        Move::Suspend => {
            scene.edit(|chain| chain.spec.suspend = !chain.spec.suspend);
            scene.compile(&key(switchyard_crds::Kind::ProxyChain, "c"), Vec::new());
        }
    }
}

proptest! {
    /// [`Scene::write`] itself asserts that a second look at what was written finds nothing.
    #[test]
    fn a_condition_moves_its_time_when_it_flips_and_only_then(moves in moves()) {
        let mut scene = Scene::new(3);
        scene.write();
        for (who, what) in moves {
            let before: BTreeMap<_, _> = scene.chain().conditions.into_iter().map(|it| (it.type_.clone(), it)).collect();
            play(&mut scene, who, what);
            scene.write();
            let now = seconds(scene.wall());
            for condition in scene.chain().conditions {
                prop_assert!(!condition.reason.is_empty());
                prop_assert!(condition.observed_generation.is_some());
                prop_assert!(condition.observed_generation <= scene.chain().observed_generation);
                let Some(old) = before.get(&condition.type_) else { continue };
                if old.status == condition.status {
                    prop_assert_eq!(&old.last_transition_time, &condition.last_transition_time);
                } else {
                    prop_assert_eq!(&condition.last_transition_time, &now);
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_proxies_does_not_matter(
        reports in prop::collection::vec(any_report(), 3),
        orders in (Just(vec![0usize, 1, 2]).prop_shuffle(), Just(vec![0usize, 1, 2]).prop_shuffle()),
    ) {
        let told = |names: &[usize]| {
            let mut scene = Scene::new(3);
            for (report, name) in reports.iter().zip(names) {
                scene.connect(NAMES[*name]);
                scene.runs(NAMES[*name], &[("c", "c 1")]);
                scene.reports(NAMES[*name], report.clone());
            }
            scene.write();
            (scene.chain(), scene.happened())
        };
        prop_assert_eq!(told(&orders.0), told(&orders.1));
    }

    #[test]
    fn a_status_keeps_its_bounds(moves in moves()) {
        let mut scene = Scene::new(3);
        for (who, what) in moves {
            play(&mut scene, who, what);
            scene.write();
            let status = scene.chain();
            prop_assert!(status.transitions.len() <= 10);
            prop_assert!(status.endpoints.len() <= 32);
            prop_assert!(status.transitions.is_sorted_by_key(|it| it.at.0));
            let ready = conditions::find(&status.conditions, ConditionType::Ready).unwrap();
            if ready.status == "True" {
                let sent = status.redirect.as_ref().is_some_and(|it| it.active);
                prop_assert!(status.active.is_some() || sent, "somebody serves, and it is said who");
                prop_assert_eq!(sent, ready.reason == "Redirecting");
            }
        }
    }

    /// Whoever has just failed over and says it again is not news.
    #[test]
    fn reports_said_again_write_nothing(reports in prop::collection::vec(any_report(), 3)) {
        let mut scene = Scene::new(3);
        for round in 0..3 {
            let writes = scene.writes;
            for (report, name) in reports.iter().zip(NAMES) {
                scene.connect(name);
                scene.runs(name, &[("c", "c 1")]);
                scene.reports(name, report.clone());
            }
            scene.write();
            scene.pass(20);
            if round > 0 {
                prop_assert_eq!(scene.writes, writes);
            }
        }
    }
}
