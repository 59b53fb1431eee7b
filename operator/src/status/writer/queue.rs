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

/// And since they changed: proxies that see something one after the other have all seen it by then, as a rule, and there is one
/// write that says it.
pub const WORDS_SETTLE: Duration = Duration::from_secs(10);

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
    /// Only words had changed, and that or the last write is not long ago.
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
    /// Since when words have changed that are not written, and nothing else.
    words_since: Option<Instant>,
    /// Turns that failed, in a row.
    failures: u32,
}

impl Entry {
    /// When words alone may be written; none: nothing has changed.
    fn words_at(&self) -> Option<Instant> {
        let settled = self.words_since.or(self.changed)? + WORDS_SETTLE;
        let paused = self.written.map_or(settled, |written| written + LAZY_PAUSE);
        Some(settled.max(paused))
    }

    fn ended(&mut self, turn: Turn, now: Instant) {
        match turn {
            Turn::Conflict | Turn::Failed => {
                self.failures += 1;
                return;
            }
            Turn::Unanswered | Turn::Gone => {}
            // what changes from now on has its own time to wait for answers
            Turn::Lazy => self.words_since = self.words_since.or(self.changed.take()),
            Turn::Idle | Turn::Written => (self.words_since, self.changed) = (None, None),
        }
        self.failures = 0;
        if turn == Turn::Written {
            self.written = Some(now);
        }
    }

    /// When its next turn is although nothing changes; none: not before something does.
    fn again_at(&self, turn: Turn) -> Option<Instant> {
        match turn {
            Turn::Idle | Turn::Written | Turn::Gone => None,
            Turn::Lazy => self.words_at(),
            Turn::Unanswered => self.changed.map(|changed| changed + PATIENCE),
            // everything that it is about has settled
            Turn::Conflict | Turn::Failed => self.not_before,
        }
    }
}

/// How long an object waits at least.
fn pause_after(turn: Turn, failures: u32, jitter: f64) -> Option<Duration> {
    let doubled = |first: Duration, last: Duration| first.saturating_mul(1 << failures.min(10)).min(last);
    match turn {
        Turn::Idle | Turn::Lazy | Turn::Unanswered | Turn::Gone => None,
        Turn::Written => Some(PAUSE),
        Turn::Conflict => Some(doubled(CONFLICT_BACKOFF, PAUSE)),
        Turn::Failed => Some(doubled(FIRST_BACKOFF, LAST_BACKOFF).mul_f64(1.0 + jitter.clamp(0.0, 1.0))),
    }
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
    pub fn words_wait(&self, key: &ObjectKey, now: Instant) -> bool {
        let at = self.entries.get(key).and_then(Entry::words_at);
        at.is_some_and(|at| now < at)
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
        let wait = pause_after(turn, entry.failures, jitter);
        entry.ended(turn, now);
        if let Some(wait) = wait {
            // a conflict right after a write does not shorten the pause
            let at = now + wait;
            entry.not_before = Some(entry.not_before.map_or(at, |before| before.max(at)));
        }
        if let Some(at) = entry.again_at(turn) {
            Self::schedule(&mut self.due, key, entry, at);
        }
        if again {
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

    /// Whether somebody waits whose turn it was.
    pub fn is_behind(&self, now: Instant) -> bool {
        self.due.first().is_some_and(|(at, _)| *at <= now)
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
