//! What data workers count. In: increments by one worker each, so no two cores ever write the same line. Out:
//! [`Totals`], summed over workers when somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use switchyard_snapshot::ChainId;

use crate::dialect;
use crate::session::end::{ConnectError, End, Refusal};

/// Upper bounds of the buckets of connect times, in microseconds; one more bucket holds what took longer.
pub const CONNECT_BUCKETS_US: [u64; 12] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 3_000_000, 10_000_000,
];

/// Kinds of TLS handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// TLS 1.3; otherwise 1.2.
    pub is_1_3: bool,
    /// A session of before went on.
    pub resumed: bool,
}

impl Handshake {
    /// All of them, in the order of [`Handshake::index`].
    pub const ALL: [Self; 4] = [
        Self::new(false, false),
        Self::new(false, true),
        Self::new(true, false),
        Self::new(true, true),
    ];

    const fn new(is_1_3: bool, resumed: bool) -> Self {
        Self { is_1_3, resumed }
    }

    /// Position in [`Handshake::ALL`].
    pub fn index(self) -> usize {
        2 * usize::from(self.is_1_3) + usize::from(self.resumed)
    }

    /// The word for metrics.
    pub fn version(self) -> &'static str {
        if self.is_1_3 { "1.3" } else { "1.2" }
    }

    /// The word for metrics.
    pub fn kind(self) -> &'static str {
        if self.resumed { "resumed" } else { "full" }
    }
}

/// A counter with one writer: adding is a load and a store, not a locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, by: u64) {
        self.0.store(self.get().wrapping_add(by), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One worker's counts of one listener.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ListenerCounts {
    pub(crate) accepted: Count,
    pub(crate) ended: Count,
    pub(crate) limited: Count,
    pub(crate) accept_errors: Count,
    pub(crate) refused: [Count; Refusal::ALL.len()],
    pub(crate) tls_opened: [Count; Handshake::ALL.len()],
    pub(crate) tls_failed: Count,
}

/// One worker's counts of one chain.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ChainCounts {
    pub(crate) sessions: Count,
    pub(crate) ended: [Count; End::ALL.len()],
    pub(crate) refused: [Count; Refusal::ALL.len()],
    pub(crate) bytes_up: Count,
    pub(crate) bytes_down: Count,
    pub(crate) retries: Count,
    pub(crate) connect_errors: [Count; ConnectError::ALL.len()],
    pub(crate) connect_buckets: [Count; CONNECT_BUCKETS_US.len() + 1],
    pub(crate) connect_us: Count,
    /// Sessions that go to another proxy.
    pub(crate) relayed: Count,
    /// Clients that were told where to go, in the order of [`dialect::ALL`].
    pub(crate) redirected: [Count; dialect::ALL.len()],
    /// Guests that came, and those that left.
    pub(crate) guests: Count,
    pub(crate) guests_left: Count,
    /// HTTP requests by the first digit of their status.
    pub(crate) requests: [Count; 5],
    pub(crate) answer_buckets: [Count; CONNECT_BUCKETS_US.len() + 1],
    pub(crate) answer_us: Count,
}

impl ChainCounts {
    pub(crate) fn connected(&self, took: Duration) {
        let us = took.as_micros().min(u128::from(u64::MAX)) as u64;
        let bucket = CONNECT_BUCKETS_US.partition_point(|bound| *bound < us);
        self.connect_buckets[bucket].add(1);
        self.connect_us.add(us);
    }

    /// Sessions open now. Read in this order it never comes out negative: an end is counted after its beginning.
    fn active(&self) -> u64 {
        let ended: u64 = self.ended.iter().map(Count::get).sum();
        self.sessions.get().saturating_sub(ended)
    }

    fn guests_here(&self) -> u64 {
        let left = self.guests_left.get();
        self.guests.get().saturating_sub(left)
    }

    /// A response began so long after its request.
    pub(crate) fn answered(&self, after: Duration) {
        let us = after.as_micros().min(u128::from(u64::MAX)) as u64;
        let bucket = CONNECT_BUCKETS_US.partition_point(|bound| *bound < us);
        self.answer_buckets[bucket].add(1);
        self.answer_us.add(us);
    }
}

/// The counts of every worker, kept where anybody can sum them. Locked when a listener or chain appears, never on the
/// way of a connection.
#[derive(Debug, Default)]
pub(crate) struct Book {
    listeners: Vec<(String, Arc<ListenerCounts>)>,
    chains: Vec<(ChainId, Arc<ChainCounts>)>,
}

impl Book {
    /// New counts for one worker's part of a listener.
    pub(crate) fn listener(&mut self, name: &str) -> Arc<ListenerCounts> {
        let counts = Arc::<ListenerCounts>::default();
        self.listeners.push((name.to_owned(), Arc::clone(&counts)));
        counts
    }

    /// New counts for one worker's part of a chain.
    pub(crate) fn chain(&mut self, id: &ChainId) -> Arc<ChainCounts> {
        let counts = Arc::<ChainCounts>::default();
        self.chains.push((id.clone(), Arc::clone(&counts)));
        counts
    }

    /// Forgets what no worker holds any more: its listener or chain is gone and its last session has ended.
    pub(crate) fn tidy(&mut self) {
        self.listeners.retain(|(_, counts)| Arc::strong_count(counts) > 1);
        self.chains.retain(|(_, counts)| Arc::strong_count(counts) > 1);
    }

    /// The sums.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (name, counts) in &self.listeners {
            totals.listeners.entry(name.clone()).or_default().add(counts);
        }
        for (id, counts) in &self.chains {
            totals.chains.entry(id.clone()).or_default().add(counts);
        }
        totals
    }

    /// Of [`Book::totals`] what is asked for many times a second.
    pub(crate) fn occupancy(&self) -> Occupancy {
        let mut now = Occupancy::default();
        for (_, counts) in &self.chains {
            now.sessions += counts.active();
            now.guests += counts.guests_here();
        }
        now
    }
}

/// Who is connected now, over all chains and workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Sessions, those of guests among them.
    pub sessions: u64,
    /// Connections that another chain's proxy sent.
    pub guests: u64,
}

/// Sums over all workers since the listener or chain appeared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By name.
    pub listeners: BTreeMap<String, ListenerTotals>,
    /// By identity.
    pub chains: BTreeMap<ChainId, ChainTotals>,
    /// Access log lines that were lost because the writer could not keep up.
    pub log_lines_dropped: u64,
}

/// What happened at a listener. Load balancers' probes (`monitorSources`) are in none of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerTotals {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that are here now, being set up or relayed.
    pub active: u64,
    /// How often a worker stopped accepting because `maxConnections`, or the process's descriptors, were used up.
    pub limited: u64,
    /// Accepts that failed (out of descriptors, mostly).
    pub accept_errors: u64,
    /// Connections that were not served, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// TLS handshakes that succeeded, in the order of [`Handshake::ALL`].
    pub tls_opened: [u64; Handshake::ALL.len()],
    /// TLS handshakes that failed, or took too long.
    pub tls_failed: u64,
}

/// What happened to connections of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainTotals {
    /// Sessions established.
    pub sessions: u64,
    /// Sessions open now.
    pub active: u64,
    /// Sessions that ended, in the order of [`End::ALL`].
    pub ended: [u64; End::ALL.len()],
    /// Connections that were not served, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Bytes from clients to backends.
    pub bytes_up: u64,
    /// Bytes from backends to clients.
    pub bytes_down: u64,
    /// Attempts to connect after a connection's first one.
    pub retries: u64,
    /// Attempts to connect that failed, in the order of [`ConnectError::ALL`].
    pub connect_errors: [u64; ConnectError::ALL.len()],
    /// Successful attempts by duration, not cumulative; bounds are [`CONNECT_BUCKETS_US`].
    pub connect_buckets: [u64; CONNECT_BUCKETS_US.len() + 1],
    /// Sum of the durations of successful attempts, in microseconds.
    pub connect_us: u64,
    /// Sessions and requests that went to another proxy, which serves them.
    pub relayed: u64,
    /// Clients that were told in their own protocol where to go, in the order of [`dialect::ALL`].
    pub redirected: [u64; dialect::ALL.len()],
    /// Guests that are here now: connections that another chain's proxy sent.
    pub guests: u64,
    /// Guests that ever came.
    pub guests_arrived: u64,
    /// HTTP requests by the first digit of their status, from 1xx to 5xx.
    pub requests: [u64; 5],
    /// Responses by the time from request to response; buckets as those of attempts.
    pub answer_buckets: [u64; CONNECT_BUCKETS_US.len() + 1],
    /// Sum of these times, in microseconds.
    pub answer_us: u64,
}

impl ListenerTotals {
    fn add(&mut self, counts: &ListenerCounts) {
        // Read in this order, what is active never comes out negative: an end is counted after its beginning.
        let ended = counts.ended.get();
        let accepted = counts.accepted.get();
        self.accepted += accepted;
        self.active += accepted.saturating_sub(ended);
        self.limited += counts.limited.get();
        self.accept_errors += counts.accept_errors.get();
        sum(&mut self.refused, &counts.refused);
        sum(&mut self.tls_opened, &counts.tls_opened);
        self.tls_failed += counts.tls_failed.get();
    }
}

impl ChainTotals {
    fn add(&mut self, counts: &ChainCounts) {
        self.active += counts.active();
        sum(&mut self.ended, &counts.ended);
        self.sessions += counts.sessions.get();
        self.relayed += counts.relayed.get();
        sum(&mut self.redirected, &counts.redirected);
        self.guests += counts.guests_here();
        self.guests_arrived += counts.guests.get();
        sum(&mut self.refused, &counts.refused);
        self.bytes_up += counts.bytes_up.get();
        self.bytes_down += counts.bytes_down.get();
        self.retries += counts.retries.get();
        sum(&mut self.connect_errors, &counts.connect_errors);
        sum(&mut self.connect_buckets, &counts.connect_buckets);
        self.connect_us += counts.connect_us.get();
        sum(&mut self.requests, &counts.requests);
        sum(&mut self.answer_buckets, &counts.answer_buckets);
        self.answer_us += counts.answer_us.get();
    }
}

fn sum<const N: usize>(totals: &mut [u64; N], counts: &[Count; N]) {
    for (total, count) in totals.iter_mut().zip(counts) {
        *total += count.get();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_what_several_workers_counted() {
        let mut book = Book::default();
        let id = ChainId {
            namespace: "n".into(),
            name: "c".into(),
        };
        let (one, two) = (book.chain(&id), book.chain(&id));
        one.sessions.add(3);
        one.ended[End::Idle.index()].add(1);
        two.sessions.add(2);
        two.connected(Duration::from_micros(250));
        two.connected(Duration::from_mins(1));
        let totals = &book.totals().chains[&id];
        assert_eq!((totals.sessions, totals.active), (5, 4));
        one.guests.add(2);
        two.guests_left.add(1);
        let now = Occupancy {
            sessions: 4,
            guests: 2,
        };
        assert_eq!(
            book.occupancy(),
            now,
            "a worker that read late has not fewer than none"
        );
        assert_eq!(totals.connect_buckets[1], 1, "a bound belongs to its bucket");
        assert_eq!(totals.connect_buckets[CONNECT_BUCKETS_US.len()], 1);
    }

    #[test]
    fn forgets_a_chain_when_its_last_holder_is_gone() {
        let mut book = Book::default();
        let id = ChainId {
            namespace: "n".into(),
            name: "c".into(),
        };
        let counts = book.chain(&id);
        book.tidy();
        assert_eq!(book.totals().chains.len(), 1);
        drop(counts);
        book.tidy();
        assert!(book.totals().chains.is_empty());
    }
}
