//! The failover state machine of one chain. In: [`TierHealth`] of every tier, what pool-mates say of them, the rules, time.
//! Out: at most one [`Change`] per step, when a failback is due, and for whom a change waits.
//!
//! | mode | the active tier | another tier | what happens |
//! | --- | --- | --- | --- |
//! | Automatic | any | a mate has a newer epoch | its tier serves, at once; of equal epochs the better tier holds |
//! | Manual | any | any | the tier of `failover.active` serves, whatever its health; tier 0 where none is named |
//! | Automatic | is not configured any more | | the lowest tier that is ready, else the lowest there is |
//! | Automatic | down | a tier is ready | the lowest that is ready serves, at once |
//! | Automatic | down, but some of it serves | none is ready | stays |
//! | Automatic | nothing of it serves | none is ready, one has a proven endpoint | the lowest such serves, as a last resort |
//! | Automatic | nothing of it serves | none has | stays |
//! | Automatic | up | a better one is ready | by `failback`: never, at once, after `delay` without a break, at a start of prime time |
//!
//! "Down" and "ready" is what all pool-mates must say that live, and say now ([`super::council`]): nobody leaves a tier, or
//! goes back to one, because of what it alone sees. Of tiers that are ready here, one that all find ready goes first.
//!
//! *Down*: fewer than `minHealthy` endpoints serve, and none of its names still waits for a first answer. *Ready*: at
//! least `minHealthy` endpoints serve that passed a probe. A tier that nobody could probe is never ready, so a proxy that
//! has lost its network keeps the tier it has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use switchyard_snapshot::{Failback, Failover, Mode};

use super::council::{Claim, Council};
use super::schedule::{Calendar, Clockwork};
use crate::chain::event::{Stored, TransitionKind};
use crate::clock::Now;

/// The wall clock may be set while we wait for a start of prime time: look at it this often.
pub const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);

/// A start of prime time waits so long for pool-mates to agree: longer than a silent one takes to count as dead.
pub const AGREE_WITHIN: Duration = Duration::from_secs(10);

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
    /// Pool-mates.
    pub council: &'a Council<'a>,
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
    /// A start that has come and still waits for mates, and until when it does.
    held: Option<(Timestamp, Instant)>,
    /// For whom a change waits, in words.
    waits: Option<String>,
    failback_at: Option<Timestamp>,
    wake_at: Option<Instant>,
}

/// Where to, what kind of change that is, and why, in words.
type Decided = (u32, TransitionKind, String);

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
            held: None,
            waits: None,
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

    /// A change is due, and waits for pool-mates: for whom and why, in words.
    pub fn waits(&self) -> Option<&str> {
        self.waits.as_deref()
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
            returns_at: None,
        }
    }

    /// The user changed the schedule.
    pub fn recalendar(&mut self) {
        self.clockwork.recalendar();
    }

    /// Looks at the tiers; call it after every event, and at [`Machine::wake_at`].
    pub fn step(&mut self, rules: &Rules<'_>, tiers: &[TierHealth], now: Now) -> Option<Change> {
        self.waits = None;
        let start = rules
            .calendar
            .and_then(|calendar| self.clockwork.advance(calendar, now.wall));
        let change = match rules.failover.mode {
            Mode::Manual => {
                let to = self.manual(rules, tiers);
                to.map(|to| self.change(to, self.epoch.saturating_add(1), now))
            }
            Mode::Automatic => {
                self.held = self.held.filter(|(_, until)| now.mono < *until);
                let adopted = self.adopt(rules.council, tiers, start, now);
                adopted.or_else(|| {
                    let to = self.automatic(rules, tiers, start, now);
                    to.map(|to| self.change(to, self.epoch.saturating_add(1), now))
                })
            }
        };
        if change.is_some() && rules.failover.mode == Mode::Automatic {
            // Tiers better than the new one may be up already: their time starts now.
            self.watch_better(rules, tiers, now);
        }
        self.set_deadlines(rules, tiers, now);
        change
    }

    fn change(&mut self, decided: Decided, epoch: u64, now: Now) -> Change {
        let (to, kind, reason) = decided;
        let from = std::mem::replace(&mut self.tier, to);
        self.epoch = epoch;
        self.since = now.wall;
        self.reason.clone_from(&reason);
        self.better.retain(|tier, _| *tier < to);
        (self.adopted, self.held, self.waits) = (None, None, None);
        Change {
            from,
            to,
            kind,
            reason,
        }
    }

    /// A mate's newer tier is ours, too.
    fn adopt(
        &mut self,
        council: &Council<'_>,
        tiers: &[TierHealth],
        start: Option<Timestamp>,
        now: Now,
    ) -> Option<Change> {
        let configured = |tier: u32| tiers.iter().any(|t| t.tier == tier);
        let newer = council.newer(self.epoch, self.tier, configured)?;
        if newer.tier == self.tier {
            // It went away and came back, or counted a change that we have made as well.
            self.epoch = newer.epoch;
            return None;
        }
        let reason = format!(
            "{} says that tier {} serves, by epoch {}; here it was tier {} by epoch {}",
            newer.name, newer.tier, newer.epoch, self.tier, self.epoch
        );
        let decided = (newer.tier, self.direction(newer.tier), reason);
        let change = self.change(decided, newer.epoch, now);
        // A start is seen once: if it was this step's, it still counts for tiers better than the mate's.
        self.held = start.map(|start| (start, now.mono + AGREE_WITHIN));
        Some(change)
    }

    fn direction(&self, to: u32) -> TransitionKind {
        if to > self.tier {
            TransitionKind::FailedOver
        } else {
            TransitionKind::FailedBack
        }
    }

    fn manual(&mut self, rules: &Rules<'_>, tiers: &[TierHealth]) -> Option<Decided> {
        self.better.clear();
        (self.adopted, self.held) = (None, None);
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
    ) -> Option<Decided> {
        let min = rules.failover.min_healthy;
        let ready = || tiers.iter().filter(|t| t.proven >= min).map(|t| t.tier);
        let agreed = |tier: &u32| rules.council.all_say(Claim::Ready { tier: *tier, min });
        let ready = ready().filter(agreed).min().or(ready().min());
        let Some(active) = tiers.iter().find(|t| t.tier == self.tier) else {
            let to = ready.or(tiers.iter().map(|t| t.tier).min())?;
            let reason = format!("tier {} is no longer configured", self.tier);
            return Some((to, TransitionKind::Switched, reason));
        };
        if active.serving < min && !active.pending {
            self.better.clear();
            self.held = None;
            return self.away_from(active, ready, rules, tiers);
        }
        self.watch_better(rules, tiers, now);
        self.back(rules, tiers, start, now)
    }

    /// The active tier is down.
    fn away_from(
        &mut self,
        active: &TierHealth,
        ready: Option<u32>,
        rules: &Rules<'_>,
        tiers: &[TierHealth],
    ) -> Option<Decided> {
        let (tier, min) = (active.tier, rules.failover.min_healthy);
        let down = format!(
            "tier {tier} is down: {} of at least {min} endpoints serve",
            active.serving
        );
        let (to, claim, reason) = match ready {
            Some(to) => (to, Claim::Down { tier, min }, down),
            None if active.serving > 0 => return None,
            None => {
                let to = tiers.iter().filter(|t| t.proven > 0).map(|t| t.tier).min()?;
                let reason = format!("{down}; tier {to} is a last resort, fewer than {min} serve there");
                (to, Claim::dead(tier), reason)
            }
        };
        if to == self.tier {
            return None;
        }
        self.waits = rules.council.objection(claim);
        let agreed = self.waits.is_none();
        agreed.then(|| (to, self.direction(to), reason))
    }

    /// The active tier is up: shall a better one have its clients back?
    fn back(
        &mut self,
        rules: &Rules<'_>,
        tiers: &[TierHealth],
        start: Option<Timestamp>,
        now: Now,
    ) -> Option<Decided> {
        let missed = self.missed_start(rules, tiers, now);
        let why = match rules.failover.failback {
            Failback::Sticky => return None,
            Failback::Immediate => "failback is Immediate".to_owned(),
            Failback::Delayed => {
                let delay = switchyard_snapshot::format_duration(rules.failover.delay);
                format!("the failback's delay of {delay} is over")
            }
            Failback::Scheduled => {
                let held = self.held.map(|(start, _)| start);
                let start = start.or(missed).or(held)?;
                if !self.better.is_empty() && held != Some(start) {
                    self.held = Some((start, now.mono + AGREE_WITHIN));
                }
                format!("prime time began at {start}")
            }
        };
        let delayed = rules.failover.failback == Failback::Delayed;
        // While the best tier waits, a worse one that has waited long enough is not worth a move of its own.
        let due = |(_, wait): &(&u32, &Wait)| !delayed || wait.due <= now.mono;
        let min = rules.failover.min_healthy;
        for (&tier, _) in self.better.iter().take_while(due) {
            let Some(objection) = rules.council.objection(Claim::Ready { tier, min }) else {
                let reason = format!("tier {tier} is up again, {why}");
                return Some((tier, TransitionKind::FailedBack, reason));
            };
            self.waits.get_or_insert(objection);
        }
        None
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
                let held = self.held.map(|(_, until)| until);
                self.wake_at = self.wake_at.into_iter().chain(held).min();
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
