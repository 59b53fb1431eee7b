//! Clients that were redirected in their own protocol a moment ago. In: who was, and when. Out: whether one is back instead
//! of having followed; such a client is relayed.
//!
//! One per process, of a fixed size: a few words are read and one is written, nobody waits for anybody. What is forgotten
//! because others took its place, or because two clients share a tag, costs one client one redirect more or one less.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use switchyard_snapshot::ChainId;

/// A client that comes again within this time has not followed.
pub const REMEMBERED: Duration = Duration::from_mins(1);

/// Clients that are remembered at most.
const PLACES: usize = 65_536;
/// Places that one client may take.
const WAYS: usize = 8;
/// The unit in which moments are kept.
const TICK: Duration = Duration::from_millis(1);
const TICKS: u64 = (REMEMBERED.as_millis() / TICK.as_millis()) as u64;
/// Bits of a moment; a process would have to live for 4 years to use them up.
const MOMENT_BITS: u32 = 37;

/// Who was redirected.
#[derive(Debug)]
pub struct Followers {
    /// Each holds a moment, counted from 1 on, below a tag of the client; 0: nobody.
    places: Box<[AtomicU64]>,
    hash: RandomState,
    epoch: Instant,
}

impl Default for Followers {
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

impl Followers {
    /// Nobody has been redirected before `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            hash: RandomState::new(),
            epoch: now,
        }
    }

    /// A client of `chain` is redirected natively.
    pub fn note(&self, chain: &ChainId, client: IpAddr, now: Instant) {
        let (tag, places) = self.find(chain, client);
        let moment = self.moment(now);
        let oldest = places.iter().min_by_key(|place| {
            let value = place.load(Ordering::Relaxed);
            // Its own place first, then whoever was noted longest ago.
            (value >> MOMENT_BITS != tag || value == 0, moment_of(value))
        });
        if let Some(place) = oldest {
            place.store(tag << MOMENT_BITS | moment, Ordering::Relaxed);
        }
    }

    /// Whether a client of `chain` was redirected before `now`, less than [`REMEMBERED`] ago. For a connection ask by the
    /// moment it came: of several that one client has, each may be redirected.
    pub fn is_back(&self, chain: &ChainId, client: IpAddr, now: Instant) -> bool {
        let (tag, places) = self.find(chain, client);
        let now = self.moment(now);
        places.iter().any(|place| {
            let value = place.load(Ordering::Relaxed);
            let moment = moment_of(value);
            value != 0 && value >> MOMENT_BITS == tag && (moment..moment + TICKS).contains(&now)
        })
    }

    /// A client's tag, and its places.
    fn find(&self, chain: &ChainId, client: IpAddr) -> (u64, &[AtomicU64]) {
        let hash = self.hash.hash_one((chain, client));
        let group = hash as usize % (PLACES / WAYS) * WAYS;
        let places = self.places.get(group..group + WAYS).unwrap_or_default();
        (hash >> MOMENT_BITS, places)
    }

    fn moment(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch).as_millis() / TICK.as_millis();
        (since as u64 + 1) & ((1 << MOMENT_BITS) - 1)
    }
}

fn moment_of(value: u64) -> u64 {
    value & ((1 << MOMENT_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(name: &str) -> ChainId {
        ChainId {
            namespace: "test".into(),
            name: name.into(),
        }
    }

    fn client(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn knows_who_is_back_for_a_minute() {
        let begun = Instant::now();
        let followers = Followers::new(begun);
        let (one, other) = (chain("one"), chain("other"));
        assert!(!followers.is_back(&one, client(1), begun));
        let at = begun + Duration::from_secs(7);
        followers.note(&one, client(1), at);
        assert!(followers.is_back(&one, client(1), at));
        assert!(followers.is_back(&one, client(1), at + Duration::from_millis(59_999)));
        assert!(!followers.is_back(&one, client(1), at + REMEMBERED));
        assert!(
            !followers.is_back(&one, client(1), begun + Duration::from_secs(6)),
            "not yet redirected then"
        );
        assert!(!followers.is_back(&other, client(1), at), "of another chain");
        assert!(!followers.is_back(&one, client(2), at), "another client");
    }

    #[test]
    fn remembers_the_newest_of_a_flood() {
        let begun = Instant::now();
        let followers = Followers::new(begun);
        let one = chain("one");
        let at = |n: u32| begun + Duration::from_micros(100) * n;
        let many = 1_000_000;
        for n in 0..many {
            followers.note(&one, client(n), at(n));
        }
        let newest = (many - 10_000..many).filter(|n| followers.is_back(&one, client(*n), at(many)));
        assert!(newest.count() > 9_900);
        let mut strangers = 2 * many..3 * many;
        let taken_for_others = strangers
            .by_ref()
            .filter(|n| followers.is_back(&one, client(*n), at(many)));
        // A tag has 27 bits: of a million strangers, with 8 places each, one in seventeen runs meets one.
        assert!(taken_for_others.count() <= 5);
    }

    proptest! {
        #[test]
        fn whoever_was_noted_last_is_back_until_a_minute_later(
            notes in prop::collection::vec((0..20u32, 0..30_000u64), 1..100),
            later in 0..120_000u64,
        ) {
            let begun = Instant::now();
            let followers = Followers::new(begun);
            let one = chain("one");
            let mut now = begun;
            let mut last = std::collections::HashMap::new();
            for (who, after) in notes {
                now += Duration::from_millis(after);
                followers.note(&one, client(who), now);
                last.insert(who, now);
            }
            let now = now + Duration::from_millis(later);
            for who in 0..20 {
                let expected = last.get(&who).is_some_and(|at| now < *at + REMEMBERED);
                prop_assert_eq!(followers.is_back(&one, client(who), now), expected);
            }
        }
    }
}
