//! What data workers know of a chain: an immutable value, swapped whole.

use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use jiff::Timestamp;
use switchyard_snapshot::{Backend, Chain, ChainId, Dialect, Fallback, HttpVersion, SendProxy};

use crate::endpoint::Endpoint;
use crate::gossip::PeerId;

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
    /// Nobody here serves, and others of the group do: where clients are sent. The candidates are then the direct ports of
    /// the proxies that relay, each with [`Candidate::relay`].
    pub detour: Option<Arc<Detour>>,
    /// Guests of this chain are on their way back; none: they may stay.
    pub returning: Option<Arc<Returning>>,
}

/// Where clients of a chain are sent that does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detour {
    /// In words: why it does not serve.
    pub why: String,
    /// Native redirects that its clients follow.
    pub dialects: Vec<Dialect>,
    /// What becomes of those that follow none.
    pub fallback: Fallback,
    /// Best rank first; never empty.
    pub targets: Vec<Target>,
    /// The next start of prime time: nobody should count on the detour for longer.
    pub until: Option<Timestamp>,
}

/// A proxy to which clients are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which; none: one beyond this cluster.
    pub peer: Option<PeerId>,
    /// The chain that serves there.
    pub chain: ChainId,
    /// Lower goes first.
    pub rank: u32,
    /// Share among its rank, 1 or more: its headroom.
    pub weight: u32,
    /// How clients reach it: the first whose networks hold the client's address.
    pub direct: Vec<Direct>,
}

/// How some clients reach one proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    /// A name or an address.
    pub host: String,
    /// The port of the listener that serves the chain there.
    pub port: u16,
    /// Networks of the clients that can; none: all.
    pub networks: Vec<IpNet>,
}

/// What a header says to the proxy that relays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayTo {
    /// Which proxy.
    pub peer: PeerId,
    /// The chain that shall serve there.
    pub chain: ChainId,
}

/// Guests on their way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returning {
    /// Since when.
    pub since: Instant,
    /// Where they belong, for each chain that they may have come from: host and port of its access point.
    pub homes: Vec<(ChainId, String, u16)>,
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
    /// It is no backend's endpoint but another proxy's direct port.
    pub relay: Option<Arc<RelayTo>>,
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
