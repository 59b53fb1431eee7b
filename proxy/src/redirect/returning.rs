//! When guests go back. In: the rules of the chain that they are guests of, the group's schedule, which other chains of the
//! group live, whether somebody said "now", time. Out: the homes whose guests are on their way, since when, and when the
//! next return is due.
//!
//! | `redirect.return` | a home's guests begin to go |
//! | --- | --- |
//! | Scheduled | at the next start of prime time at which the home lives, or within 10 s of it |
//! | `WhenHealthy` | once the home has lived for `failover.delay` without a break |
//! | `OnDemand` | when told at a time at which the home lives, or within 10 s of it (which counts for the others as well) |
//!
//! They go for as long as the home lives; whoever comes later with an old address goes back, too. While the home does not
//! live nobody goes there; once that lasts for 30 s the return is over, and who came in the meantime waits for the next.
//! With no home that lives there is no return. `minStay` and `grace` are counted by those who move the sessions.
//!
//! A start that came while this process was not running counts when it is running again; one that the clock was set over
//! comes once; one that a clock change repeats comes once ([`crate::failover::schedule`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use switchyard_snapshot::{ChainId, Redirect, Return};

use crate::chain::view::Returning;
use crate::clock::Now;
use crate::failover::machine::{AGREE_WITHIN, LOOK_AT_CLOCK};
use crate::failover::schedule::{Calendar, Clockwork};

/// A home that has not lived for so long has no return under way any more.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The rules of one step.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The user's.
    pub redirect: &'a Redirect,
    /// `failover.delay`.
    pub delay: Duration,
    /// The group's prime time.
    pub calendar: Option<&'a Calendar>,
}

/// A chain that guests may have come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Which.
    pub chain: ChainId,
    /// Its access point; the host is empty where nobody has said.
    pub access: (String, u16),
    /// A proxy of its pool that lives serves it now.
    pub lives: bool,
}

/// The returns of one chain's guests.
#[derive(Clone, Debug)]
pub struct Returns {
    clockwork: Clockwork,
    /// Since when each home has lived without a break.
    living: BTreeMap<ChainId, Now>,
    /// Homes whose guests are on their way.
    going: BTreeMap<ChainId, Going>,
    /// A start has come: homes that live before this moment count as if they had lived then.
    open: Option<Instant>,
    /// Somebody said "now": the same, whatever the rules.
    told: Option<Instant>,
    next: Option<Timestamp>,
    next_start: Option<Timestamp>,
    wake_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Going {
    since: Now,
    /// The home does not live since.
    gone: Option<Instant>,
}

impl Returns {
    /// Goes on where the last run stopped: `stored` is what [`Returns::returns_at`] said then.
    pub fn new(stored: Option<Timestamp>, now: Now) -> Self {
        let missed = stored.filter(|at| *at <= now.wall);
        Self {
            clockwork: Clockwork::new(now.wall),
            living: BTreeMap::new(),
            going: BTreeMap::new(),
            open: missed.map(|_| now.mono + AGREE_WITHIN),
            told: None,
            next: None,
            next_start: None,
            wake_at: None,
        }
    }

    /// The user changed the schedule.
    pub fn recalendar(&mut self) {
        self.clockwork.recalendar();
    }

    /// Looks at the homes, in the order of the group; `told`: somebody said "now". The guests that are on their way; none:
    /// all may stay.
    pub fn step(&mut self, rules: &Rules<'_>, homes: &[Home], told: bool, now: Now) -> Option<Returning> {
        let start = rules
            .calendar
            .and_then(|calendar| self.clockwork.advance(calendar, now.wall));
        self.next_start = rules.calendar.and_then(|calendar| self.clockwork.next(calendar));
        self.watch(homes, now);
        let scheduled = rules.redirect.return_ == Return::Scheduled;
        let starts = scheduled && start.is_some();
        let until = now.mono + AGREE_WITHIN;
        if starts {
            self.open = Some(until);
        }
        if told {
            self.told = Some(until);
        }
        let lasts = |until: Option<Instant>| until.is_some_and(|until| now.mono < until);
        let (anew, open) = (
            told || starts,
            lasts(self.told) || (scheduled && lasts(self.open)),
        );
        let healthy = |since: &Now| {
            rules.redirect.return_ == Return::WhenHealthy && now.mono >= since.mono + rules.delay
        };
        for (home, since) in &self.living {
            if anew || open || healthy(since) {
                let fresh = Going {
                    since: now,
                    gone: None,
                };
                let going = self.going.entry(home.clone()).or_insert(fresh);
                if anew {
                    *going = fresh;
                }
            }
        }
        let returning = self.returning(homes);
        self.set_deadlines(rules, returning.is_some(), now);
        returning
    }

    /// Who lives, and since when.
    fn watch(&mut self, homes: &[Home], now: Now) {
        let lives = |chain: &ChainId| homes.iter().any(|home| home.chain == *chain && home.lives);
        self.living.retain(|chain, _| lives(chain));
        for home in homes.iter().filter(|home| home.lives) {
            self.living.entry(home.chain.clone()).or_insert(now);
        }
        self.going.retain(|chain, going| {
            going.gone = (!lives(chain)).then(|| going.gone.unwrap_or(now.mono));
            going.gone.is_none_or(|since| now.mono < since + PATIENCE)
        });
    }

    fn returning(&self, homes: &[Home]) -> Option<Returning> {
        let going = |home: &&Home| home.lives && self.going.contains_key(&home.chain);
        let homes: Vec<_> = homes
            .iter()
            .filter(going)
            .map(|home| (home.chain.clone(), home.access.0.clone(), home.access.1))
            .collect();
        let since = homes.iter().filter_map(|(chain, ..)| self.going.get(chain));
        let since = since.map(|going| going.since.mono).min()?;
        Some(Returning { since, homes })
    }

    fn set_deadlines(&mut self, rules: &Rules<'_>, under_way: bool, now: Now) {
        let due = |since: &Now| since.mono + rules.delay;
        let waiting = self
            .living
            .iter()
            .filter(|(home, _)| !self.going.contains_key(*home));
        let first = waiting.map(|(_, since)| since).min_by_key(|since| since.mono);
        let (next, wake_at) = match rules.redirect.return_ {
            Return::OnDemand => (None, None),
            Return::WhenHealthy => (first.map(|since| later(since.wall, rules.delay)), first.map(due)),
            Return::Scheduled => {
                let rest = |next: Timestamp| Duration::try_from(next.duration_since(now.wall));
                let nap = |next: Timestamp| rest(next).unwrap_or_default().min(LOOK_AT_CLOCK);
                (self.next_start, self.next_start.map(|next| now.mono + nap(next)))
            }
        };
        let began = self.going.values().map(|going| going.since.wall).min();
        self.next = began.filter(|_| under_way).or(next);
        let over = self
            .going
            .values()
            .filter_map(|going| Some(going.gone? + PATIENCE));
        self.wake_at = over.chain(wake_at).min();
    }

    /// When guests go next; in the past: since then they go.
    pub fn returns_at(&self) -> Option<Timestamp> {
        self.next
    }

    /// The next start of the group's prime time.
    pub fn next_start(&self) -> Option<Timestamp> {
        self.next_start
    }

    /// When it must be stepped again although nothing happened.
    pub fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Whether guests of this home have had their `grace`: who is still here is closed, paced.
    pub fn grace_is_over(&self, home: &ChainId, redirect: &Redirect, now: Instant) -> bool {
        let going = self.going.get(home).filter(|going| going.gone.is_none());
        going.is_some_and(|going| now >= going.since.mono + redirect.grace)
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| at.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
