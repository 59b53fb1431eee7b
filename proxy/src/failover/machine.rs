//! The failover state machine of one chain. In: [`TierHealth`] of every tier, the rules, time. Out: at most one [`Change`]
//! per step, and when a failback is due.
//!
//! | mode | the active tier | another tier | what happens |
//! | --- | --- | --- | --- |
//! | Manual | any | any | the tier of `failover.active` serves, whatever its health; tier 0 where none is named |
//! | Automatic | is not configured any more | | the lowest tier that is ready, else the lowest there is |
//! | Automatic | down | a tier is ready | the lowest that is ready serves, at once |
//! | Automatic | down, but some of it serves | none is ready | stays |
//! | Automatic | nothing of it serves | none is ready, one has a proven endpoint | the lowest such serves, as a last resort |
//! | Automatic | nothing of it serves | none has | stays |
//! | Automatic | up | a better one is ready | by `failback`: never, at once, after `delay` without a break, at a start of prime time |
//!
//! *Down*: fewer than `minHealthy` endpoints serve, and none of its names still waits for a first answer. *Ready*: at
//! least `minHealthy` endpoints serve that passed a probe. A tier that nobody could probe is never ready, so a proxy that
//! has lost its network keeps the tier it has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use switchyard_snapshot::{Failback, Failover, Mode};

use super::schedule::{Calendar, Clockwork};
use crate::chain::event::{Stored, TransitionKind};
use crate::clock::Now;

/// The wall clock may be set while we wait for a start of prime time: look at it this often.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);

/// How one tier does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierHealth {
    /// Which.
    pub tier: u32,
    /// Endpoints that serve.
    pub serving: u32,
    /// Endpoints that serve and have passed all monitors.
    pub proven: u32,
    /// Some of its names still wait for their first answer.
    pub pending: bool,
}

/// The rules of one step.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The user's.
    pub failover: &'a Failover,
    /// Manual: the tier of `failover.active`.
    pub manual: Option<u32>,
    /// Prime time.
    pub calendar: Option<&'a Calendar>,
}

/// The active tier became another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The tier that served.
    pub from: u32,
    /// The tier that serves.
    pub to: u32,
    /// Over, back, or switched by the user.
    pub kind: TransitionKind,
    /// In words.
    pub reason: String,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Machine {
    tier: u32,
    epoch: u64,
    since: Timestamp,
    reason: String,
    better: BTreeMap<u32, Wait>,
    /// A deadline from before a restart, until better tiers are known to be up or not.
    adopted: Option<Timestamp>,
    clockwork: Clockwork,
    failback_at: Option<Timestamp>,
    wake_at: Option<Instant>,
}

/// A better tier is up and has to stay so for a while.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Now,
    delay: Duration,
    due: Instant,
    due_wall: Timestamp,
}

impl Wait {
    fn new(since: Now, delay: Duration, rest: Duration) -> Self {
        Self {
            since,
            delay,
            due: since.mono + rest,
            due_wall: later(since.wall, rest),
        }
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| at.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

impl Machine {
    /// Goes on where the last run stopped, as long as that tier is one of `tiers`; else `first` serves.
    pub fn new(first: u32, tiers: &[u32], stored: Option<&Stored>, now: Now) -> Self {
        let mut machine = Self {
            tier: first,
            epoch: 0,
            since: now.wall,
            reason: "it is the first tier".to_owned(),
            better: BTreeMap::new(),
            adopted: None,
            clockwork: Clockwork::new(now.wall),
            failback_at: None,
            wake_at: None,
        };
        let Some(stored) = stored else { return machine };
        machine.epoch = stored.epoch;
        if tiers.contains(&stored.tier) {
            machine.tier = stored.tier;
            machine.since = stored.since;
            machine.adopted = stored.failback_at;
            machine.failback_at = stored.failback_at;
            "it was active before the restart".clone_into(&mut machine.reason);
        } else {
            machine.epoch += 1;
            machine.reason = format!(
                "tier {} of before the restart is not configured any more",
                stored.tier
            );
        }
        machine
    }

    /// The active tier.
    pub fn tier(&self) -> u32 {
        self.tier
    }

    /// How often the active tier has changed.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Since when it is active.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Why it is, in words.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// When a failback is due.
    pub fn failback_at(&self) -> Option<Timestamp> {
        self.failback_at
    }

    /// When it must be stepped again although nothing happened.
    pub fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// What to keep on disk.
    pub fn stored(&self) -> Stored {
        Stored {
            epoch: self.epoch,
            tier: self.tier,
            since: self.since,
            failback_at: self.failback_at,
        }
    }

    /// The user changed the schedule.
    pub fn recalendar(&mut self) {
        self.clockwork.recalendar();
    }

    /// Looks at the tiers; call it after every event, and at [`Machine::wake_at`].
    pub fn step(&mut self, rules: &Rules<'_>, tiers: &[TierHealth], now: Now) -> Option<Change> {
        let start = rules
            .calendar
            .and_then(|calendar| self.clockwork.advance(calendar, now.wall));
        let decided = match rules.failover.mode {
            Mode::Manual => self.manual(rules, tiers),
            Mode::Automatic => self.automatic(rules, tiers, start, now),
        };
        let change = decided.map(|(to, kind, reason)| self.change(to, kind, reason, now));
        if change.is_some() && rules.failover.mode == Mode::Automatic {
            // Tiers better than the new one may be up already: their time starts now.
            self.watch_better(rules, tiers, now);
        }
        self.set_deadlines(rules, tiers, now);
        change
    }

    fn change(&mut self, to: u32, kind: TransitionKind, reason: String, now: Now) -> Change {
        let from = std::mem::replace(&mut self.tier, to);
        self.epoch += 1;
        self.since = now.wall;
        self.reason.clone_from(&reason);
        self.better.retain(|tier, _| *tier < to);
        self.adopted = None;
        Change {
            from,
            to,
            kind,
            reason,
        }
    }

    fn manual(&mut self, rules: &Rules<'_>, tiers: &[TierHealth]) -> Option<(u32, TransitionKind, String)> {
        self.better.clear();
        self.adopted = None;
        let named = rules.failover.active.as_deref();
        let lowest = tiers.iter().map(|t| t.tier).min();
        let to = rules.manual.or(lowest).filter(|to| *to != self.tier)?;
        let reason = match named {
            Some(name) => format!("failover.active names {name}"),
            None => "failover.mode is Manual and failover.active names nobody".to_owned(),
        };
        Some((to, TransitionKind::Switched, reason))
    }

    fn automatic(
        &mut self,
        rules: &Rules<'_>,
        tiers: &[TierHealth],
        start: Option<Timestamp>,
        now: Now,
    ) -> Option<(u32, TransitionKind, String)> {
        let min = rules.failover.min_healthy;
        let ready = tiers.iter().filter(|t| t.proven >= min).map(|t| t.tier).min();
        let Some(active) = tiers.iter().find(|t| t.tier == self.tier) else {
            let to = ready.or(tiers.iter().map(|t| t.tier).min())?;
            let reason = format!("tier {} is no longer configured", self.tier);
            return Some((to, TransitionKind::Switched, reason));
        };
        if active.serving < min && !active.pending {
            self.better.clear();
            return self.away_from(active, min, ready, tiers);
        }
        self.watch_better(rules, tiers, now);
        self.back(rules, tiers, start, now)
    }

    /// The active tier is down.
    fn away_from(
        &self,
        active: &TierHealth,
        min: u32,
        ready: Option<u32>,
        tiers: &[TierHealth],
    ) -> Option<(u32, TransitionKind, String)> {
        let down = format!(
            "tier {} is down: {} of at least {min} endpoints serve",
            active.tier, active.serving
        );
        let (to, reason) = match ready {
            Some(to) => (to, down),
            None if active.serving > 0 => return None,
            None => {
                let to = tiers.iter().filter(|t| t.proven > 0).map(|t| t.tier).min()?;
                (
                    to,
                    format!("{down}; tier {to} is a last resort, fewer than {min} serve there"),
                )
            }
        };
        let kind = if to > self.tier {
            TransitionKind::FailedOver
        } else {
            TransitionKind::FailedBack
        };
        (to != self.tier).then_some((to, kind, reason))
    }

    /// The active tier is up: shall a better one have its clients back?
    fn back(
        &mut self,
        rules: &Rules<'_>,
        tiers: &[TierHealth],
        start: Option<Timestamp>,
        now: Now,
    ) -> Option<(u32, TransitionKind, String)> {
        let lowest = self.better.keys().next().copied();
        let missed = self.missed_start(rules, tiers, now);
        let (to, why) = match rules.failover.failback {
            Failback::Sticky => return None,
            Failback::Immediate => (lowest?, "failback is Immediate".to_owned()),
            Failback::Delayed => {
                // While the best tier waits, a worse one that has waited long enough is not worth a move of its own.
                let best = self.better.first_key_value();
                let (to, _) = best.filter(|(_, wait)| wait.due <= now.mono)?;
                let delay = switchyard_snapshot::format_duration(rules.failover.delay);
                (*to, format!("the failback's delay of {delay} is over"))
            }
            Failback::Scheduled => (lowest?, format!("prime time began at {}", start.or(missed)?)),
        };
        Some((
            to,
            TransitionKind::FailedBack,
            format!("tier {to} is up again, {why}"),
        ))
    }

    /// Scheduled: a start that came while we were not running, once it is known how better tiers do.
    fn missed_start(&mut self, rules: &Rules<'_>, tiers: &[TierHealth], now: Now) -> Option<Timestamp> {
        let adopted = self.adopted?;
        if rules.failover.failback != Failback::Scheduled {
            return None;
        }
        if adopted > now.wall || !self.better.is_empty() || !self.undecided(rules, tiers) {
            self.adopted = None;
        }
        (adopted <= now.wall).then_some(adopted)
    }

    /// Whether some better tier may yet turn out to be up, as far as first verdicts go.
    fn undecided(&self, rules: &Rules<'_>, tiers: &[TierHealth]) -> bool {
        let min = rules.failover.min_healthy;
        tiers
            .iter()
            .filter(|t| t.tier < self.tier)
            .any(|t| t.pending || (t.serving >= min && t.proven < min))
    }

    fn watch_better(&mut self, rules: &Rules<'_>, tiers: &[TierHealth], now: Now) {
        let (min, delay) = (rules.failover.min_healthy, rules.failover.delay);
        let up = |tier: u32| tiers.iter().any(|t| t.tier == tier && t.proven >= min);
        self.better.retain(|tier, _| up(*tier));
        for health in tiers.iter().filter(|t| t.tier < self.tier && t.proven >= min) {
            let wait = self.better.entry(health.tier).or_insert_with(|| {
                let rest = match (rules.failover.failback, self.adopted.take()) {
                    (Failback::Delayed, Some(due)) => rest_of(due, now.wall).min(delay),
                    (_, kept) => {
                        self.adopted = kept;
                        delay
                    }
                };
                Wait::new(now, delay, rest)
            });
            if wait.delay != delay {
                *wait = Wait::new(wait.since, delay, delay);
            }
        }
        let keeps = matches!(rules.failover.failback, Failback::Delayed | Failback::Scheduled);
        if self.adopted.is_some() && (!keeps || (self.better.is_empty() && !self.undecided(rules, tiers))) {
            self.adopted = None;
        }
    }

    fn set_deadlines(&mut self, rules: &Rules<'_>, tiers: &[TierHealth], now: Now) {
        (self.failback_at, self.wake_at) = (None, None);
        if rules.failover.mode == Mode::Manual {
            return;
        }
        match rules.failover.failback {
            Failback::Sticky | Failback::Immediate => {}
            Failback::Delayed => {
                let best = self.better.values().next();
                self.failback_at = best.map(|wait| wait.due_wall).or(self.adopted);
                self.wake_at = best.map(|wait| wait.due);
            }
            Failback::Scheduled => {
                let on_backup = tiers.iter().any(|t| t.tier < self.tier);
                let next = rules.calendar.and_then(|calendar| self.clockwork.next(calendar));
                if let (Some(next), true) = (next, on_backup) {
                    self.failback_at = self.adopted.or(Some(next));
                    self.wake_at = Some(now.mono + rest_of(next, now.wall).min(LOOK_AT_CLOCK));
                }
            }
        }
    }
}

/// How long until `due` by the wall clock; zero once it has passed.
fn rest_of(due: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests;
