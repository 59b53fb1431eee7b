//! Which relay headers have been here. In: nonces of headers whose signature holds. Out: whether one is new.
//!
//! Shared by all workers, and touched by relayed connections only. Nonces are kept by the minute of their header's time, for
//! exactly as long as such a header would be taken, so that no replay outlives the memory of it, whatever the clocks of two
//! proxies differ by.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::{Fault, NONCE, TOLERANCE_MS};

/// Nonces spread evenly, so two workers seldom want the same one.
const SHARDS: usize = 16;
/// Headers are taken from up to a minute ago to a minute ahead: of three minutes by the clock at the most.
const MINUTES: usize = 3;
/// Nonces of one minute in one shard; half a million in all.
const BOUND: usize = 32_768;

/// The nonces of this process.
#[derive(Debug, Default)]
pub struct Seen {
    shards: [Mutex<[Minute; MINUTES]>; SHARDS],
    /// Unix time in milliseconds; 0: not known.
    since: u64,
}

#[derive(Debug, Default)]
struct Minute {
    /// Since 1970.
    number: u64,
    nonces: HashSet<[u8; NONCE]>,
}

impl Seen {
    /// A process that begins `now`, in milliseconds of Unix time: what was sent before was not sent to it, but may be sent
    /// again by somebody else.
    pub fn new(now: u64) -> Self {
        Self {
            since: now,
            ..Self::default()
        }
    }

    /// Takes note of a header that was sent at `time`, which is near `now`.
    ///
    /// # Errors
    /// It has been here before, or there is no telling.
    pub fn first(&self, nonce: [u8; NONCE], time: u64, now: u64) -> Result<(), Fault> {
        // A clock that was set back since we began says nothing.
        if time < self.since && self.since <= now {
            return Err(Fault::Stale(now - time, "ago, before this proxy began"));
        }
        let number = time / TOLERANCE_MS;
        let [first, ..] = nonce;
        let shard = &self.shards[usize::from(first) % SHARDS];
        let mut minutes = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = &mut minutes[number as usize % MINUTES];
        if minute.number != number {
            *minute = Minute {
                number,
                nonces: HashSet::new(),
            };
        }
        if minute.nonces.contains(&nonce) {
            return Err(Fault::Replayed);
        }
        if minute.nonces.len() >= BOUND {
            return Err(Fault::TooMany);
        }
        minute.nonces.insert(nonce);
        Ok(())
    }
}
