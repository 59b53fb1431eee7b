//! What a pool agrees on, and that it ends on one tier.

use proptest::prelude::*;

use super::*;

#[test]
fn a_tier_is_left_when_all_say_that_it_is_down() {
    let mut rig = Rig::new(Failback::Sticky, None);
    rig.mate("b", 0, 0, "1/1 1/1 1/1");
    rig.mate("c", 0, 0, "1/1 1/1 1/1");
    assert_eq!(rig.tiers("0/0 1/1 1/1"), None);
    assert_eq!(
        rig.waits(),
        "waits for b: it still sees tier 0 up; and for 1 more"
    );
    assert_eq!(rig.mate("b", 0, 0, "0/0 1/1 1/1"), None);
    assert_eq!(rig.waits(), "waits for c: it still sees tier 0 up");
    assert_eq!(rig.mate("c", 0, 0, "0/0 1/1 1/1"), OVER);
    assert_eq!((rig.waits(), rig.machine.epoch()), ("", 1));
}

#[test]
fn nothing_waits_any_more_when_the_tier_is_back() {
    let mut rig = Rig::new(Failback::Sticky, None);
    rig.mate("b", 0, 0, "1/1 1/1 1/1");
    rig.tiers("0/0 1/1 1/1");
    assert_ne!(rig.waits(), "");
    rig.tiers("1/1 1/1 1/1");
    assert_eq!(rig.waits(), "");
}

#[test]
fn a_tier_that_all_find_ready_goes_first() {
    let mut rig = Rig::new(Failback::Sticky, None);
    rig.mate("b", 0, 0, "0/0 0/0 1/1");
    assert_eq!(rig.tiers("0/0 1/1 1/1"), Some((FailedOver, 2)));
    // nobody else finds either of them ready: what is ready here
    let mut rig = Rig::new(Failback::Sticky, None);
    rig.mate("b", 0, 0, "0/0 0/0 0/0");
    assert_eq!(rig.tiers("0/0 1/1 1/1"), OVER);
}

#[test]
fn a_last_resort_needs_that_nobody_serves_anywhere() {
    let mut rig = Rig::new(Failback::Sticky, None);
    rig.rules.min_healthy = 2;
    rig.mate("b", 0, 0, "1/1 1/1 0/0");
    assert_eq!(rig.tiers("0/0 1/1 0/0"), None);
    assert_eq!(rig.waits(), "waits for b: it still sees tier 0 up");
    assert_eq!(rig.mate("b", 0, 0, "0/0 1/1 0/0"), OVER);
}

#[test]
fn a_failback_needs_that_all_see_the_better_tier_up() {
    let mut rig = Rig::new(Failback::Delayed, None);
    rig.mate("b", 0, 0, "0/0 1/1 1/1");
    assert_eq!(rig.tiers("0/0 1/1 1/1"), OVER);
    rig.mate("b", 1, 1, "0/0 1/1 1/1");
    assert_eq!(rig.tiers("1/1 1/1 1/1"), None);
    // its deadline is shown, and is no promise
    assert_eq!(rig.failback_at(), "2026-11-21T09:01:00Z");
    assert_eq!(rig.after(60), None);
    assert_eq!(rig.waits(), "waits for b: it does not see tier 0 up");
    assert_eq!(rig.mate("b", 1, 1, "1/1 1/1 1/1"), BACK);
}

#[test]
fn a_start_of_prime_time_waits_for_mates_for_a_while() {
    for (seconds, expected) in [(9, BACK), (10, None)] {
        let mut rig = Rig::scheduled(MORNINGS, None);
        rig.mate("b", 0, 0, "0/0 1/1 1/1");
        assert_eq!(rig.tiers("0/0 1/1 1/1"), OVER);
        rig.mate("b", 1, 1, "0/0 1/1 1/1");
        rig.tiers("1/1 1/1 1/1");
        assert_eq!(rig.at("2026-11-23T07:00:00Z"), None);
        assert_eq!(rig.waits(), "waits for b: it does not see tier 0 up");
        assert!(rig.machine.wake_at() <= Some(rig.clock.0.mono + AGREE_WITHIN));
        rig.clock.pass(seconds * 1_000);
        assert_eq!(rig.mate("b", 1, 1, "1/1 1/1 1/1"), expected, "after {seconds} s");
    }
}

#[test]
fn a_newer_epoch_is_taken_over_at_once_blind_or_not() {
    let mut rig = Rig::new(Failback::Sticky, None);
    rig.tiers("1/1 0/0 1/1");
    assert_eq!(rig.mate("b", 4, 1, "0/0 1/1 1/1"), OVER);
    assert_eq!((rig.machine.tier(), rig.machine.epoch()), (1, 4));
    assert_eq!(
        rig.machine.reason(),
        "b says that tier 1 serves, by epoch 4; here it was tier 0 by epoch 0"
    );
    // it is down here, and up there: whoever is blind takes nothing over
    assert_eq!(rig.step(), None);
    assert_eq!(rig.waits(), "waits for b: it still sees tier 1 up");
    assert_eq!(rig.mate("b", 5, 0, "1/1 1/1 1/1"), BACK);
    // the same tier, further on: nothing to tell
    assert_eq!(rig.mate("b", 9, 0, "1/1 1/1 1/1"), None);
    assert_eq!(rig.machine.epoch(), 9);
}

#[test]
fn of_equal_epochs_the_better_tier_holds_on_both_sides() {
    let mut rig = Rig::new(Failback::Sticky, stored(1, None));
    rig.tiers("1/1 1/1 1/1");
    assert_eq!(rig.mate("b", 7, 0, "1/1 1/1 1/1"), BACK);
    let mut rig = Rig::new(Failback::Sticky, stored(0, None));
    rig.tiers("1/1 1/1 1/1");
    assert_eq!(rig.mate("b", 7, 1, "1/1 1/1 1/1"), None);
}

#[test]
fn manual_is_not_negotiated() {
    let mut rig = Rig::new(Failback::Immediate, None);
    rig.rules.mode = Mode::Manual;
    rig.manual = Some(1);
    rig.tiers("1/1 1/1 1/1");
    assert_eq!(rig.mate("b", 9, 0, "1/1 1/1 1/1"), None);
    assert_eq!((rig.machine.tier(), rig.machine.epoch()), (1, 1));
    // once it is Automatic, what the others have agreed on counts
    rig.rules.mode = Mode::Automatic;
    assert_eq!(rig.step(), BACK);
    assert_eq!(rig.machine.epoch(), 9);
}

#[test]
fn no_epoch_is_too_high() {
    let mut rig = Rig::new(Failback::Immediate, None);
    rig.tiers("1/1 1/1 1/1");
    rig.mate("b", u64::MAX, 1, "0/0 1/1 1/1");
    assert_eq!(rig.machine.epoch(), u64::MAX);
    assert_eq!(rig.mate("b", u64::MAX, 1, "1/1 1/1 1/1"), BACK);
    assert_eq!(rig.machine.epoch(), u64::MAX);
}

/// What happens to a pool.
#[derive(Clone, Debug)]
enum Act {
    /// One proxy sees a tier so: serving, proven.
    Sees(usize, usize, u32, u32),
    /// One proxy hears another's newest words.
    Hears(usize, usize),
    /// One proxy starts anew with an epoch and a tier that it has kept, from when it was cut off, or from long ago.
    Restarts(usize, u64, u32),
    Pass(u64),
}

fn acts(proxies: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..proxies, 0usize..3, 0u32..3, 0u32..3)
            .prop_map(|(who, tier, serving, proven)| Act::Sees(who, tier, serving, proven.min(serving))),
        12 => (0..proxies, 0..proxies).prop_map(|(who, whom)| Act::Hears(who, whom)),
        1 => (0..proxies, 0u64..4, 0u32..3).prop_map(|(who, epoch, tier)| Act::Restarts(who, epoch, tier)),
        2 => (0u64..90).prop_map(Act::Pass),
    ];
    prop::collection::vec(act, 1..120)
}

/// Proxies that hear each other now and then; each keeps the last words it heard.
struct Pool(Vec<Rig>);

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Pool {
    fn new(proxies: usize, failback: Failback) -> Self {
        let mut pool = Self((0..proxies).map(|_| Rig::new(failback, None)).collect());
        for rig in &mut pool.0 {
            rig.tiers("1/1 1/1 1/1");
        }
        for who in 0..proxies {
            for whom in 0..proxies {
                pool.hears(who, whom);
            }
        }
        pool
    }

    fn text(&self, who: usize) -> String {
        let tiers = self.0[who].tiers.iter();
        let texts: Vec<String> = tiers.map(|t| format!("{}/{}", t.serving, t.proven)).collect();
        texts.join(" ")
    }

    fn hears(&mut self, who: usize, whom: usize) -> Option<(TransitionKind, u32)> {
        if who == whom {
            return None;
        }
        let (text, machine) = (self.text(whom), &self.0[whom].machine);
        let (epoch, tier) = (machine.epoch(), machine.tier());
        self.0[who].mate(NAMES[whom], epoch, tier, &text)
    }

    /// Who hears what of whom must not leave a tier that others serve, unless they left it themselves.
    fn check(&self, who: usize, before: (u32, u64)) -> Result<(), TestCaseError> {
        let machine = &self.0[who].machine;
        prop_assert!(machine.epoch() >= before.1, "the epoch went back");
        if machine.tier() == before.0 {
            return Ok(());
        }
        let led = |said: &ChainSaid| said.epoch >= machine.epoch() && said.tier == machine.tier();
        if self.0[who].mates.iter().any(|(_, said)| led(said)) {
            return Ok(());
        }
        prop_assert!(machine.epoch() > before.1, "an own change must count");
        let better = machine.tier() < before.0;
        for (name, said) in &self.0[who].mates {
            let at = |tier: u32| said.tiers.iter().find(|t| t.tier == tier).unwrap();
            let goes_back = better && at(machine.tier()).proven > 0;
            prop_assert!(
                goes_back || at(before.0).serving == 0,
                "{who} took over while {name} serves {}",
                before.0
            );
        }
        Ok(())
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        let states: Vec<_> = self
            .0
            .iter()
            .map(|r| (r.machine.tier(), r.machine.epoch()))
            .collect();
        match *act {
            Act::Sees(who, tier, serving, proven) => {
                let seen = &mut self.0[who].tiers[tier];
                (seen.serving, seen.proven) = (serving, proven);
                self.0[who].step();
                self.check(who, states[who])?;
            }
            Act::Hears(who, whom) => {
                self.hears(who, whom);
                self.check(who, states[who])?;
            }
            Act::Restarts(who, epoch, tier) => {
                let rig = &mut self.0[who];
                let kept = Stored {
                    epoch,
                    ..stored(tier, None)
                };
                rig.machine = Machine::new(0, &[0, 1, 2], Some(&kept), rig.clock.0);
            }
            Act::Pass(seconds) => {
                for (who, before) in states.iter().enumerate() {
                    self.0[who].after(seconds);
                    self.check(who, *before)?;
                }
            }
        }
        Ok(())
    }
}

proptest! {
    /// Whatever was seen, heard and forgotten before: proxies that hear each other twice, while nothing else happens, end
    /// on one tier and one epoch. On the way no epoch goes back, and no proxy leaves a tier by itself that a mate,
    /// by its last word, still serves, except for a better one that all see up.
    #[test]
    fn property_who_hear_each_other_end_on_one_tier(
        proxies in 2usize..=4,
        failback in prop::sample::select(vec![Failback::Sticky, Failback::Immediate, Failback::Delayed]),
        acts in acts(4),
    ) {
        let mut pool = Pool::new(proxies, failback);
        for act in &acts {
            let within = match act {
                Act::Sees(who, ..) | Act::Restarts(who, ..) => *who < proxies,
                Act::Hears(who, whom) => *who < proxies && *whom < proxies,
                Act::Pass(_) => true,
            };
            if within {
                pool.act(act)?;
            }
        }
        // A round can bring one change each, and there are three tiers; the last rounds only spread it.
        for _ in 0..6 {
            for who in 0..proxies {
                for whom in 0..proxies {
                    let before = (pool.0[who].machine.tier(), pool.0[who].machine.epoch());
                    pool.hears(who, whom);
                    pool.check(who, before)?;
                }
            }
        }
        let ends: Vec<_> = pool.0.iter().map(|r| (r.machine.tier(), r.machine.epoch())).collect();
        prop_assert!(ends.windows(2).all(|two| two[0] == two[1]), "{:?}", ends);
    }
}
