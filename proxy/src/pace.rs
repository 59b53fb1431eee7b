//! So many per second and no more. In: attempts to take a turn, with the time. Out: yes, or when to ask again.

use std::time::{Duration, Instant};

/// A waker that comes late makes up for this much; a longer pause is forgotten, so that idleness saves nothing up.
const SLACK: Duration = Duration::from_millis(80);

/// Even turns: in any window of a second or longer at most 8 % (and one turn) more than the rate, and exactly the rate
/// while the caller asks whenever [`Pacer::ready_at`] says.
#[derive(Clone, Debug)]
pub struct Pacer {
    gap: Duration,
    next: Option<Instant>,
}

impl Pacer {
    /// `per_second` counts as 1 if it is 0.
    pub fn new(per_second: u32) -> Self {
        Self {
            gap: gap(per_second),
            next: None,
        }
    }

    /// Another rate from now on.
    pub fn set_rate(&mut self, per_second: u32) {
        let gap = gap(per_second);
        if let Some(next) = &mut self.next {
            // The turn that is awaited was set by the old rate.
            *next = next.checked_sub(self.gap).map_or(*next, |last| last + gap);
        }
        self.gap = gap;
    }

    /// Takes a turn if one is due.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = match self.next {
            Some(next) if now < next => return false,
            Some(next) if now.duration_since(next) <= SLACK => next,
            _ => now,
        };
        self.next = Some(due + self.gap);
        true
    }

    /// When the next turn is due; `now` if it is.
    pub fn ready_at(&self, now: Instant) -> Instant {
        self.next.map_or(now, |next| next.max(now))
    }
}

fn gap(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

#[cfg(test)]
mod tests;
