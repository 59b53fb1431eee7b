//! A cluster in small: an operator that is restarted, reconfigured and away for a while; proxies that fetch the bundle late;
//! leaves of both ends. Whatever happens, a leaf that is valid verifies under every bundle that a proxy may hold, and under
//! what the operator trusts.

use proptest::prelude::*;

use super::*;

/// The slowest proxy's bundle is this old.
const SLOWEST: i64 = DAY;

/// The operator is away for less than this at a time: a rotation begins a third of a CA's life before its end.
const AWAY: i64 = 5 * DAY;

#[derive(Clone, Debug)]
enum Event {
    /// Time passes, with the operator running.
    Pass(i64),
    /// Time passes, without.
    Away(i64),
    /// Restarted with another life of certificates, in hours.
    Configure(u64),
    /// The CA is written by somebody else from now on, living for days, or ours again.
    Source(Option<i64>),
    /// A leaf is issued.
    Issue,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1..12 * HOUR).prop_map(Event::Pass),
        2 => (HOUR..AWAY).prop_map(Event::Away),
        1 => (1..24u64).prop_map(Event::Configure),
        1 => proptest::option::of(40..90i64).prop_map(Event::Source),
        6 => Just(Event::Issue),
    ]
}

/// One kept authority, with a name of its own.
#[derive(Clone, Debug)]
struct Kept {
    name: usize,
    term: Term,
}

struct Leaf {
    issuer: usize,
    until: i64,
}

#[derive(Default)]
struct World {
    now: i64,
    kept: Vec<Kept>,
    made: usize,
    /// What somebody else writes: name, from, until.
    given: Option<(usize, i64, i64)>,
    given_life: Option<i64>,
    hours: u64,
    leaves: Vec<Leaf>,
    /// What was published from when on.
    published: Vec<(i64, Vec<usize>)>,
}

impl World {
    fn lifetimes(&self) -> Lifetimes {
        Lifetimes::new(
            Duration::from_hours(90 * 24),
            Duration::from_hours(24),
            Duration::from_hours(self.hours),
        )
        .unwrap()
    }

    fn terms(&self) -> Vec<Term> {
        self.kept.iter().map(|kept| kept.term).collect()
    }

    /// One turn of the operator.
    fn turn(&mut self) {
        if let (Some(life), Some((_, from, until))) = (self.given_life, self.given)
            && self.now >= from + (until - from) * 2 / 3
        {
            // As cert-manager does.
            self.give(life);
        }
        let source = self.given.map_or(Source::Own, |(name, from, until)| {
            given(from, until, self.kept.iter().position(|kept| kept.name == name))
        });
        let plan = plan(at(self.now), &self.terms(), source, &self.lifetimes());
        let mut next = Vec::new();
        for (index, kept) in self.kept.iter().enumerate() {
            if !plan.forget.contains(&index) {
                let mut kept = kept.clone();
                kept.term.armed &= !plan.disarm.contains(&index);
                next.push(kept);
            }
        }
        if let Some(signs_from) = plan.add {
            let (name, from, until) = self.given.unwrap_or_else(|| {
                self.made += 1;
                (self.made, self.now, self.now + 90 * DAY)
            });
            let mut term = term(from, until, 0);
            term.signs_from = signs_from;
            next.push(Kept { name, term });
        }
        self.kept = next;
        let bundle = self.kept.iter().map(|kept| kept.name).collect::<Vec<_>>();
        if self.published.last().is_none_or(|(_, last)| *last != bundle) {
            self.published.push((self.now, bundle));
        }
        assert!(
            signer(at(self.now), &self.terms()).is_some(),
            "nobody can sign at {}",
            self.now
        );
    }

    fn give(&mut self, days: i64) {
        self.made += 1;
        self.given = Some((self.made, self.now, self.now + days * DAY));
    }

    fn issue(&mut self) {
        let index = signer(at(self.now), &self.terms()).unwrap();
        let kept = &self.kept[index];
        let until = kept.term.validity.until.as_second() - at(0).as_second();
        self.leaves.push(Leaf {
            issuer: kept.name,
            until: until.min(self.now + self.hours.cast_signed() * HOUR),
        });
    }

    /// Every bundle that somebody may hold now: the newest, and all that were the newest within the time a slow proxy takes.
    fn held(&self) -> impl Iterator<Item = &Vec<usize>> {
        let ends = self
            .published
            .iter()
            .skip(1)
            .map(|(from, _)| *from)
            .chain([i64::MAX]);
        let since = self.now - SLOWEST;
        self.published
            .iter()
            .zip(ends)
            .filter(move |(_, replaced)| *replaced > since)
            .map(|((_, bundle), _)| bundle)
    }

    fn check(&mut self) {
        let now = self.now;
        self.leaves.retain(|leaf| leaf.until >= now);
        for bundle in self.held() {
            for leaf in &self.leaves {
                assert!(
                    bundle.contains(&leaf.issuer),
                    "at {now}: a leaf of {} (until {}) does not verify under {bundle:?}; published {:?}",
                    leaf.issuer,
                    leaf.until,
                    self.published
                );
            }
        }
    }

    fn pass(&mut self, seconds: i64, running: bool) {
        const STEP: i64 = HOUR;
        let end = self.now + seconds;
        while self.now < end {
            self.now = (self.now + STEP).min(end);
            if running {
                self.turn();
                // Somebody always connects or renews.
                self.issue();
            }
            self.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_valid_leaf_verifies_under_every_bundle_that_may_be_held(
        start in proptest::option::of(40..90i64),
        events in prop::collection::vec(event(), 200..400),
    ) {
        let mut world = World { hours: 1, given_life: start, ..World::default() };
        if let Some(days) = start {
            world.give(days);
        }
        world.turn();
        for event in events {
            match event {
                Event::Pass(seconds) => world.pass(seconds, true),
                Event::Away(seconds) => {
                    world.pass(seconds, false);
                    world.turn();
                    world.check();
                }
                Event::Configure(hours) => world.hours = hours,
                Event::Source(days) => {
                    world.given_life = days;
                    match days {
                        Some(days) => world.give(days),
                        None => world.given = None,
                    }
                    world.turn();
                    world.check();
                }
                Event::Issue => {
                    world.issue();
                    world.check();
                }
            }
        }
    }
}
