use proptest::prelude::*;
use switchyard_snapshot::Schedule;

use super::*;
use crate::chain::fixture::Clock;
use crate::redirect::fixture::chain_id;

/// Mornings at 07:00 in London, where 21 November 2026 is a Saturday.
const MORNINGS: &str = r#"{"timeZone": "Europe/London",
    "starts": [{"days": ["Mon", "Tue", "Wed", "Thu", "Fri"], "at": "07:00"}]}"#;

/// Guests of the chains 1, 2 and 3.
struct Rig {
    clock: Clock,
    redirect: Redirect,
    calendar: Option<Calendar>,
    lives: [bool; 3],
    returns: Returns,
    returning: Option<Returning>,
}

impl Rig {
    fn new(return_: Return) -> Self {
        Self::restarted(return_, None)
    }

    fn restarted(return_: Return, stored: Option<&str>) -> Self {
        let clock = Clock::new();
        let schedule: Schedule = serde_json::from_str(MORNINGS).unwrap();
        let redirect = Redirect {
            return_,
            ..Redirect::default()
        };
        let mut rig = Self {
            clock,
            redirect,
            calendar: Some(Calendar::new(&schedule).unwrap()),
            lives: [false; 3],
            returns: Returns::new(stored.map(|at| at.parse().unwrap()), clock.0),
            returning: None,
        };
        rig.step(false);
        rig
    }

    fn step(&mut self, told: bool) -> Vec<String> {
        let home = |(lives, n): (&bool, usize)| Home {
            chain: chain_id(n),
            access: (format!("sync-{n}.example.com"), 8_443),
            lives: *lives,
        };
        let homes: Vec<Home> = self.lives.iter().zip(1..).map(home).collect();
        let rules = Rules {
            redirect: &self.redirect,
            delay: Duration::from_mins(1),
            calendar: self.calendar.as_ref(),
        };
        self.returning = self.returns.step(&rules, &homes, told, self.clock.0);
        let going = self.returning.iter().flat_map(|returning| &returning.homes);
        going.map(|(home, ..)| home.name.clone()).collect()
    }

    /// Those of the homes that live: `1-3` is all but the second.
    fn live(&mut self, text: &str) -> Vec<String> {
        for (lives, c) in self.lives.iter_mut().zip(text.chars()) {
            *lives = c != '-';
        }
        self.step(false)
    }

    fn after(&mut self, seconds: u64) -> Vec<String> {
        self.clock.pass(seconds * 1_000);
        self.step(false)
    }

    /// Waits until the wall clock shows this.
    fn at(&mut self, wall: &str) -> Vec<String> {
        let to: Timestamp = wall.parse().unwrap();
        let by = Duration::try_from(to.duration_since(self.clock.0.wall)).unwrap();
        self.clock.to(self.clock.0.mono + by);
        self.step(false)
    }

    fn returns_at(&self) -> String {
        self.returns
            .returns_at()
            .map_or_else(String::new, |at| at.to_string())
    }
}

const NOBODY: [&str; 0] = [];

#[test]
fn scheduled_at_the_next_start_to_homes_that_live() {
    let mut rig = Rig::new(Return::Scheduled);
    assert_eq!(rig.live("-23"), NOBODY);
    assert_eq!(rig.returns_at(), "2026-11-23T07:00:00Z");
    assert_eq!(rig.at("2026-11-23T06:59:59Z"), NOBODY);
    assert_eq!(rig.at("2026-11-23T07:00:00Z"), ["suite-2", "suite-3"]);
    let returning = rig.returning.clone().unwrap();
    assert_eq!(returning.since, rig.clock.0.mono);
    assert_eq!(
        returning.homes[0],
        (chain_id(2), "sync-2.example.com".into(), 8_443)
    );
    assert_eq!(rig.returns_at(), "2026-11-23T07:00:00Z", "since then they go");
    // one that lives later has to wait for the next start
    rig.after(10);
    assert_eq!(rig.live("123"), ["suite-2", "suite-3"]);
    assert_eq!(rig.at("2026-11-24T07:00:00Z"), ["suite-1", "suite-2", "suite-3"]);
    assert_eq!(
        rig.returning.unwrap().since,
        rig.clock.0.mono,
        "each start begins anew"
    );
}

#[test]
fn a_start_with_nobody_to_go_to_is_skipped() {
    let mut rig = Rig::new(Return::Scheduled);
    assert_eq!(rig.at("2026-11-23T07:00:00Z"), NOBODY);
    assert_eq!(rig.after(10), NOBODY);
    assert_eq!(rig.live("1--"), NOBODY);
    assert_eq!(rig.returns_at(), "2026-11-24T07:00:00Z");
    // a breath late is in time
    let mut rig = Rig::new(Return::Scheduled);
    rig.at("2026-11-23T07:00:00Z");
    rig.after(9);
    assert_eq!(rig.live("1--"), ["suite-1"]);
}

#[test]
fn nobody_goes_to_a_home_that_does_not_live() {
    let mut rig = Rig::new(Return::Scheduled);
    rig.live("12-");
    rig.at("2026-11-23T07:00:00Z");
    assert_eq!(rig.live("-2-"), ["suite-2"]);
    assert_eq!(rig.after(29), ["suite-2"]);
    // a short break is no end
    assert_eq!(rig.live("12-"), ["suite-1", "suite-2"]);
    rig.live("-2-");
    assert_eq!(rig.after(30), ["suite-2"]);
    assert_eq!(
        rig.live("12-"),
        ["suite-2"],
        "who came in the meantime waits for the next start"
    );
}

#[test]
fn when_healthy_after_the_delay_without_a_break() {
    let mut rig = Rig::new(Return::WhenHealthy);
    rig.live("1--");
    assert_eq!(rig.returns_at(), "2026-11-21T09:01:00Z");
    assert_eq!(rig.after(59), NOBODY);
    rig.live("---");
    assert_eq!(rig.returns_at(), "");
    rig.live("1--");
    assert_eq!(rig.after(59), NOBODY);
    assert_eq!(rig.after(1), ["suite-1"]);
    assert_eq!(rig.live("12-"), ["suite-1"]);
    assert_eq!(rig.after(60), ["suite-1", "suite-2"]);
    // a start of prime time is nothing to them
    assert_eq!(Rig::new(Return::WhenHealthy).at("2026-11-23T07:00:00Z"), NOBODY);
}

#[test]
fn on_demand_when_told() {
    let mut rig = Rig::new(Return::OnDemand);
    rig.live("1-3");
    assert_eq!(rig.at("2026-11-24T07:00:00Z"), NOBODY);
    assert_eq!((rig.returns_at(), rig.returns.wake_at()), (String::new(), None));
    assert_eq!(rig.step(true), ["suite-1", "suite-3"]);
    assert_eq!(rig.after(3_600), ["suite-1", "suite-3"]);
    // told again: the grace begins anew
    assert_eq!(rig.step(true), ["suite-1", "suite-3"]);
    assert_eq!(rig.returning.unwrap().since, rig.clock.0.mono);
    for return_ in [Return::Scheduled, Return::WhenHealthy] {
        let mut rig = Rig::new(return_);
        rig.live("1--");
        assert_eq!(rig.step(true), ["suite-1"]);
    }
}

#[test]
fn who_is_told_while_a_home_is_not_heard_goes_once_it_is() {
    for return_ in [Return::Scheduled, Return::WhenHealthy, Return::OnDemand] {
        let mut rig = Rig::new(return_);
        rig.live("1--");
        rig.live("---");
        assert_eq!(rig.step(true), NOBODY);
        rig.after(9);
        assert_eq!(rig.live("12-"), ["suite-1", "suite-2"]);
        // a home that lives later than that is not meant
        rig.after(1);
        assert_eq!(rig.live("123"), ["suite-1", "suite-2"]);
    }
}

#[test]
fn grace_is_counted_for_each_home() {
    let mut rig = Rig::new(Return::WhenHealthy);
    rig.redirect.grace = Duration::from_secs(100);
    rig.live("1--");
    rig.after(30);
    rig.live("12-");
    rig.after(60);
    let over = |rig: &Rig, n| {
        rig.returns
            .grace_is_over(&chain_id(n), &rig.redirect, rig.clock.0.mono)
    };
    rig.after(99);
    // the first has gone since 60 s after the start and 30 s before the second
    assert_eq!(
        [over(&rig, 1), over(&rig, 2), over(&rig, 3)],
        [false, false, false]
    );
    rig.after(1);
    assert_eq!([over(&rig, 1), over(&rig, 2)], [true, true]);
    rig.live("-2-");
    assert_eq!([over(&rig, 1), over(&rig, 2)], [false, true]);
}

#[test]
fn a_clock_that_is_set_brings_a_start_once() {
    let mut rig = Rig::new(Return::Scheduled);
    rig.live("1--");
    // forward over Monday's and Tuesday's start
    rig.clock.set_wall("2026-11-24T09:00:00Z");
    assert_eq!(rig.step(false), ["suite-1"]);
    rig.live("---");
    rig.after(30);
    assert_eq!(rig.live("1--"), NOBODY);
    // and back: Tuesday's start does not come again
    rig.clock.set_wall("2026-11-24T06:59:59Z");
    assert_eq!(rig.step(false), NOBODY);
    assert_eq!(rig.after(2), NOBODY);
    assert_eq!(rig.returns_at(), "2026-11-25T07:00:00Z");
}

#[test]
fn a_start_that_came_during_a_restart_counts() {
    let mut rig = Rig::restarted(Return::Scheduled, Some("2026-11-21T08:59:00Z"));
    assert_eq!(rig.after(2), NOBODY, "nobody has been heard yet");
    assert_eq!(rig.live("1--"), ["suite-1"]);
    // but not where guests do not go by schedule any more
    for return_ in [Return::WhenHealthy, Return::OnDemand] {
        let mut rig = Rig::restarted(return_, Some("2026-11-21T08:59:00Z"));
        assert_eq!(rig.live("1--"), NOBODY);
    }
    // one that is still to come is nothing special
    let mut rig = Rig::restarted(Return::Scheduled, Some("2026-11-23T07:00:00Z"));
    assert_eq!(rig.live("1--"), NOBODY);
    assert_eq!(rig.at("2026-11-23T07:00:00Z"), ["suite-1"]);
}

/// What happens to a group.
#[derive(Clone, Debug)]
enum Act {
    Lives(usize, bool),
    Pass(u64),
    Told,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0usize..3, any::<bool>()).prop_map(|(home, lives)| Act::Lives(home, lives)),
        4 => prop_oneof![0u64..70, 3_600u64..40_000].prop_map(Act::Pass),
        1 => Just(Act::Told),
    ];
    prop::collection::vec(act, 1..60)
}

proptest! {
    /// Guests go only to homes that live, and only with a reason: they were told to, or by schedule a start of prime time
    /// came, while it lived or 10 s before; it has lived for the delay. A reason lasts until the home has not lived for the
    /// patience. And it is woken for all of that.
    #[test]
    fn property_nobody_goes_without_a_reason_nor_to_the_dead(
        acts in acts(),
        return_ in prop::sample::select(vec![Return::Scheduled, Return::WhenHealthy, Return::OnDemand]),
    ) {
        let mut rig = Rig::new(return_);
        let mut homes = [Seen::default(); 3];
        // when all were last sent home: by a word, or by a start
        let mut sent: Option<Instant> = None;
        for act in &acts {
            let now = rig.clock.0.mono;
            match *act {
                Act::Lives(at, lives) => {
                    rig.lives[at] = lives;
                    homes[at].lives(lives, now);
                    homes[at].granted |= lives && sent.is_some_and(|sent| now < sent + Duration::from_secs(10));
                    rig.step(false);
                }
                Act::Told => {
                    for home in &mut homes {
                        home.granted |= home.since.is_some();
                    }
                    sent = Some(now);
                    rig.step(true);
                }
                Act::Pass(seconds) => {
                    let (wall, end) = (rig.clock.0.wall, now + Duration::from_secs(seconds));
                    while let Some(at) = rig.returns.wake_at().filter(|at| *at <= end) {
                        prop_assert!(at > rig.clock.0.mono, "woken at once, again");
                        rig.clock.to(at);
                        rig.step(false);
                    }
                    rig.clock.to(end);
                    let before = rig.returning.clone();
                    rig.step(false);
                    prop_assert_eq!(&before, &rig.returning, "it has slept through something");
                    let next = |calendar: &Calendar| calendar.next_start(wall);
                    let starts = std::iter::successors(rig.calendar.as_ref().and_then(next), |start| {
                        rig.calendar.as_ref()?.next_start(*start)
                    });
                    let passed = starts.take_while(|start| return_ == Return::Scheduled && *start <= rig.clock.0.wall);
                    let last = passed.last().map(|start| now + Duration::try_from(start.duration_since(wall)).unwrap());
                    sent = last.or(sent);
                    for home in &mut homes {
                        home.pass(return_, last.is_some(), rig.clock.0.mono);
                    }
                }
            }
            for (home, ..) in rig.returning.iter().flat_map(|returning| &returning.homes) {
                let at = (1..=3).position(|n| chain_id(n) == *home).unwrap();
                prop_assert!(homes[at].since.is_some(), "{} does not live", home);
                prop_assert!(homes[at].granted, "{} has no reason", home);
            }
        }
    }
}

/// A home, as somebody sees it who counts along.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    since: Option<Instant>,
    gone: Option<Instant>,
    granted: bool,
}

impl Seen {
    fn lives(&mut self, lives: bool, now: Instant) {
        self.since = lives.then(|| self.since.unwrap_or(now));
        self.gone = (!lives).then(|| self.gone.unwrap_or(now));
    }

    fn pass(&mut self, return_: Return, came: bool, now: Instant) {
        let due = |since: Instant| now >= since + Duration::from_mins(1);
        let healthy = return_ == Return::WhenHealthy && self.since.is_some_and(due);
        self.granted |= self.since.is_some() && (came || healthy);
        self.granted &= self.gone.is_none_or(|since| now < since + PATIENCE);
    }
}
