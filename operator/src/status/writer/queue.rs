//! When statuses are written. In: which object may have another status now, and how writes ended, with the time. Out: which
//! object's turn it is. Pure.
//!
//! An object that was quiet has its turn after [`SETTLE`]: one change has many consequences, and they come close together. One
//! that was written waits for [`PAUSE`] from the moment the write ended, so that the API server never sees two of them closer
//! together. Objects wait here once, however often they change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::compile::ObjectKey;

/// Between two writes of one object.
pub const PAUSE: Duration = Duration::from_secs(1);

/// Between a change and the turn of the object, so that what proxies answer to it is in the same write. They do within a few
/// milliseconds; nobody who looks at a status sees such a wait.
pub const SETTLE: Duration = Duration::from_millis(100);

/// How long a change waits for answers that are still to come. A proxy tells what it runs at once, and what it sees at most
/// once a second.
pub const PATIENCE: Duration = Duration::from_millis(1500);

/// Between two writes of one object where nothing but words changed.
pub const LAZY_PAUSE: Duration = Duration::from_secs(30);

/// Writes under way at one time, at most.
pub const IN_FLIGHT: usize = 8;

/// And at least, however busy the API server is: one object whose writes hang does not hold up all others.
pub const IN_FLIGHT_BUSY: usize = 2;

/// An API server that takes longer for a write is busy. It needs its processors for those who change objects, and for the
/// watches by which changes reach proxies: statuses come after them.
const BUSY: Duration = Duration::from_millis(100);

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
    /// Somebody is about to say more, and there is time to wait for it.
    Unanswered,
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
    limit: Limit,
}

/// How many writes may be under way: half as many after each that took long, one more after as many quick ones as may be.
#[derive(Clone, Copy, Debug)]
struct Limit {
    at_one_time: usize,
    /// Quick ones since it was changed.
    quick: usize,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            at_one_time: IN_FLIGHT,
            quick: 0,
        }
    }
}

impl Limit {
    fn took(&mut self, time: Duration) {
        if time > BUSY {
            self.at_one_time = (self.at_one_time / 2).max(IN_FLIGHT_BUSY);
            self.quick = 0;
            return;
        }
        self.quick += 1;
        if self.quick >= self.at_one_time {
            self.at_one_time = (self.at_one_time + 1).min(IN_FLIGHT);
            self.quick = 0;
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// When its turn is.
    due: Option<Instant>,
    /// It has its turn.
    in_flight: Option<Flight>,
    /// No turn before this.
    not_before: Option<Instant>,
    /// The end of the last write.
    written: Option<Instant>,
    /// Since when something may have changed that is not written.
    changed: Option<Instant>,
    /// Turns that failed, in a row.
    failures: u32,
}

/// A turn.
#[derive(Clone, Copy, Debug)]
struct Flight {
    began: Instant,
    /// Something changed meanwhile.
    again: bool,
}

impl Queue {
    /// The object may have another status now.
    pub fn mark(&mut self, key: &ObjectKey, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.changed.get_or_insert(now);
        if let Some(flight) = &mut entry.in_flight {
            flight.again = true;
            return;
        }
        let settled = now + SETTLE;
        let at = entry
            .not_before
            .map_or(settled, |not_before| not_before.max(settled));
        Self::schedule(&mut self.due, key, entry, at);
    }

    /// The next object whose turn it is.
    pub fn pop(&mut self, now: Instant) -> Option<ObjectKey> {
        if self.in_flight >= self.limit.at_one_time {
            return None;
        }
        let (at, _) = self.due.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        let entry = self.entries.entry(key.clone()).or_default();
        entry.due = None;
        entry.in_flight = Some(Flight {
            began: now,
            again: false,
        });
        self.in_flight += 1;
        Some(key)
    }

    /// Whether a change of words alone must wait.
    pub fn wrote_lately(&self, key: &ObjectKey, now: Instant) -> bool {
        let written = self.entries.get(key).and_then(|entry| entry.written);
        written.is_some_and(|written| now < written + LAZY_PAUSE)
    }

    /// Whether there is time to wait for answers.
    pub fn may_wait(&self, key: &ObjectKey, now: Instant) -> bool {
        let changed = self.entries.get(key).and_then(|entry| entry.changed);
        changed.is_some_and(|changed| now < changed + PATIENCE)
    }

    /// The turn of an object is over. `jitter`, from 0 to 1, spreads what failed together.
    pub fn finished(&mut self, key: &ObjectKey, turn: Turn, jitter: f64, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let Some(Flight { began, again }) = entry.in_flight.take() else {
            return;
        };
        self.in_flight -= 1;
        if !matches!(turn, Turn::Idle | Turn::Lazy | Turn::Unanswered) {
            self.limit.took(now.saturating_duration_since(began));
        }
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
        if matches!(turn, Turn::Idle | Turn::Lazy | Turn::Written) {
            entry.changed = again.then_some(now);
        }
        let wait = match turn {
            Turn::Idle | Turn::Gone => None,
            Turn::Lazy => {
                let at = entry.written.map_or(now, |written| written + LAZY_PAUSE);
                if !again {
                    Self::schedule(&mut self.due, key, entry, at);
                }
                None
            }
            Turn::Unanswered => {
                let at = entry.changed.map_or(now, |changed| changed + PATIENCE);
                Self::schedule(&mut self.due, key, entry, at);
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
        if matches!(turn, Turn::Conflict | Turn::Failed) {
            // everything that it is about has settled
            let at = entry.not_before.unwrap_or(now);
            Self::schedule(&mut self.due, key, entry, at);
        } else if again {
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
        let free = self.in_flight < self.limit.at_one_time;
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
