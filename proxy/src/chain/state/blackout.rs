//! Failures that may be our own. In: what came of each endpoint's newest probe. Out: since when a failure speaks of the
//! endpoint again.
//!
//! While nothing at all answers, our own network may be what is broken. When something answers again, what failed before may
//! be well, too: it is asked anew before the chain leaves it for what answered first.

use std::time::Instant;

/// Whether a chain reaches anything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Blackout {
    /// Every endpoint failed its newest probe, and none has passed one since.
    lasts: bool,
    ended: Option<Instant>,
}

impl Blackout {
    /// Takes in whether each endpoint that is probed passed its newest probe; none: no probe has ended yet. True: a blackout
    /// ends now, because something answers, not because those that were silent are gone.
    pub(super) fn look(&mut self, newest: impl Iterator<Item = Option<bool>>, now: Instant) -> bool {
        let mut newest = newest.peekable();
        if !self.lasts {
            self.lasts = newest.peek().is_some() && newest.all(|passed| passed == Some(false));
            return false;
        }
        let ends = newest.any(|passed| passed == Some(true));
        if ends {
            (self.lasts, self.ended) = (false, Some(now));
        }
        ends
    }

    /// When the last one ended: probes that began earlier, and failed, tell nothing.
    pub(super) fn ended(&self) -> Option<Instant> {
        self.ended
    }
}
