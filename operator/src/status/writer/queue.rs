//! When statuses are written. In: which object may have another status now, and how writes ended, with the time. Out: which
//! object's turn it is. Pure.
//!
//! An object that was quiet has its turn at once; one that was written waits for [`PAUSE`] from the moment the write ended, so
//! that the API server never sees two of them closer together. Objects wait here once, however often they change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::compile::ObjectKey;

/// Between two writes of one object.
pub const PAUSE: Duration = Duration::from_secs(1);

/// Between two writes of one object where nothing but words changed.
pub const LAZY_PAUSE: Duration = Duration::from_secs(30);

/// Writes under way at one time.
pub const IN_FLIGHT: usize = 32;

/// After a write that failed; doubled by each one in a row.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// And at most this.
const LAST_BACKOFF: Duration = Duration::from_secs(30);

/// After a conflict; doubled by each one in a row up to [`PAUSE`].
const CONFLICT_BACKOFF: Duration = Duration::from_millis(20);

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing had changed.
    Idle,
    /// Only words had changed, and the last write is not long ago.
    Lazy,
    /// It was written.
    Written,
    /// It was not: somebody else wrote the object.
    Conflict,
    /// Nobody knows.
    Failed,
    /// The object is gone.
    Gone,
}

/// Objects and their turns.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    entries: BTreeMap<ObjectKey, Entry>,
    due: BTreeSet<(Instant, ObjectKey)>,
    in_flight: usize,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// When its turn is.
    due: Option<Instant>,
    /// It has its turn; true: and something changed meanwhile.
    in_flight: Option<bool>,
    /// No turn before this.
    not_before: Option<Instant>,
    /// The end of the last write.
    written: Option<Instant>,
    /// Turns that failed, in a row.
    failures: u32,
}

impl Queue {
    /// The object may have another status now.
    pub fn mark(&mut self, key: &ObjectKey, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        if let Some(again) = &mut entry.in_flight {
            *again = true;
            return;
        }
        let at = entry.not_before.map_or(now, |not_before| not_before.max(now));
        Self::schedule(&mut self.due, key, entry, at);
    }

    /// The next object whose turn it is.
    pub fn pop(&mut self, now: Instant) -> Option<ObjectKey> {
        if self.in_flight >= IN_FLIGHT {
            return None;
        }
        let (at, _) = self.due.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        let entry = self.entries.entry(key.clone()).or_default();
        entry.due = None;
        entry.in_flight = Some(false);
        self.in_flight += 1;
        Some(key)
    }

    /// Whether a change of words alone must wait.
    pub fn wrote_lately(&self, key: &ObjectKey, now: Instant) -> bool {
        let written = self.entries.get(key).and_then(|entry| entry.written);
        written.is_some_and(|written| now < written + LAZY_PAUSE)
    }

    /// The turn of an object is over. `jitter`, from 0 to 1, spreads what failed together.
    pub fn finished(&mut self, key: &ObjectKey, turn: Turn, jitter: f64, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let Some(again) = entry.in_flight.take() else {
            return;
        };
        self.in_flight -= 1;
        if turn == Turn::Gone {
            self.forget(key);
            return;
        }
        let failures = entry.failures;
        let doubled = |first: Duration, last: Duration| first.saturating_mul(1 << failures.min(10)).min(last);
        entry.failures = if matches!(turn, Turn::Conflict | Turn::Failed) {
            failures + 1
        } else {
            0
        };
        let wait = match turn {
            Turn::Idle | Turn::Gone => None,
            Turn::Lazy => {
                let at = entry.written.map_or(now, |written| written + LAZY_PAUSE);
                if !again {
                    Self::schedule(&mut self.due, key, entry, at);
                }
                None
            }
            Turn::Written => {
                entry.written = Some(now);
                Some(PAUSE)
            }
            Turn::Conflict => Some(doubled(CONFLICT_BACKOFF, PAUSE)),
            Turn::Failed => Some(doubled(FIRST_BACKOFF, LAST_BACKOFF).mul_f64(1.0 + jitter.clamp(0.0, 1.0))),
        };
        if let Some(wait) = wait {
            // a conflict right after a write does not shorten the pause
            entry.not_before = Some(
                entry
                    .not_before
                    .map_or(now + wait, |before| before.max(now + wait)),
            );
        }
        if again || matches!(turn, Turn::Conflict | Turn::Failed) {
            self.mark(key, now);
        }
    }

    /// The object is gone. One that has its turn is forgotten when that ends.
    pub fn forget(&mut self, key: &ObjectKey) {
        if self
            .entries
            .get(key)
            .is_some_and(|entry| entry.in_flight.is_some())
        {
            return;
        }
        if let Some(Entry { due: Some(at), .. }) = self.entries.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }

    /// When [`Queue::pop`] has something, if nothing happens before.
    pub fn next(&self) -> Option<Instant> {
        let free = self.in_flight < IN_FLIGHT;
        self.due.first().filter(|_| free).map(|(at, _)| *at)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    fn schedule(due: &mut BTreeSet<(Instant, ObjectKey)>, key: &ObjectKey, entry: &mut Entry, at: Instant) {
        if let Some(before) = entry.due {
            if before <= at {
                return;
            }
            due.remove(&(before, key.clone()));
        }
        entry.due = Some(at);
        due.insert((at, key.clone()));
    }
}

#[cfg(test)]
mod tests;
