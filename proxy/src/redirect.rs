//! Where clients go that cannot be served here, and when guests go back. In: what proxies say of their chains, which chains
//! stand in for each other, where their proxies are reached. Out: plain values that data workers and people read.

pub mod detour;
pub mod hold;
pub mod returning;
pub mod standing;
pub mod table;

use std::time::Instant;

use switchyard_snapshot::{PeerPool, PoolId};

use crate::gossip::PeerId;

/// Where this proxy stands among those that it talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// This proxy.
    pub me: PeerId,
    /// Since when it listens to the others.
    pub since: Instant,
    /// The pools that it talks to, its own among them: as in the snapshot.
    pub pools: Vec<PeerPool>,
    /// What others say comes from the operator: that they live says nothing of what this proxy reaches.
    pub second_hand: bool,
}

impl Topology {
    /// A pool, if it is one of those that this proxy talks to.
    pub fn pool(&self, id: &PoolId) -> Option<&PeerPool> {
        self.pools.iter().find(|pool| pool.id == *id)
    }
}

#[cfg(test)]
pub(crate) mod fixture;
