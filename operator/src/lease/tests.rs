//! Who leads, when: tables of single steps, and a simulation of several candidates around one API server.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::election::{Election, Intent, Record, Step, Timing, Wrote};

fn timing() -> Timing {
    Timing::new(
        Duration::from_secs(15),
        Duration::from_secs(10),
        Duration::from_secs(2),
    )
    .unwrap()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn held_by(holder: &str, version: u64) -> Record {
    Record {
        holder: Some(holder.to_owned()).filter(|holder| !holder.is_empty()),
        duration: Some(secs(15)),
        version: version.to_string(),
        transitions: 3,
        acquired: None,
    }
}

/// What the API server makes of an intent.
fn written(intent: &Intent, version: u64) -> Record {
    Record {
        holder: intent.holder.clone(),
        duration: Some(intent.duration),
        version: version.to_string(),
        transitions: intent.transitions,
        acquired: intent.acquired,
    }
}

fn claim(step: Step) -> Intent {
    match step {
        Step::Write(intent) => intent,
        other => panic!("{other:?}"),
    }
}

/// A candidate that leads since `now`.
fn leader(now: Instant) -> Election {
    let mut election = Election::new("a".into(), timing(), now);
    assert_eq!(election.next(now), Step::Read);
    election.read(None, now);
    let intent = claim(election.next(now));
    assert_eq!((intent.version.as_deref(), intent.transitions), (None, 0));
    election.wrote(Wrote::Done(written(&intent, 1)), now, now);
    assert_eq!(election.valid_until(now), Some(now + secs(10)));
    election
}

#[test]
fn timings_that_allow_two_leaders_or_none_are_refused() {
    for (duration, deadline, retry, ok) in [
        (15_000, 10_000, 2_000, true),
        (3_000, 2_000, 500, true),
        (15_000, 15_000, 2_000, false),
        (15_500, 10_000, 2_000, false),
        (0, 0, 0, false),
        (15_000, 10_000, 10_000, false),
        (15_000, 10_000, 0, false),
    ] {
        let [duration, deadline, retry] = [duration, deadline, retry].map(Duration::from_millis);
        assert_eq!(
            Timing::new(duration, deadline, retry).is_ok(),
            ok,
            "{duration:?} {deadline:?} {retry:?}"
        );
    }
}

#[test]
fn a_silent_holder_is_waited_for_by_ones_own_clock_and_only_while_nothing_changes() {
    let start = Instant::now();
    let mut election = Election::new("b".into(), timing(), start);
    for (at, version, may) in [
        (0, 7, false),
        (14, 7, false),
        // it was renewed: the wait begins anew
        (15, 8, false),
        (29, 8, false),
        (30, 8, true),
    ] {
        let now = start + secs(at);
        election.read(Some(held_by("a", version)), now);
        let step = election.next(now);
        assert_eq!(matches!(step, Step::Write(_)), may, "{at}: {step:?}");
        if may {
            let intent = claim(step);
            assert_eq!(intent.version.as_deref(), Some("8"));
            assert_eq!((intent.holder.as_deref(), intent.transitions), (Some("b"), 4));
        }
    }
}

#[test]
fn a_lease_that_was_given_back_is_taken_at_once() {
    let now = Instant::now();
    let mut election = Election::new("b".into(), timing(), now);
    election.read(Some(held_by("", 9)), now);
    assert_eq!(claim(election.next(now)).version.as_deref(), Some("9"));
}

#[test]
fn a_lease_that_vanishes_after_it_was_held_is_waited_for() {
    let now = Instant::now();
    let mut election = Election::new("b".into(), timing(), now);
    election.read(Some(held_by("a", 9)), now);
    election.read(None, now + secs(3));
    assert!(matches!(election.next(now + secs(3)), Step::Wait(_)));
    election.read(None, now + secs(17));
    assert!(!matches!(election.next(now + secs(17)), Step::Write(_)));
    election.read(None, now + secs(18));
    assert_eq!(claim(election.next(now + secs(18))).version, None);
}

#[test]
fn a_term_counts_from_the_moment_the_renewal_was_sent() {
    let start = Instant::now();
    let mut election = leader(start);
    let sent = start + secs(3);
    let intent = claim(election.next(sent));
    assert_eq!((intent.version.as_deref(), intent.transitions), (Some("1"), 0));
    election.wrote(Wrote::Done(written(&intent, 2)), sent, sent + secs(4));
    assert_eq!(election.valid_until(sent + secs(4)), Some(sent + secs(10)));
}

#[test]
fn whoever_was_stopped_does_not_lead_when_it_goes_on() {
    let start = Instant::now();
    let mut election = leader(start);
    let back = start + secs(60);
    assert_eq!(election.valid_until(back), None);
    // what it knows is old: it looks before it does anything
    assert_eq!(election.next(back), Step::Read);
    election.read(Some(held_by("b", 5)), back);
    assert!(matches!(election.next(back), Step::Wait(_)));
}

#[test]
fn failed_renewals_end_the_term_in_time_and_a_lost_one_is_looked_into() {
    let start = Instant::now();
    let mut election = leader(start);
    let at = start + secs(3);
    election.wrote(Wrote::Unknown, at, at + secs(5));
    assert_eq!(election.valid_until(at + secs(5)), Some(start + secs(10)));
    // it may have been written: only a look tells, and a look prolongs nothing
    let looked = at + secs(6);
    election.read(Some(held_by("a", 2)), looked);
    assert_eq!(election.valid_until(looked), Some(start + secs(10)));
    assert_eq!(claim(election.next(looked)).version.as_deref(), Some("2"));
    election.wrote(Wrote::Lost, looked, looked);
    assert_eq!(election.next(looked), Step::Read);
    // somebody put another name there, against the rule
    election.read(Some(held_by("b", 3)), looked);
    assert_eq!(election.valid_until(looked), None);
}

/// Who leaves proxies to another replica, and until when.
#[test]
fn without_an_api_server_whoever_cannot_know_of_a_leader_stands_in() {
    let now = Instant::now();
    let aside = |election: &Election, at: Instant| election.standing(at).aside_until;
    let mut follower = Election::new("b".into(), timing(), now);
    assert_eq!(
        aside(&follower, now),
        Some(now + secs(15)),
        "it has not looked yet"
    );
    follower.read(Some(held_by("a", 1)), now + secs(3));
    follower.failed(now + secs(9));
    assert_eq!(
        aside(&follower, now + secs(9)),
        Some(now + secs(18)),
        "a failure tells nothing"
    );

    let mut leader = leader(now);
    assert_eq!(aside(&leader, now), None);
    leader.wrote(Wrote::Unknown, now + secs(2), now + secs(7));
    leader.failed(now + secs(11));
    assert_eq!(leader.next(now + secs(12)), Step::Read);
    let standing = leader.standing(now + secs(12));
    assert_eq!(
        (standing.leads_until, standing.aside_until),
        (None, None),
        "it knows of no successor"
    );
    leader.read(Some(held_by("b", 5)), now + secs(60));
    assert_eq!(
        aside(&leader, now + secs(60)),
        Some(now + secs(75)),
        "now it does"
    );
}

/// The process was told to end while a renewal was under way, which then was written.
#[test]
fn what_was_under_way_does_not_keep_the_lease() {
    let now = Instant::now();
    let mut election = leader(now);
    let first = election.resign().unwrap();
    assert_eq!((first.holder, first.version.as_deref()), (None, Some("1")));
    election.wrote(Wrote::Lost, now, now);
    assert!(election.may_be_ours());
    election.read(Some(held_by("a", 2)), now);
    let second = election.resign().unwrap();
    assert_eq!((&second.holder, second.version.as_deref()), (&None, Some("2")));
    election.wrote(Wrote::Done(written(&second, 3)), now, now);
    assert!(!election.may_be_ours());
}

#[test]
fn giving_back_writes_nobody_and_only_by_the_holder() {
    let start = Instant::now();
    let mut election = leader(start);
    let intent = election.resign().unwrap();
    assert_eq!((intent.holder, intent.version.as_deref()), (None, Some("1")));
    assert_eq!(election.valid_until(start), None);
    let mut other = Election::new("b".into(), timing(), start);
    other.read(Some(held_by("a", 1)), start);
    assert_eq!(other.resign(), None);
}

/// What happens to one candidate's next request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is answered after so long.
    Answered(Duration),
    /// It reaches the server after so long, and no answer comes back.
    Unanswered(Duration),
    /// It never arrives.
    Lost,
}

/// What one candidate does next.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// It runs, for its clock's next moment.
    Run(Fate),
    /// It is stopped for so long.
    Stopped(Duration),
}

fn turn() -> impl Strategy<Value = (usize, Turn)> {
    let millis = |max: u64| (0..max).prop_map(Duration::from_millis);
    let turn = prop_oneof![
        12 => millis(800).prop_map(|delay| Turn::Run(Fate::Answered(delay))),
        2 => millis(5_000).prop_map(|delay| Turn::Run(Fate::Answered(delay))),
        2 => millis(40_000).prop_map(|delay| Turn::Run(Fate::Unanswered(delay))),
        2 => Just(Turn::Run(Fate::Lost)),
        1 => millis(60_000).prop_map(Turn::Stopped),
    ];
    (0..3_usize, turn)
}

/// One server and its only Lease; writes that are still under way arrive in the order of time.
#[derive(Default)]
struct Server {
    lease: Option<Record>,
    writes: u64,
    late: Vec<(Instant, Intent)>,
}

impl Server {
    fn write(&mut self, intent: &Intent) -> Wrote {
        if self.lease.as_ref().map(|lease| &lease.version) != intent.version.as_ref() {
            return Wrote::Lost;
        }
        self.writes += 1;
        let record = written(intent, self.writes);
        self.lease = Some(record.clone());
        Wrote::Done(record)
    }

    fn arrive(&mut self, until: Instant) {
        self.late.sort_by_key(|(at, _)| *at);
        while self.late.first().is_some_and(|(at, _)| *at <= until) {
            let (_, intent) = self.late.remove(0);
            self.write(&intent);
        }
    }
}

/// A candidate, when it acts next, and the terms that it believed to have.
struct Actor {
    election: Election,
    at: Instant,
    terms: Vec<(Instant, Instant)>,
}

impl Actor {
    fn act(&mut self, fate: Fate, server: &mut Server) {
        let now = self.at;
        server.arrive(now);
        match self.election.next(now) {
            Step::Wait(until) => self.at = until,
            Step::Read => match fate {
                Fate::Answered(delay) => {
                    let seen = server.lease.clone();
                    self.at = now + delay;
                    self.election.read(seen, self.at);
                }
                Fate::Unanswered(_) | Fate::Lost => {
                    self.at = now + secs(5);
                    self.election.failed(self.at);
                }
            },
            Step::Write(intent) => {
                let wrote = match fate {
                    // it arrives at once and the answer takes its time, which is the worse of both orders
                    Fate::Answered(delay) => {
                        self.at = now + delay;
                        server.write(&intent)
                    }
                    Fate::Unanswered(delay) => {
                        server.late.push((now + delay, intent));
                        self.at = now + secs(5);
                        Wrote::Unknown
                    }
                    Fate::Lost => {
                        self.at = now + secs(5);
                        Wrote::Unknown
                    }
                };
                self.election.wrote(wrote, now, self.at);
            }
        }
        if let Some(until) = self.election.valid_until(self.at) {
            self.terms.push((self.at, until));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is slow, lost or stopped: the terms of two candidates never overlap.
    #[test]
    fn never_two_leaders(turns in prop::collection::vec(turn(), 1..200)) {
        let start = Instant::now();
        let mut server = Server::default();
        let mut actors: Vec<Actor> = ["a", "b", "c"]
            .into_iter()
            .map(|name| Actor {
                election: Election::new(name.into(), timing(), start),
                at: start,
                terms: Vec::new(),
            })
            .collect();
        let mut fates: Vec<Vec<Turn>> = vec![Vec::new(); 3];
        for (who, turn) in turns {
            fates[who].push(turn);
        }
        let mut fates: Vec<_> = fates.into_iter().map(Vec::into_iter).collect();
        // who is next in time acts next; who has no turns left was killed
        while let Some((_, who)) = (0..3)
            .filter(|who| fates[*who].len() > 0)
            .map(|who| (actors[who].at, who))
            .min()
        {
            match fates[who].next() {
                Some(Turn::Run(fate)) => actors[who].act(fate, &mut server),
                Some(Turn::Stopped(pause)) => actors[who].at += pause,
                None => {}
            }
        }
        for (n, one) in actors.iter().enumerate() {
            for other in &actors[n + 1..] {
                for (from, until) in &one.terms {
                    for (other_from, other_until) in &other.terms {
                        prop_assert!(until <= other_from || other_until <= from, "two leaders");
                    }
                }
            }
        }
    }

    /// A free lease finds a leader among candidates that are not hindered, and keeps it.
    #[test]
    fn somebody_leads(delays in prop::collection::vec(0..900_u64, 60..120)) {
        let start = Instant::now();
        let mut server = Server::default();
        let mut actors: Vec<Actor> = ["a", "b"]
            .into_iter()
            .map(|name| Actor { election: Election::new(name.into(), timing(), start), at: start, terms: Vec::new() })
            .collect();
        for delay in delays {
            let who = usize::from(actors[1].at < actors[0].at);
            actors[who].act(Fate::Answered(Duration::from_millis(delay)), &mut server);
        }
        let leaders: Vec<usize> = (0..2).filter(|who| !actors[*who].terms.is_empty()).collect();
        prop_assert_eq!(leaders.len(), 1, "one of them, all the time");
        let terms = &actors[leaders[0]].terms;
        for pair in terms.windows(2) {
            prop_assert!(pair[1].0 < pair[0].1, "renewed before it ran out");
        }
    }
}
