//! A snapshot in pieces, as discovery carries it. In: a [`Snapshot`]. Out: named resources, each with a version that depends
//! on its content alone; and back.
//!
//! A change of one chain is one resource on the wire, and a refusal names the one resource that is at fault.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Chain, ChainId, Listener, PeerPool, Pool, PoolId, Snapshot};

/// Which resource of a pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ResourceId {
    /// What holds for the whole pool; there is one.
    Pool,
    /// A listener, by name.
    Listener(String),
    /// A chain.
    Chain(ChainId),
    /// A pool that is gossiped with.
    Peers(PoolId),
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool => f.write_str("pool"),
            Self::Listener(name) => write!(f, "listener {name}"),
            Self::Chain(id) => write!(f, "chain {id}"),
            Self::Peers(id) => write!(f, "peers {id}"),
        }
    }
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all resources are chains: boxing them would cost each an allocation"
)]
pub enum Resource {
    /// What holds for the whole pool.
    Pool(Pool),
    /// A listener.
    Listener(Listener),
    /// A chain.
    Chain(Chain),
    /// A pool that is gossiped with.
    Peers(PeerPool),
}

impl Resource {
    /// Its identity.
    pub fn id(&self) -> ResourceId {
        match self {
            Self::Pool(_) => ResourceId::Pool,
            Self::Listener(listener) => ResourceId::Listener(listener.name.clone()),
            Self::Chain(chain) => ResourceId::Chain(chain.id.clone()),
            Self::Peers(peers) => ResourceId::Peers(peers.id.clone()),
        }
    }
}

/// The resources do not make a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no pool among the resources")]
pub struct NoPool;

impl Snapshot {
    /// Takes it apart.
    pub fn into_resources(self) -> BTreeMap<ResourceId, Resource> {
        let Self {
            pool,
            listeners,
            chains,
            peers,
        } = self;
        let resources = std::iter::once(Resource::Pool(pool))
            .chain(listeners.into_iter().map(Resource::Listener))
            .chain(chains.into_iter().map(Resource::Chain))
            .chain(peers.into_iter().map(Resource::Peers));
        resources.map(|resource| (resource.id(), resource)).collect()
    }

    /// Puts one together. Whether it makes sense says [`Snapshot::validate`].
    ///
    /// # Errors
    /// Without a pool there is no snapshot.
    pub fn from_resources(resources: impl IntoIterator<Item = Resource>) -> Result<Self, NoPool> {
        let mut pool = None;
        let mut listeners = Vec::new();
        let mut chains = Vec::new();
        let mut peers = Vec::new();
        for resource in resources {
            match resource {
                Resource::Pool(it) => pool = Some(it),
                Resource::Listener(it) => listeners.push(it),
                Resource::Chain(it) => chains.push(it),
                Resource::Peers(it) => peers.push(it),
            }
        }
        listeners.sort_by(|a: &Listener, b| a.name.cmp(&b.name));
        chains.sort_by(|a: &Chain, b| a.id.cmp(&b.id));
        peers.sort_by(|a: &PeerPool, b| a.id.cmp(&b.id));
        Ok(Self {
            pool: pool.ok_or(NoPool)?,
            listeners,
            chains,
            peers,
        })
    }
}
