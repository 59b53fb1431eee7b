//! How long a detour lasts at least. In: whether one is wanted and possible, time. Out: whether it is on.
//!
//! A detour that has begun goes on for 10 s at least, however soon somebody here serves again: twice as long for each one
//! that began shortly before, 5 min at most. Calm for as long as the last one had to last takes one doubling back. It ends
//! at once when nobody is left to go to: then whoever serves here is better than nobody.

use std::time::{Duration, Instant};

/// The first detour lasts so long at least.
pub const FIRST: Duration = Duration::from_secs(10);

/// No detour has to last longer.
pub const LONGEST: Duration = Duration::from_mins(5);

/// Doublings after which [`LONGEST`] is reached.
const DOUBLINGS: u32 = 5;

/// Whether a detour is on, and what came before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hold {
    /// Until when it goes on although nobody needs it; none: there is none.
    until: Option<Instant>,
    /// How many began shortly one after the other.
    flaps: u32,
    /// When the last one ended.
    ended: Option<Instant>,
}

impl Hold {
    /// `wanted`: nobody serves here; `possible`: others do. Says whether clients are sent to them.
    pub fn step(&mut self, wanted: bool, possible: bool, now: Instant) -> bool {
        match self.until {
            None if wanted && possible => self.begin(now),
            Some(until) if !wanted && (!possible || now >= until) => {
                self.until = None;
                self.ended = Some(now);
            }
            _ => {}
        }
        self.until.is_some() && possible
    }

    fn begin(&mut self, now: Instant) {
        let mut calm = self.ended.map(|ended| now.saturating_duration_since(ended));
        while self.flaps > 0
            && let Some(rest) = calm.and_then(|calm| calm.checked_sub(length(self.flaps - 1)))
        {
            calm = Some(rest);
            self.flaps -= 1;
        }
        self.until = Some(now + length(self.flaps));
        self.flaps = (self.flaps + 1).min(DOUBLINGS + 1);
    }

    /// When it may end although nothing else changes.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }
}

/// How long a detour lasts at least that so many others came shortly before.
fn length(flaps: u32) -> Duration {
    FIRST.saturating_mul(1 << flaps.min(DOUBLINGS)).min(LONGEST)
}

#[cfg(test)]
mod tests;
