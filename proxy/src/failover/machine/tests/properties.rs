//! What holds for the machine whatever happens to it.

use proptest::prelude::*;

use super::*;

/// What happens to a machine: tiers change, time passes, the user edits.
#[derive(Clone, Debug)]
enum Step {
    Health(usize, u32, u32, bool),
    Pass(u64),
    Failback(Failback),
    MinHealthy(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let failback = prop_oneof![
        Just(Failback::Sticky),
        Just(Failback::Immediate),
        Just(Failback::Delayed),
        Just(Failback::Scheduled)
    ];
    let step = prop_oneof![
        8 => (0usize..3, 0u32..4, 0u32..4, prop::bool::weighted(0.1))
            .prop_map(|(tier, serving, proven, pending)| Step::Health(tier, serving, proven.min(serving), pending)),
        4 => prop_oneof![0u64..120, 3_600u64..100_000].prop_map(Step::Pass),
        1 => failback.prop_map(Step::Failback),
        1 => (1u32..3).prop_map(Step::MinHealthy),
    ];
    prop::collection::vec(step, 1..80)
}

fn rig(failback: Failback) -> Rig {
    let mut rig = Rig::scheduled(MORNINGS, None);
    rig.rules.failback = failback;
    rig.tiers("1/0 1/0 1/0");
    rig
}

fn apply(rig: &mut Rig, step: &Step) -> Option<(TransitionKind, u32)> {
    match step {
        Step::Health(tier, serving, proven, pending) => {
            rig.tiers[*tier] = TierHealth {
                tier: *tier as u32,
                serving: *serving,
                proven: *proven,
                pending: *pending,
            };
        }
        Step::Pass(seconds) => drop(rig.clock.pass(seconds * 1_000)),
        Step::Failback(failback) => rig.rules.failback = *failback,
        Step::MinHealthy(min) => rig.rules.min_healthy = *min,
    }
    rig.step()
}

proptest! {
    /// In Manual mode the tier is the one the user names, whatever the health.
    #[test]
    fn property_manual_is_never_left(steps in steps(), named in prop::option::of(0u32..3)) {
        let mut rig = rig(Failback::Immediate);
        rig.rules.mode = Mode::Manual;
        rig.manual = named;
        rig.step();
        for step in &steps {
            prop_assert_eq!(apply(&mut rig, step), None);
            prop_assert_eq!(rig.machine.tier(), named.unwrap_or(0));
        }
    }

    /// Sticky leaves a tier only when fewer than `minHealthy` of it serve.
    #[test]
    fn property_sticky_never_goes_back_by_itself(steps in steps()) {
        let mut rig = rig(Failback::Sticky);
        for step in steps.iter().filter(|step| !matches!(step, Step::Failback(_))) {
            let from = rig.machine.tier();
            if apply(&mut rig, step).is_some() {
                let left = rig.tiers[from as usize];
                prop_assert!(left.serving < rig.rules.min_healthy, "left {:?}", left);
            }
        }
    }

    /// No change leads to a tier without a proven endpoint, nor to one with fewer than `minHealthy` while the tier
    /// that is left serves at all; and each change counts.
    #[test]
    fn property_no_tier_takes_over_unproven(steps in steps()) {
        let mut rig = rig(Failback::Delayed);
        for step in &steps {
            let (from, epoch) = (rig.machine.tier(), rig.machine.epoch());
            let change = apply(&mut rig, step);
            prop_assert_eq!(rig.machine.epoch(), epoch + u64::from(change.is_some()));
            if let Some((_, to)) = change {
                let (left, entered) = (rig.tiers[from as usize], rig.tiers[to as usize]);
                prop_assert!(entered.proven >= 1, "entered {:?}", entered);
                prop_assert!(entered.proven >= rig.rules.min_healthy || left.serving == 0, "{:?} for {:?}", left, entered);
            }
        }
    }

    /// Who is down and could be replaced is replaced in the same step: clients never wait for a timer.
    #[test]
    fn property_a_dead_tier_is_left_at_once(steps in steps()) {
        let mut rig = rig(Failback::Scheduled);
        for step in &steps {
            apply(&mut rig, step);
            let active = rig.tiers[rig.machine.tier() as usize];
            let dead = active.serving == 0 && !active.pending;
            prop_assert!(!dead || rig.tiers.iter().all(|t| t.proven == 0), "{:?}", rig.tiers);
        }
    }

    /// A machine that is woken only when it asks decides the same as one that is woken all the time.
    #[test]
    fn property_waking_more_often_changes_nothing(steps in steps(), failback in 0usize..4) {
        let all = [Failback::Sticky, Failback::Immediate, Failback::Delayed, Failback::Scheduled];
        let (mut lazy, mut eager) = (rig(all[failback]), rig(all[failback]));
        for step in &steps {
            if let Step::Pass(seconds) = step {
                let end = lazy.clock.0.mono + Duration::from_secs(*seconds);
                while let Some(at) = lazy.machine.wake_at().filter(|at| *at <= end) {
                    prop_assert!(at > lazy.clock.0.mono, "asked to be woken at once, again");
                    lazy.clock.to(at);
                    lazy.step();
                }
                lazy.clock.to(end);
                let naps = (0..*seconds).step_by(seconds.div_ceil(50).max(1) as usize).skip(1).chain([*seconds]);
                naps.fold(0, |before, nap| {
                    eager.clock.pass((nap - before) * 1_000);
                    eager.step();
                    nap
                });
                prop_assert_eq!(lazy.step(), None, "it has slept through something");
            } else {
                apply(&mut lazy, step);
                apply(&mut eager, step);
            }
            prop_assert_eq!(lazy.machine.tier(), eager.machine.tier());
            prop_assert_eq!(lazy.machine.epoch(), eager.machine.epoch());
        }
    }
}
