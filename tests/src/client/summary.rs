//! What many connections together have seen: failures, waits, gaps without
//! service, and who served when.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::Outcome;
use crate::greeting::Greeting;

/// Outcomes in the order in which the connections were begun.
#[derive(Clone, Debug)]
pub struct Outcomes {
    all: Vec<Outcome>,
}

impl Outcomes {
    pub(super) fn new(mut all: Vec<Outcome>) -> Self {
        all.sort_by_key(|outcome| outcome.begun);
        Self { all }
    }

    /// Every connection.
    pub fn iter(&self) -> impl Iterator<Item = &Outcome> {
        self.all.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that got no byte from a backend.
    pub fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.all.iter().filter(|outcome| outcome.served.is_none())
    }

    /// Those begun in `from..to`.
    #[must_use]
    pub fn begun(&self, from: Instant, to: Instant) -> Self {
        let within = |outcome: &&Outcome| outcome.begun >= from && outcome.begun < to;
        Self {
            all: self.all.iter().filter(within).cloned().collect(),
        }
    }

    /// Those begun at `from` or later.
    #[must_use]
    pub fn begun_since(&self, from: Instant) -> Self {
        let within = |outcome: &&Outcome| outcome.begun >= from;
        Self {
            all: self.all.iter().filter(within).cloned().collect(),
        }
    }

    /// Those that a backend's first byte had reached before `at`. Where `at`
    /// is when a test begins to change something, these are who cannot have
    /// met the change: one begun before it and delayed may have.
    #[must_use]
    pub fn served_before(&self, at: Instant) -> Self {
        let before = |outcome: &&Outcome| outcome.first_byte().is_some_and(|first| first < at);
        Self {
            all: self.all.iter().filter(before).cloned().collect(),
        }
    }

    /// Those that a backend's first byte reached in `from..to`.
    #[must_use]
    pub fn served(&self, from: Instant, to: Instant) -> Self {
        let within = |outcome: &&Outcome| {
            outcome
                .first_byte()
                .is_some_and(|first| first >= from && first < to)
        };
        Self {
            all: self.all.iter().filter(within).cloned().collect(),
        }
    }

    /// Those that had ended before `at`, served or not: as
    /// [`Outcomes::served_before`], where failures count too.
    #[must_use]
    pub fn ended_before(&self, at: Instant) -> Self {
        let before = |outcome: &&Outcome| outcome.begun + outcome.lasted < at;
        Self {
            all: self.all.iter().filter(before).cloned().collect(),
        }
    }

    /// Those that were open at `at`: begun before, ended after.
    #[must_use]
    pub fn open_at(&self, at: Instant) -> Self {
        let open = |o: &&Outcome| o.begun < at && o.begun + o.lasted > at;
        Self {
            all: self.all.iter().filter(open).cloned().collect(),
        }
    }

    /// How many each backend served, by name.
    pub fn by_name(&self) -> BTreeMap<String, usize> {
        self.count(|greeting| greeting.name.clone())
    }

    /// How many each backend address served.
    pub fn by_address(&self) -> BTreeMap<String, usize> {
        self.count(|greeting| greeting.local.to_string())
    }

    /// When the last connection that `name` served was begun.
    pub fn last_begun_to(&self, name: &str) -> Option<Instant> {
        let by = |outcome: &&Outcome| outcome.served.as_ref().is_some_and(|(_, g)| g.name == name);
        self.all.iter().rfind(by).map(|outcome| outcome.begun)
    }

    /// Longest time any of them went without an answer: until the first byte,
    /// or, of those that failed, until their end.
    pub fn longest_wait(&self) -> Duration {
        self.all.iter().map(waited).max().unwrap_or_default()
    }

    /// Longest time between two first bytes: how long nobody was served.
    pub fn longest_gap(&self) -> Duration {
        let mut served: Vec<Instant> = self.all.iter().filter_map(Outcome::first_byte).collect();
        served.sort_unstable();
        let gaps = served.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or_default()
    }

    /// Fails, with what the clients saw, unless every connection was served.
    ///
    /// # Panics
    /// When one was not, or when there is none.
    #[track_caller]
    pub fn must_all_be_served(&self) {
        assert!(!self.is_empty(), "no connection was begun");
        assert!(self.failed().next().is_none(), "{self}");
    }

    /// As [`Outcomes::must_all_be_served`], where a server was ended at some moment between `before` and `after`: who was under
    /// way then may have lost it, and nobody else.
    ///
    /// # Panics
    /// When somebody else was not served.
    #[track_caller]
    pub fn must_all_be_served_but_who_was_there(&self, before: Instant, after: Instant) {
        self.begun_since(after).must_all_be_served();
        let early = self.failed().filter(|it| it.begun + it.lasted < before);
        assert_eq!(early.count(), 0, "before anything was done: {self}");
    }

    fn count(&self, key: impl Fn(&Greeting) -> String) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (_, greeting) in self.all.iter().filter_map(|o| o.served.as_ref()) {
            *counts.entry(key(greeting)).or_default() += 1;
        }
        counts
    }
}

fn waited(outcome: &Outcome) -> Duration {
    match &outcome.served {
        Some((after, _)) => *after,
        None => outcome.lasted,
    }
}

/// Several lines: numbers, then who served from when to when, then failures.
impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(first), Some(last)) = (self.all.first(), self.all.last()) else {
            return write!(f, "clients: no connections");
        };
        let start = first.begun;
        let since = |at: Instant| at.saturating_duration_since(start).as_secs_f64();
        let mut waits: Vec<Duration> = self.all.iter().map(waited).collect();
        waits.sort_unstable();
        let late = self.all.iter().map(|o| o.late).max().unwrap_or_default();
        writeln!(
            f,
            "clients: {} connections in {:.1} s, {} failed; first byte after {:.1?} (median), {:.1?} (99 %), \
             {:.1?} (longest); longest gap without service {:.1?}; begun at most {late:.1?} late",
            self.len(),
            since(last.begun),
            self.failed().count(),
            waits[waits.len() / 2],
            waits[waits.len() * 99 / 100],
            self.longest_wait(),
            self.longest_gap(),
        )?;
        for (name, count) in self.by_name() {
            let by = |o: &&Outcome| o.served.as_ref().is_some_and(|(_, g)| g.name == name);
            let from = self.all.iter().find(by).map_or(0.0, |o| since(o.begun));
            let to = self.last_begun_to(&name).map_or(0.0, since);
            writeln!(f, "  {name} served {count}, begun {from:.1} s to {to:.1} s")?;
        }
        let mut failures: BTreeMap<String, (usize, f64, f64)> = BTreeMap::new();
        for outcome in self.failed() {
            let at = since(outcome.begun);
            let step = if outcome.connected.is_some() {
                "connected"
            } else {
                "not connected"
            };
            let entry = failures
                .entry(format!("{}, {step}", outcome.end))
                .or_insert((0, at, at));
            (entry.0, entry.2) = (entry.0 + 1, at);
        }
        for (how, (count, from, to)) in failures {
            writeln!(f, "  FAILED {count}: {how}, begun {from:.1} s to {to:.1} s")?;
        }
        Ok(())
    }
}
