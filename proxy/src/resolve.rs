//! Names to addresses. In: the names that chains want. Out: a [`Lookup`] per name and record type each time the
//! resolver answers or fails; what that means for endpoints is the chain's business.

mod counters;
mod question;
mod registry;
mod schedule;
mod search;
mod system;
mod upstream;

pub use counters::{Counters, QueryResult};
pub use registry::{Freshness, Resolver, Subscription};
pub use system::SystemFiles;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// One question that is asked again and again, by one task, however many chains want the answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// As the user wrote it, in lower case.
    pub name: String,
    /// Which records.
    pub kind: RecordKind,
    /// Whom to ask; none: the system's resolvers.
    pub nameservers: Vec<SocketAddr>,
}

/// The record types endpoints come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// RFC 2782.
    Srv,
}

/// How a subscriber reads TTLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clamp {
    /// A shorter TTL counts as this; failures are not retried sooner.
    pub min_ttl: Duration,
    /// A longer TTL counts as this.
    pub max_ttl: Duration,
}

impl Clamp {
    /// The TTL that counts.
    pub fn apply(self, ttl: Duration) -> Duration {
        ttl.min(self.max_ttl).max(self.min_ttl)
    }
}

/// What is known of a question right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The last good answer, however old.
    pub answer: Option<Answer>,
    /// What went wrong since; none: the newest attempt succeeded.
    pub failure: Option<Failure>,
}

/// A good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Sorted, without repeats, never empty.
    pub records: Vec<Record>,
    /// The smallest TTL of the whole CNAME chain, as the server gave it.
    pub ttl: Duration,
    /// When it came.
    pub at: Instant,
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// A or AAAA.
    Address(IpAddr),
    /// RFC 2782.
    Srv {
        /// Lower goes first.
        priority: u16,
        /// Share among equals; 0 counts as the smallest share there is.
        weight: u16,
        /// Where the target listens.
        port: u16,
        /// A name; its addresses are a question of their own.
        target: String,
    },
}

/// Why there is no newer answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What sort of failure the newest one is.
    pub kind: FailureKind,
    /// In words, with the server's part in it.
    pub text: String,
    /// When the run of failures began.
    pub since: Instant,
    /// Failures of this kind in a row, this one included.
    pub in_a_row: u32,
}

/// What sort of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The name does not exist (RFC 2308 §2.1).
    NxDomain,
    /// The name exists, without such records (RFC 2308 §2.2).
    Empty,
    /// SERVFAIL, REFUSED and other answers that say nothing about the name.
    Server,
    /// Nobody answered in time, or could be reached.
    Unreachable,
}

#[cfg(test)]
mod tests;
