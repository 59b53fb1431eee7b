//! One address of one backend, for as long as anybody here knows it.
//!
//! In: what data workers see (connections opened and released, attempts that failed). Out: live counts that the
//! balances and the chain's state read. Everything is atomic: no worker waits for another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Never used twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

impl EndpointId {
    /// A new one.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Identity and live counts of an endpoint; what the configuration says of it stands in the view's candidate.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in the process.
    pub id: EndpointId,
    /// Name of its backend within the chain.
    pub backend: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    connections: AtomicU32,
    failures_in_a_row: AtomicU32,
}

impl Endpoint {
    /// An endpoint nobody is connected to.
    pub fn new(backend: Arc<str>, address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            id: EndpointId::next(),
            backend,
            address,
            connections: AtomicU32::new(0),
            failures_in_a_row: AtomicU32::new(0),
        })
    }

    /// Connections of this proxy to it, attempts included.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Takes a place; refused when `limit` places are taken.
    pub fn reserve(self: &Arc<Self>, limit: Option<u32>) -> Option<Place> {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        if limit.is_some_and(|limit| before >= limit) {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(Arc::clone(self)))
    }

    /// A live attempt failed; how many did in a row.
    pub fn note_failure(&self) -> u32 {
        self.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A live attempt succeeded. Costs one read while all goes well.
    pub fn note_success(&self) {
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
    }
}

/// One connection's place at an endpoint; dropping it gives the place back.
#[derive(Debug)]
pub struct Place(Arc<Endpoint>);

impl Place {
    /// Where the place is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let endpoint = Endpoint::new("primary".into(), "127.0.0.1:1".parse().unwrap());
        let first = endpoint.reserve(Some(1)).unwrap();
        assert!(endpoint.reserve(Some(1)).is_none());
        assert_eq!(endpoint.connections(), 1);
        drop(first);
        assert_eq!(endpoint.connections(), 0);
        assert!(endpoint.reserve(Some(1)).is_some());
    }
}
