use switchyard_snapshot::Schedule;

use super::*;
use crate::chain::fixture::{Clock, backend, chain};
use crate::failover::council::Mate;
use crate::gossip::{ChainSaid, TierSaid};

mod agreement;
mod properties;

/// A machine over three tiers, each written as serving/proven.
struct Rig {
    clock: Clock,
    rules: Failover,
    manual: Option<u32>,
    calendar: Option<Calendar>,
    tiers: Vec<TierHealth>,
    machine: Machine,
    /// What pool-mates say; none: it is alone.
    mates: Vec<(&'static str, ChainSaid)>,
}

impl Rig {
    fn new(failback: Failback, stored: impl Into<Option<Stored>>) -> Self {
        let clock = Clock::new();
        let mut rules = chain(vec![backend("primary", "a", 0)]).failover;
        rules.failback = failback;
        Self {
            machine: Machine::new(0, &[0, 1, 2], stored.into().as_ref(), clock.0),
            clock,
            rules,
            manual: None,
            calendar: None,
            tiers: Vec::new(),
            mates: Vec::new(),
        }
    }

    fn scheduled(starts: &str, stored: impl Into<Option<Stored>>) -> Self {
        let mut rig = Self::new(Failback::Scheduled, stored);
        let schedule: Schedule = serde_json::from_str(starts).unwrap();
        rig.calendar = Some(Calendar::new(&schedule).unwrap());
        rig
    }

    /// `2/2 1/0 -` is: tier 0 has two that serve and are proven, tier 1 one that is not, tier 2 waits for an answer.
    fn tiers(&mut self, text: &str) -> Option<(TransitionKind, u32)> {
        let health = |(tier, text): (usize, &str)| {
            let numbers = text
                .split_once('/')
                .map(|(s, p)| (s.parse().unwrap(), p.parse().unwrap()));
            let (serving, proven) = numbers.unwrap_or((0, 0));
            TierHealth {
                tier: tier as u32,
                serving,
                proven,
                pending: numbers.is_none(),
            }
        };
        self.tiers = text.split(' ').enumerate().map(health).collect();
        self.step()
    }

    fn step(&mut self) -> Option<(TransitionKind, u32)> {
        let rules = Rules {
            failover: &self.rules,
            manual: self.manual,
            calendar: self.calendar.as_ref(),
            council: &council(&self.mates, self.clock.0.mono),
        };
        let change = self.machine.step(&rules, &self.tiers, self.clock.0)?;
        assert_eq!(change.to, self.machine.tier());
        Some((change.kind, change.to))
    }

    /// A mate says this: its epoch and tier, then its tiers as in [`Rig::tiers`].
    fn mate(
        &mut self,
        name: &'static str,
        epoch: u64,
        tier: u32,
        text: &str,
    ) -> Option<(TransitionKind, u32)> {
        let tiers = text.split(' ').zip(0..).map(|(text, tier)| {
            let (serving, proven) = text.split_once('/').unwrap();
            TierSaid {
                tier,
                serving: serving.parse().unwrap(),
                proven: proven.parse().unwrap(),
                pending: false,
            }
        });
        let said = ChainSaid {
            epoch,
            tier,
            tiers: tiers.collect(),
            reaches: true,
            ..ChainSaid::default()
        };
        self.mates.retain(|(other, _)| *other != name);
        self.mates.push((name, said));
        self.step()
    }

    fn waits(&self) -> &str {
        self.machine.waits().unwrap_or_default()
    }

    fn after(&mut self, seconds: u64) -> Option<(TransitionKind, u32)> {
        self.clock.pass(seconds * 1_000);
        self.step()
    }

    fn at(&mut self, wall: &str) -> Option<(TransitionKind, u32)> {
        let to: Timestamp = wall.parse().unwrap();
        let by = Duration::try_from(to.duration_since(self.clock.0.wall)).unwrap();
        self.clock.to(self.clock.0.mono + by);
        self.step()
    }

    fn failback_at(&self) -> String {
        self.machine
            .failback_at()
            .map_or_else(String::new, |at| at.to_string())
    }
}

fn council<'a>(mates: &'a [(&'static str, ChainSaid)], now: Instant) -> Council<'a> {
    if mates.is_empty() {
        return Council::alone(now);
    }
    let mates = mates.iter().map(|(name, said)| Mate {
        name,
        answers: true,
        confirmed: now,
        said: Ok(said),
    });
    Council::new(mates.collect(), Duration::from_secs(4), now, now)
}

use TransitionKind::{FailedBack, FailedOver, Switched};

const OVER: Option<(TransitionKind, u32)> = Some((FailedOver, 1));
const BACK: Option<(TransitionKind, u32)> = Some((FailedBack, 0));

fn stored(tier: u32, failback_at: Option<&str>) -> Stored {
    Stored {
        epoch: 7,
        tier,
        since: "2026-11-20T22:00:00Z".parse().unwrap(),
        failback_at: failback_at.map(|at| at.parse().unwrap()),
        returns_at: None,
    }
}

#[test]
fn where_to_when_the_active_tier_is_down() {
    // minHealthy, tiers, then the change
    let table = [
        (1, "1/0 1/1 1/1", None),
        (1, "0/0 1/1 1/1", OVER),
        (1, "0/0 0/0 1/1", Some((FailedOver, 2))),
        // nobody has proven that it is any better
        (1, "0/0 1/0 0/0", None),
        (1, "0/0 0/0 0/0", None),
        // the first answer is still to come
        (1, "- 1/1 1/1", None),
        (1, "0/0 - 1/1", Some((FailedOver, 2))),
        (2, "2/2 2/2 2/2", None),
        (2, "1/1 2/2 2/2", OVER),
        (2, "1/1 2/1 3/3", Some((FailedOver, 2))),
        (2, "1/1 1/1 1/1", None),
        (2, "0/0 1/1 1/1", OVER),
        (2, "0/0 2/0 1/1", Some((FailedOver, 2))),
    ];
    for (min_healthy, tiers, change) in table {
        let mut rig = Rig::new(Failback::Sticky, None);
        rig.rules.min_healthy = min_healthy;
        assert_eq!(rig.tiers(tiers), change, "{tiers} with minHealthy {min_healthy}");
        assert_eq!(rig.machine.epoch(), u64::from(change.is_some()));
    }
}

#[test]
fn sticky_goes_back_only_when_its_tier_is_down() {
    let mut rig = Rig::new(Failback::Sticky, None);
    assert_eq!(rig.tiers("0/0 1/1 1/1"), OVER);
    assert_eq!(rig.tiers("1/1 1/1 1/1"), None);
    assert_eq!(rig.after(1_000_000), None);
    assert_eq!(rig.failback_at(), "");
    assert_eq!(rig.tiers("1/1 0/0 1/1"), BACK);
    assert_eq!(rig.machine.epoch(), 2);
}

#[test]
fn immediate_goes_back_at_once_to_what_is_proven() {
    let mut rig = Rig::new(Failback::Immediate, None);
    assert_eq!(rig.tiers("0/0 0/0 1/1"), Some((FailedOver, 2)));
    assert_eq!(rig.tiers("1/0 0/0 1/1"), None);
    assert_eq!(rig.tiers("1/0 1/1 1/1"), Some((FailedBack, 1)));
    assert_eq!(rig.tiers("1/1 1/1 1/1"), BACK);
}

#[test]
fn delayed_waits_and_begins_again_when_the_better_tier_breaks() {
    let mut rig = Rig::new(Failback::Delayed, None);
    assert_eq!(rig.tiers("0/0 1/1 1/1"), OVER);
    assert_eq!(rig.failback_at(), "");
    assert_eq!(rig.tiers("1/1 1/1 1/1"), None);
    assert_eq!(rig.failback_at(), "2026-11-21T09:01:00Z");
    assert_eq!(rig.after(59), None);
    assert_eq!(rig.tiers("0/0 1/1 1/1"), None);
    assert_eq!(rig.failback_at(), "");
    assert_eq!(rig.tiers("1/1 1/1 1/1"), None);
    assert_eq!(rig.failback_at(), "2026-11-21T09:01:59Z");
    assert_eq!(rig.after(59), None);
    assert_eq!(rig.after(1), BACK);
    assert_eq!(rig.failback_at(), "");
}

#[test]
fn delayed_follows_an_edit_of_its_delay() {
    let mut rig = Rig::new(Failback::Delayed, None);
    rig.tiers("0/0 1/1 1/1");
    rig.tiers("1/1 1/1 1/1");
    rig.rules.delay = Duration::from_mins(10);
    assert_eq!(rig.after(300), None);
    assert_eq!(rig.failback_at(), "2026-11-21T09:10:00Z");
    rig.rules.delay = Duration::from_secs(30);
    assert_eq!(rig.after(1), BACK);
}

#[test]
fn a_dead_backup_is_left_at_once_whatever_the_mode() {
    for failback in [
        Failback::Sticky,
        Failback::Immediate,
        Failback::Delayed,
        Failback::Scheduled,
    ] {
        let mut rig = Rig::new(failback, None);
        assert_eq!(rig.tiers("0/0 0/0 1/1"), Some((FailedOver, 2)));
        assert_eq!(rig.tiers("1/1 0/0 0/0"), BACK, "{failback:?}");
    }
}

/// Mornings at 07:00 in London, where 21 November 2026 is a Saturday.
const MORNINGS: &str = r#"{"timeZone": "Europe/London", "except": ["2026-11-24"],
    "starts": [{"days": ["Mon", "Tue", "Wed", "Thu", "Fri"], "at": "07:00"}]}"#;

#[test]
fn scheduled_goes_back_at_a_start_at_which_the_better_tier_is_up() {
    let mut rig = Rig::scheduled(MORNINGS, None);
    assert_eq!(rig.failback_at(), "");
    assert_eq!(rig.tiers("0/0 1/1 1/1"), OVER);
    assert_eq!(rig.failback_at(), "2026-11-23T07:00:00Z");
    // at Monday's start it is down, Tuesday is an exception
    assert_eq!(rig.at("2026-11-23T07:00:00Z"), None);
    assert_eq!(rig.failback_at(), "2026-11-25T07:00:00Z");
    assert_eq!(rig.tiers("1/1 1/1 1/1"), None);
    assert_eq!(rig.at("2026-11-25T06:59:59Z"), None);
    assert_eq!(rig.at("2026-11-25T07:00:00Z"), BACK);
}

#[test]
fn a_start_that_came_before_the_failover_is_over() {
    let mut rig = Rig::scheduled(MORNINGS, None);
    rig.tiers("1/1 1/1 1/1");
    rig.clock.set_wall("2026-11-23T07:00:01Z");
    assert_eq!(rig.tiers("0/0 1/1 1/1"), OVER);
    assert_eq!(rig.tiers("1/1 1/1 1/1"), None);
    assert_eq!(rig.failback_at(), "2026-11-25T07:00:00Z");
}

#[test]
fn a_clock_that_is_set_brings_a_start_once() {
    let mut rig = Rig::scheduled(MORNINGS, None);
    rig.tiers("0/0 1/1 1/1");
    rig.tiers("1/1 1/1 1/1");
    // forward over Monday's start
    rig.clock.set_wall("2026-11-23T09:00:00Z");
    assert_eq!(rig.step(), BACK);
    assert_eq!(rig.tiers("0/0 1/1 1/1"), OVER);
    assert_eq!(rig.tiers("1/1 1/1 1/1"), None);
    // and back again: Monday's start does not count twice
    rig.clock.set_wall("2026-11-23T06:59:00Z");
    assert_eq!(rig.step(), None);
    assert_eq!(rig.failback_at(), "2026-11-25T07:00:00Z");
    assert_eq!(rig.at("2026-11-23T08:00:00Z"), None);
    assert_eq!(rig.at("2026-11-25T07:00:00Z"), BACK);
}

#[test]
fn manual_does_as_it_is_told_and_nothing_else() {
    let mut rig = Rig::new(Failback::Immediate, None);
    rig.rules.mode = Mode::Manual;
    assert_eq!(rig.tiers("0/0 1/1 1/1"), None);
    rig.manual = Some(2);
    assert_eq!(rig.tiers("1/1 1/1 0/0"), Some((Switched, 2)));
    assert_eq!(rig.after(1_000_000), None);
    rig.manual = None;
    assert_eq!(rig.step(), Some((Switched, 0)));
    assert_eq!(rig.machine.epoch(), 2);
}

#[test]
fn from_manual_to_automatic_goes_on_from_where_it_is() {
    let mut rig = Rig::new(Failback::Sticky, None);
    rig.rules.mode = Mode::Manual;
    rig.manual = Some(1);
    assert_eq!(rig.tiers("1/1 1/1 1/1"), Some((Switched, 1)));
    rig.rules.mode = Mode::Automatic;
    assert_eq!(rig.step(), None);
    rig.rules.failback = Failback::Immediate;
    assert_eq!(rig.step(), BACK);
}

#[test]
fn a_tier_that_is_gone_is_left() {
    let mut rig = Rig::new(Failback::Sticky, None);
    rig.tiers("0/0 0/0 1/1");
    assert_eq!(rig.tiers("0/0 1/1"), Some((Switched, 1)));
    let mut rig = Rig::new(Failback::Sticky, None);
    rig.tiers("0/0 0/0 1/1");
    assert_eq!(rig.tiers("1/0 1/0"), Some((Switched, 0)));
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let rig = Rig::new(Failback::Sticky, stored(2, None));
    assert_eq!((rig.machine.tier(), rig.machine.epoch()), (2, 7));
    assert_eq!(rig.machine.since().to_string(), "2026-11-20T22:00:00Z");
    let gone = Rig::new(Failback::Sticky, stored(3, None));
    assert_eq!((gone.machine.tier(), gone.machine.epoch()), (0, 8));
}

#[test]
fn a_restart_in_the_middle_of_a_delay_keeps_its_deadline() {
    let due = "2026-11-21T09:00:20Z";
    // up by then: at the deadline
    let mut rig = Rig::new(Failback::Delayed, stored(1, Some(due)));
    assert_eq!(rig.tiers("1/0 1/0 1/0"), None);
    assert_eq!(rig.failback_at(), due);
    rig.clock.pass(5_000);
    assert_eq!(rig.tiers("1/1 1/1 1/1"), None);
    assert_eq!(rig.failback_at(), due);
    assert_eq!(rig.after(14), None);
    assert_eq!(rig.after(1), BACK);
    // the deadline passed before the first verdict
    let mut rig = Rig::new(Failback::Delayed, stored(1, Some(due)));
    rig.tiers("- 1/0 1/0");
    rig.clock.pass(30_000);
    assert_eq!(rig.step(), None);
    assert_eq!(rig.tiers("1/1 1/1 1/1"), BACK);
    // the better tier is down after all: the delay begins anew
    let mut rig = Rig::new(Failback::Delayed, stored(1, Some(due)));
    rig.tiers("1/0 1/0 1/0");
    rig.tiers("0/0 1/1 1/1");
    assert_eq!(rig.failback_at(), "");
    rig.tiers("1/1 1/1 1/1");
    assert_eq!(rig.failback_at(), "2026-11-21T09:01:00Z");
    // no stored deadline is further off than the delay, or a wrong clock would keep us for ever
    let mut rig = Rig::new(Failback::Delayed, stored(1, Some("2036-01-01T00:00:00Z")));
    rig.tiers("1/1 1/1 1/1");
    assert_eq!(rig.failback_at(), "2026-11-21T09:01:00Z");
}

#[test]
fn a_start_that_came_during_a_restart_counts() {
    let mut rig = Rig::scheduled(MORNINGS, stored(1, Some("2026-11-21T08:59:50Z")));
    assert_eq!(rig.tiers("1/0 1/0 1/0"), None);
    assert_eq!(rig.tiers("1/1 1/1 1/1"), BACK);
    // unless the better tier is down when it is first known
    let mut rig = Rig::scheduled(MORNINGS, stored(1, Some("2026-11-21T08:59:50Z")));
    rig.tiers("1/0 1/0 1/0");
    assert_eq!(rig.tiers("0/0 1/1 1/1"), None);
    assert_eq!(rig.tiers("1/1 1/1 1/1"), None);
    assert_eq!(rig.failback_at(), "2026-11-23T07:00:00Z");
}
