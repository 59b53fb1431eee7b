//! What proxies tell each other. In: what this proxy says of itself. Out: [`Neighbours`], what every other one says, and
//! whether it is alive.
//!
//! State and nothing else: addresses and chains come from snapshots, so a proxy that lies can lie about its own health and
//! load, and about nothing else.

mod core;
mod counters;
mod greet;
mod log;
mod peer;
mod seal;
mod seeds;
#[cfg(test)]
mod simulation;
mod task;
#[cfg(test)]
pub(crate) mod testing;
mod window;
mod wire;

pub use self::core::{Core, CoreConfig, MAX_PEERS};
pub use self::counters::{GossipCounters, Refused};
pub use self::peer::ROUND;
pub use self::seal::{KeyError, Keyring, MAX_DATAGRAM, MAX_KEYS};
pub use self::task::{Gossip, GossipConfig, GossipError};

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use switchyard_snapshot::{ChainId, PoolId};

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId {
    /// Its pool.
    pub pool: PoolId,
    /// Its name in the pool: the pod's.
    pub name: String,
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool.namespace, self.name)
    }
}

/// What one proxy says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// It drains, or is suspended: nobody is sent there.
    pub leaving: bool,
    /// How much more it takes.
    pub load: Load,
    /// Each of its chains.
    pub chains: BTreeMap<ChainId, ChainSaid>,
}

/// How much a proxy has, and how much more it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Established client connections.
    pub sessions: u32,
    /// How many more it may have.
    pub room: u32,
    /// Guests that it may still take, over all listeners.
    pub guest_room: u32,
}

/// What a proxy says of one of its chains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainSaid {
    /// Counts the changes of the active tier: of two that differ, the higher holds.
    pub epoch: u64,
    /// The active tier.
    pub tier: u32,
    /// Sorted by tier.
    pub tiers: Vec<TierSaid>,
    /// Administratively down.
    pub suspended: bool,
    /// Its own clients are sent elsewhere (and may be for some seconds after it serves again): it takes no guests.
    pub detours: bool,
    /// It reaches something: an endpoint of any tier, the resolver, or a peer. One that reaches nothing knows nothing.
    pub reaches: bool,
}

/// What a proxy sees of one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierSaid {
    /// Which.
    pub tier: u32,
    /// Endpoints that serve.
    pub serving: u32,
    /// Of these, those that have passed their monitors.
    pub proven: u32,
    /// It does not know yet: names without a first answer, endpoints without a first probe.
    pub pending: bool,
}

/// Another proxy, as this one knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Where its gossip comes from.
    pub ip: IpAddr,
    /// Whether it lives.
    pub liveness: Liveness,
    /// The newest that it has said of itself.
    pub said: Arc<Said>,
    /// When it last confirmed, itself, that this is still the newest. Evidence is as old as this.
    pub confirmed: Instant,
}

/// Whether a proxy lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Liveness {
    /// It answers.
    Alive,
    /// It does not answer: nobody is sent there while others live.
    Suspect,
    /// It has not answered for so long that it counts as gone; or it said that it leaves.
    Dead,
}

/// Every other proxy that was heard of. Dead ones stay for a minute, for people to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// Grows when there is more news than that others stand by their words, and how much room they have.
    pub news: u64,
    /// Those of our cluster, by identity; never oneself. Identities are shared: this map is made anew many times a second, and
    /// every chain compares it with the one before.
    pub peers: BTreeMap<Arc<PeerId>, Neighbour>,
    /// Those of other clusters that gossip with ours, by the cluster's name and their identity. Pools of theirs may be called
    /// as ours are; they are other pools all the same.
    pub beyond: BTreeMap<(String, PeerId), Neighbour>,
}
