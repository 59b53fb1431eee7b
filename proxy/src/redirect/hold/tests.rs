use proptest::prelude::*;

use super::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn it_holds_for_ten_seconds_and_doubles_with_each_flap() {
    let mut now = Instant::now();
    let mut hold = Hold::default();
    for length in [10, 20, 40, 80, 160, 300, 300] {
        assert!(hold.step(true, true, now), "it begins at once");
        let begun = now;
        now += secs(1);
        assert!(
            hold.step(false, true, now),
            "somebody here serves again: it goes on"
        );
        assert_eq!(hold.until(), Some(begun + secs(length)));
        assert!(hold.step(false, true, begun + secs(length - 1)));
        now = begun + secs(length);
        assert!(!hold.step(false, true, now));
        assert_eq!(hold.until(), None);
        now += secs(1);
    }
}

#[test]
fn who_is_needed_longer_goes_on_longer_and_ends_at_once_then() {
    let start = Instant::now();
    let mut hold = Hold::default();
    assert!(hold.step(true, true, start));
    assert!(hold.step(true, true, start + secs(1_000)));
    assert!(!hold.step(false, true, start + secs(1_001)));
}

#[test]
fn with_nobody_left_to_go_to_whoever_serves_here_does() {
    let start = Instant::now();
    let mut hold = Hold::default();
    assert!(!hold.step(true, false, start), "nobody to go to");
    assert!(hold.step(true, true, start));
    assert!(!hold.step(true, false, start + secs(1)), "nobody any more");
    assert!(hold.step(true, true, start + secs(2)), "somebody again: no flap");
    assert!(
        !hold.step(false, false, start + secs(3)),
        "over, before its ten seconds"
    );
    assert!(!hold.step(false, true, start + secs(4)), "and it stays over");
}

#[test]
fn calm_takes_doublings_back_one_by_one() {
    // calm after three flaps, and how long the next one lasts
    for (calm, length) in [
        (0, 80),
        (39, 80),
        (40, 40),
        (59, 40),
        (60, 20),
        (70, 10),
        (9_999, 10),
    ] {
        let mut now = Instant::now();
        let mut hold = Hold::default();
        for length in [10, 20, 40] {
            hold.step(true, true, now);
            now += secs(length);
            hold.step(false, true, now);
        }
        now += secs(calm);
        hold.step(true, true, now);
        assert_eq!(hold.until(), Some(now + secs(length)), "after {calm} s");
    }
}

proptest! {
    /// Whatever comes: one that has begun is not over before ten seconds, unless nobody is left to go to and nobody
    /// needs it; it is never on with nobody to go to; and without calm none has to last shorter than the one before.
    #[test]
    fn property_a_detour_holds(steps in prop::collection::vec((any::<bool>(), prop::bool::weighted(0.9), 0u64..30_000), 1..200)) {
        let mut now = Instant::now();
        let mut hold = Hold::default();
        let mut begun: Option<Instant> = None;
        let mut last: Option<(Duration, Instant)> = None;
        for (wanted, possible, millis) in steps {
            now += Duration::from_millis(millis);
            let on = hold.step(wanted, possible, now);
            prop_assert!(!on || possible);
            prop_assert!(on || !wanted || !possible, "nobody serves here, others do, and it is not on");
            match (begun, hold.until()) {
                (None, Some(until)) => {
                    let length = until - now;
                    prop_assert!((FIRST..=LONGEST).contains(&length));
                    if let Some((before, ended)) = last && now - ended < FIRST {
                        prop_assert!(length >= before, "{length:?} after {before:?}");
                    }
                    (begun, last) = (Some(now), Some((length, now)));
                }
                (Some(since), None) => {
                    prop_assert!(!wanted);
                    prop_assert!(now - since >= FIRST || !possible);
                    last = last.map(|(length, _)| (length, now));
                    begun = None;
                }
                _ => {}
            }
        }
    }
}
