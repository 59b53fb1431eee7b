//! Whether who feeds a proxy goes on: the task that hears the operator, renews the certificate and waits for signals. Pure. In: a
//! beat now and then, as time since the proxy started. Out: whether it has hung.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Between two beats.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// Who is silent for so long has hung. A starved machine makes it late by less.
const HUNG_AFTER: Duration = Duration::from_secs(10);

/// The last beat, in milliseconds since the start, and 1; 0: nobody has ever beaten, so nobody is missed.
#[derive(Debug, Default)]
pub(super) struct Pulse(AtomicU64);

impl Pulse {
    pub(super) fn beat(&self, at: Duration) {
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.0.store(at.saturating_add(1), Ordering::Relaxed);
    }

    pub(super) fn has_hung(&self, now: Duration) -> bool {
        let last = self.0.load(Ordering::Relaxed).checked_sub(1);
        last.is_some_and(|last| now > Duration::from_millis(last) + HUNG_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_beaten_once_is_missed() {
        let pulse = Pulse::default();
        let hung = |second| pulse.has_hung(Duration::from_secs(second));
        assert!(!hung(0) && !hung(1_000));
        pulse.beat(Duration::ZERO);
        assert!(!hung(0) && !hung(10) && hung(11));
        pulse.beat(Duration::from_secs(11));
        assert!(!hung(11) && !hung(21) && hung(22));
    }
}
