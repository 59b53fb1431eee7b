//! What went over the wire. In: every datagram. Out: counts with a bounded number of labels, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a datagram was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Longer than any of ours.
    TooLong,
    /// Too short, of another version, or its plaintext cannot be read.
    Malformed,
    /// Sealed with a key that is not held here.
    NoKey,
    /// Nobody with the key sealed it so.
    Forged,
    /// It came before, or is much older than what came before.
    Replayed,
    /// It was sealed for somebody else, or for a former run of this process.
    WrongRecipient,
    /// No session with the run of the process that sealed it.
    Stranger,
    /// Whoever sent it had not heard of us for too long: it may have been held back on the way.
    Stale,
    /// A former run of a process that has been seen running anew, or that left.
    Former,
    /// A greeting that proves nothing: what it repeats was not said by us lately.
    Unproven,
    /// Ours; or of another process that goes by our name.
    Itself,
    /// As many peers as can be held are held.
    Full,
    /// Too many greetings at a time.
    Limited,
}

impl Refused {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 13] = [
        Self::TooLong,
        Self::Malformed,
        Self::NoKey,
        Self::Forged,
        Self::Replayed,
        Self::WrongRecipient,
        Self::Stranger,
        Self::Stale,
        Self::Former,
        Self::Unproven,
        Self::Itself,
        Self::Full,
        Self::Limited,
    ];

    /// The word for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::NoKey => "no_key",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::WrongRecipient => "wrong_recipient",
            Self::Stranger => "stranger",
            Self::Stale => "stale",
            Self::Former => "former",
            Self::Unproven => "unproven",
            Self::Itself => "itself",
            Self::Full => "full",
            Self::Limited => "limited",
        }
    }
}

/// Datagrams and bytes, as UDP payload.
#[derive(Debug, Default)]
pub struct GossipCounters {
    /// Datagrams that came, refused ones included.
    pub datagrams_in: AtomicU64,
    /// Datagrams that were handed to the system.
    pub datagrams_out: AtomicU64,
    /// Their bytes.
    pub bytes_in: AtomicU64,
    /// Their bytes.
    pub bytes_out: AtomicU64,
    /// Datagrams that the system did not take: no route, no buffer.
    pub unsent: AtomicU64,
    /// In the order of [`Refused::ALL`].
    refused: [AtomicU64; Refused::ALL.len()],
}

impl GossipCounters {
    /// How many were refused for this reason.
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused[why as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn refuse(&self, why: Refused) {
        add(&self.refused[why as usize], 1);
    }

    pub(crate) fn received(&self, bytes: usize) {
        add(&self.datagrams_in, 1);
        add(&self.bytes_in, bytes as u64);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        add(&self.datagrams_out, 1);
        add(&self.bytes_out, bytes as u64);
    }

    pub(crate) fn unsent(&self) {
        add(&self.unsent, 1);
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let counters = GossipCounters::default();
        for (index, why) in Refused::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, index, "{}", why.word());
            counters.refuse(why);
            assert_eq!(counters.refused(why), 1);
        }
    }
}
