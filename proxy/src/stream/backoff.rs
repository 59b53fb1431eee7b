//! When to try again. In: failures and successes. Out: waits that double, with jitter, so that the proxies of a whole
//! cluster do not come back in one moment.

use std::time::Duration;

/// Before the second attempt, on average.
const FIRST: Duration = Duration::from_millis(200);

/// On average, however often it has failed: a new leader has everybody back within seconds, though one address leads to every
/// replica in turn, and only the leader takes them.
const LONGEST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Backoff {
    wait: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        Self { wait: FIRST, random }
    }

    /// How long to wait now: half to one and a half times what is due.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.wait.mul_f64(0.5 + self.random.f64());
        self.wait = (self.wait * 2).min(LONGEST);
        wait
    }

    pub(super) fn reset(&mut self) {
        self.wait = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_no_two_proxies_wait_alike() {
        let waits = |seed| {
            let mut backoff = Backoff::new(fastrand::Rng::with_seed(seed));
            (0..20).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
        for seed in 0..100 {
            let mut due = FIRST;
            for wait in waits(seed) {
                assert!(wait >= due / 2 && wait <= due * 3 / 2, "{wait:?} {due:?}");
                due = (due * 2).min(LONGEST);
            }
        }
        let mut backoff = Backoff::new(fastrand::Rng::with_seed(1));
        while backoff.next() < LONGEST / 2 {}
        backoff.reset();
        assert!(backoff.next() <= FIRST * 3 / 2);
    }
}
