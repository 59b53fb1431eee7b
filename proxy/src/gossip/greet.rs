//! Getting to know each other. In: addresses where somebody may be, the time. Out: whom to greet when; proofs that who answers
//! runs now and is there; a bound on how many greetings are answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ring::hmac;

use super::peer::ECHO_WITHIN;
use super::seal::Boot;
use super::wire::{Cookie, Tag};

/// Addresses that may wait to be greeted, beside seeds.
const MAX_CANDIDATES: usize = 512;
/// First pause between two greetings; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Up to this,
const PAUSE: Duration = Duration::from_millis(500);
/// and to this after [`MANY_TRIES`].
const LONG_PAUSE: Duration = Duration::from_secs(5);
const MANY_TRIES: u32 = 600;
/// An address that somebody told is tried for so long. It is told again for as long as somebody is there.
const HEARD_FOR: Duration = Duration::from_mins(1);
/// An address where somebody was is tried for so long.
const LOST_FOR: Duration = Duration::from_hours(1);
/// What was found to be ourselves is tried again after this: the address may be somebody else's by then.
const ITSELF_PAUSE: Duration = Duration::from_mins(1);

/// Greetings that are answered without delay.
const BURST: u32 = 512;
/// Greetings that are answered in a second.
const RATE: u32 = 256;

/// A proof is worth something for this long: who gives it was alive after it was asked for.
const PROOF_LASTS: Duration = ECHO_WITHIN;

/// Former runs that are remembered.
const MAX_FORMER: usize = 1_024;

/// Where somebody may be.
#[derive(Debug)]
struct Candidate {
    tag: Option<Tag>,
    seed: bool,
    tries: u32,
    next: Instant,
    /// None: for as long as it is a seed.
    until: Option<Instant>,
}

/// Addresses to greet.
#[derive(Debug, Default)]
pub(crate) struct Candidates(BTreeMap<SocketAddr, Candidate>);

/// A greeting that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) at: SocketAddr,
    /// How many went there before.
    pub(crate) tries: u32,
}

impl Candidates {
    /// These seeds and no others; addresses that were found otherwise stay.
    pub(crate) fn set_seeds(&mut self, seeds: &[SocketAddr], now: Instant) {
        self.0.retain(|at, known| !known.seed || seeds.contains(at));
        for &at in seeds {
            let known = self.0.entry(at).or_insert(Candidate {
                tag: None,
                seed: true,
                tries: 0,
                next: now,
                until: None,
            });
            (known.seed, known.until) = (true, None);
        }
    }

    /// Somebody said that this one is there.
    pub(crate) fn hear(&mut self, at: SocketAddr, tag: Tag, now: Instant) {
        self.add(at, Some(tag), now, now + HEARD_FOR);
    }

    /// Somebody was there.
    pub(crate) fn lose(&mut self, at: SocketAddr, tag: Tag, now: Instant) {
        self.add(at, Some(tag), now, now + LOST_FOR);
    }

    fn add(&mut self, at: SocketAddr, tag: Option<Tag>, next: Instant, until: Instant) {
        if self.0.len() < MAX_CANDIDATES {
            let known = self.0.entry(at).or_insert(Candidate {
                tag,
                seed: false,
                tries: 0,
                next,
                until: Some(until),
            });
            // a seed, so far nobody
            known.tag = known.tag.or(tag);
        }
    }

    /// That is us.
    pub(crate) fn is_itself(&mut self, at: SocketAddr, now: Instant) {
        if let Some(known) = self.0.get_mut(&at) {
            known.next = now + ITSELF_PAUSE;
        }
    }

    /// When the next greeting is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.values().map(|known| known.next).min()
    }

    /// Those whom nobody found where they should be, though they were greeted twice.
    pub(crate) fn unreached(&self) -> impl Iterator<Item = Tag> {
        let tried = self.0.values().filter(|known| known.tries > 2);
        tried.filter_map(|known| known.tag)
    }

    /// Greetings that are due; `reached` are the addresses of those who live.
    pub(crate) fn due(
        &mut self,
        reached: impl Fn(SocketAddr) -> bool,
        now: Instant,
        rng: &mut Rng,
    ) -> Vec<Due> {
        let mut due = Vec::new();
        self.0.retain(|&at, known| {
            if known.next > now {
                return true;
            }
            if reached(at) {
                known.tries = 0;
                known.next = now + PAUSE;
                return known.seed;
            }
            if known.until.is_some_and(|until| until <= now) {
                return false;
            }
            due.push(Due {
                at,
                tries: known.tries,
            });
            known.next = now + pause(known.tries).mul_f64(0.75 + 0.5 * rng.f64());
            known.tries = known.tries.saturating_add(1);
            true
        });
        due
    }
}

fn pause(tries: u32) -> Duration {
    let longest = if tries < MANY_TRIES { PAUSE } else { LONG_PAUSE };
    FIRST_PAUSE.saturating_mul(1 << tries.min(10)).min(longest)
}

/// Makes proofs, and knows its own. Nothing is kept of whom they were given to.
#[derive(Debug)]
pub(crate) struct Prover {
    secret: hmac::Key,
    begun: Instant,
}

impl Prover {
    pub(crate) fn new(secret: &[u8], begun: Instant) -> Self {
        Self {
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
            begun,
        }
    }

    /// What whoever is at this address has to repeat.
    pub(crate) fn cookie(&self, whose: SocketAddr, now: Instant) -> Cookie {
        let at = now.saturating_duration_since(self.begun).as_millis() as u64;
        Cookie {
            at,
            seal: self.seal(whose, at),
        }
    }

    /// Whether that was given to this address just now.
    pub(crate) fn proves(&self, cookie: Cookie, whose: SocketAddr, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.begun).as_millis() as u64;
        let age = now.checked_sub(cookie.at);
        let lasts = PROOF_LASTS.as_millis() as u64;
        age.is_some_and(|age| age <= lasts) && self.seal(whose, cookie.at) == cookie.seal
    }

    fn seal(&self, whose: SocketAddr, at: u64) -> [u8; 16] {
        let text = format!("{whose} {at}");
        let tag = hmac::sign(&self.secret, text.as_bytes());
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

/// So many at once, so many in a second.
#[derive(Debug)]
pub(crate) struct Limit {
    left: u32,
    filled: Instant,
}

impl Limit {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled: now,
        }
    }

    /// Whether there is one more.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled);
        let more = (passed.as_secs_f64() * f64::from(RATE)) as u32;
        if more > 0 {
            self.left = self.left.saturating_add(more).min(BURST);
            self.filled = now;
        }
        let some = self.left > 0;
        self.left -= u32::from(some);
        some
    }
}

/// Runs that are over: nothing that they sealed is ever taken again.
#[derive(Debug, Default)]
pub(crate) struct Former {
    order: VecDeque<Boot>,
    known: BTreeSet<Boot>,
}

impl Former {
    pub(crate) fn add(&mut self, boot: Boot) {
        if self.known.insert(boot) {
            self.order.push_back(boot);
        }
        if self.order.len() > MAX_FORMER
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(crate) fn has(&self, boot: Boot) -> bool {
        self.known.contains(&boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn a_proof_is_of_one_address_one_process_and_some_seconds() {
        let now = Instant::now();
        let prover = Prover::new(b"secret", now);
        let cookie = prover.cookie(at(1), now);
        assert!(prover.proves(cookie, at(1), now + PROOF_LASTS));
        assert!(!prover.proves(cookie, at(1), now + PROOF_LASTS + Duration::from_millis(1)));
        assert!(!prover.proves(cookie, at(2), now));
        assert!(!Prover::new(b"other", now).proves(cookie, at(1), now));
    }

    #[test]
    fn greetings_are_answered_so_many_at_a_time() {
        let now = Instant::now();
        let mut limit = Limit::new(now);
        let answered = (0..10_000).filter(|_| limit.take(now)).count();
        assert_eq!(answered, BURST as usize);
        let answered = (0..10_000)
            .filter(|_| limit.take(now + Duration::from_millis(500)))
            .count();
        assert_eq!(answered, RATE as usize / 2);
    }

    #[test]
    fn seeds_are_asked_again_for_ever_and_others_for_a_while() {
        let begun = Instant::now();
        let mut rng = Rng::with_seed(1);
        let mut candidates = Candidates::default();
        candidates.set_seeds(&[at(1)], begun);
        candidates.hear(at(2), Tag(2), begun);
        let mut asked = BTreeMap::<SocketAddr, Vec<u128>>::new();
        let mut now = begun;
        while now < begun + Duration::from_mins(10) {
            for due in candidates.due(|_| false, now, &mut rng) {
                asked
                    .entry(due.at)
                    .or_default()
                    .push(now.duration_since(begun).as_millis());
            }
            now = candidates.next().unwrap().max(now + Duration::from_millis(1));
        }
        let seed = &asked[&at(1)];
        assert!(seed.len() > 500 && seed.len() < 750, "{}", seed.len());
        let pauses: Vec<_> = seed.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses[..500].iter().all(|pause| *pause <= 625), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 6_250), "{pauses:?}");
        assert!(seed[3] < 1_000, "at first soon again: {seed:?}");
        let last = asked[&at(2)].last().unwrap();
        assert!(*last <= HEARD_FOR.as_millis(), "{last:?}");
    }

    #[test]
    fn who_is_reached_is_not_greeted() {
        let now = Instant::now();
        let mut rng = Rng::with_seed(1);
        let mut candidates = Candidates::default();
        candidates.set_seeds(&[at(1)], now);
        candidates.hear(at(2), Tag(2), now);
        assert_eq!(candidates.due(|_| true, now, &mut rng), []);
        let later = now + Duration::from_secs(2);
        let due = candidates.due(|_| false, later, &mut rng);
        assert_eq!(
            due,
            [Due { at: at(1), tries: 0 }],
            "a seed is a seed again once it is lost"
        );
        candidates.set_seeds(&[], later);
        assert_eq!(candidates.next(), None);
    }

    #[test]
    fn addresses_and_former_runs_are_bounded() {
        let now = Instant::now();
        let mut candidates = Candidates::default();
        for port in 0..u16::MAX {
            candidates.hear(at(port), Tag(u64::from(port)), now);
        }
        assert_eq!(candidates.0.len(), MAX_CANDIDATES);
        let mut former = Former::default();
        let boot = |n: u32| {
            let mut boot = Boot::default();
            boot.0[..4].copy_from_slice(&n.to_be_bytes());
            boot
        };
        for n in 0..5_000 {
            former.add(boot(n));
            former.add(boot(n));
            assert!(former.has(boot(n)));
        }
        assert_eq!((former.order.len(), former.known.len()), (MAX_FORMER, MAX_FORMER));
    }
}
