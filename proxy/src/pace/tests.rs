use proptest::prelude::*;

use super::*;

/// Asks from `start` on whenever a turn is due, but never more often than every `nap`; when turns were taken.
fn turns(per_second: u32, nap: Duration, lasting: Duration) -> Vec<Duration> {
    let start = Instant::now();
    let mut pacer = Pacer::new(per_second);
    let mut now = start;
    let mut taken = Vec::new();
    while now < start + lasting {
        while pacer.take(now) {
            taken.push(now - start);
        }
        now = pacer.ready_at(now).max(now + nap);
    }
    taken
}

/// The most turns in any window that is `length` long and ends before the last turn, and the fewest.
fn extremes(turns: &[Duration], length: Duration) -> (usize, usize) {
    let before = |end: Duration| turns.partition_point(|at| *at < end);
    let within = |from: Duration| before(from + length) - before(from);
    let last = *turns.last().unwrap();
    let full = turns.iter().take_while(|at| **at + length <= last);
    let counts: Vec<usize> = full.map(|at| within(*at)).collect();
    (*counts.iter().max().unwrap(), *counts.iter().min().unwrap())
}

#[test]
fn the_rate_is_kept_however_coarse_the_timer() {
    for per_second in [10, 50, 333, 1_000, 5_000] {
        for nap in [0, 1, 10, 40] {
            let turns = turns(
                per_second,
                Duration::from_millis(nap).max(Duration::from_nanos(1)),
                Duration::from_secs(4),
            );
            let (most, fewest) = extremes(&turns, Duration::from_secs(1));
            let rate = per_second as usize;
            assert!(
                most <= rate + rate / 10 + 1,
                "{most} in a second at {rate}, looking every {nap} ms"
            );
            assert!(
                fewest + rate / 10 + 1 >= rate,
                "{fewest} in a second at {rate}, looking every {nap} ms"
            );
        }
    }
}

#[test]
fn idleness_saves_nothing_up() {
    let start = Instant::now();
    let mut pacer = Pacer::new(50);
    assert!(pacer.take(start));
    let later = start + Duration::from_mins(1);
    let burst = std::iter::repeat_with(|| pacer.take(later))
        .take_while(|taken| *taken)
        .count();
    assert_eq!(burst, 1);
    assert_eq!(pacer.ready_at(later), later + Duration::from_millis(20));
}

#[test]
fn another_rate_counts_at_once() {
    let start = Instant::now();
    let mut pacer = Pacer::new(1);
    assert!(pacer.take(start));
    pacer.set_rate(10);
    assert_eq!(pacer.ready_at(start), start + Duration::from_millis(100));
}

proptest! {
    /// However the caller asks, no window of a second holds more than the rate and a tenth, and one.
    #[test]
    fn property_no_window_holds_more_than_the_rate(
        per_second in 1u32..500,
        naps in prop::collection::vec(0u64..1_500, 1..60),
    ) {
        let start = Instant::now();
        let mut pacer = Pacer::new(per_second);
        let mut now = start;
        let mut taken = Vec::new();
        for nap in naps {
            now += Duration::from_millis(nap);
            while pacer.take(now) {
                taken.push(now - start);
            }
        }
        let limit = per_second as usize + per_second as usize / 10 + 1;
        for from in &taken {
            let until = *from + Duration::from_secs(1);
            let within = taken.iter().filter(|at| (*from..until).contains(*at)).count();
            prop_assert!(within <= limit, "{} turns in a second at {}", within, per_second);
        }
    }
}
