//! What data workers know of a chain: an immutable value, swapped whole.

use std::sync::Arc;
use std::time::Instant;

use switchyard_snapshot::{Backend, Chain, HttpVersion, SendProxy};

use crate::endpoint::Endpoint;

/// The bit of a rank that says that no probe has passed yet: behind all that are proven.
pub const UNPROVEN: u32 = 1 << 31;

/// Who serves a chain's next connection.
#[derive(Clone, Debug)]
pub struct View {
    /// The configuration this view was made from.
    pub chain: Arc<Chain>,
    /// Grows with every view of this chain.
    pub version: u64,
    /// The active tier.
    pub tier: u32,
    /// Serving endpoints of the active tier, best rank first. Never one that is ejected or draining.
    pub candidates: Vec<Candidate>,
    /// Endpoints of the active tier that do not serve now but may again: who hashes a client must count them, or the
    /// client's choice would change each time one of them fails or returns. Never to be picked.
    pub away: Vec<Away>,
    /// Why there are no candidates; none: there are.
    pub empty: Option<Empty>,
}

/// An endpoint that may be picked.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Identity and live counts.
    pub endpoint: Arc<Endpoint>,
    /// Share among its rank, 1 or more (the backend's weight times an SRV record's).
    pub weight: u32,
    /// Lower goes first: a higher rank is used only when no lower one is left to try. Carries SRV priority, family
    /// preference and whether a probe has passed yet ([`UNPROVEN`]).
    pub rank: u32,
    /// Since when it serves: slow start counts from here. None: no slow start for it.
    pub warming_since: Option<Instant>,
    /// Connections at once, on this proxy.
    pub max_connections: Option<u32>,
    /// How it is spoken to.
    pub via: Via,
}

/// How connections to a backend's endpoints begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Via {
    /// The header that goes first.
    pub send_proxy: SendProxy,
    /// Whether TLS comes after that; what of it stands in the chain's configuration.
    pub tls: bool,
    /// What is spoken where the listener speaks HTTP.
    pub http: HttpVersion,
}

impl Via {
    /// As configured.
    pub fn of(backend: &Backend) -> Self {
        Self {
            send_proxy: backend.send_proxy,
            tls: backend.tls.is_some(),
            http: backend.http,
        }
    }
}

/// An endpoint that is away.
#[derive(Clone, Debug)]
pub struct Away {
    /// Identity and live counts.
    pub endpoint: Arc<Endpoint>,
    /// Its share when it serves.
    pub weight: u32,
    /// Its rank once it serves and a probe has passed.
    pub rank: u32,
}

/// A chain that nobody serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Empty {
    /// Since when: a client waits for an endpoint only until `connect.timeout` after this.
    pub since: Instant,
    /// In words.
    pub why: String,
    /// Suspended by the user: nobody waits.
    pub suspended: bool,
}
