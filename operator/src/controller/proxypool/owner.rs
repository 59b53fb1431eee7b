//! Whose objects are. In: a pool. Out: what an owner reference says of it.

use switchyard_crds::ProxyPool;
use switchyard_snapshot::PoolId;

use crate::compile;

/// A pool as owner of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Which.
    pub pool: PoolId,
    /// Which of those that had this name.
    pub uid: String,
}

impl Owner {
    /// None for a pool that no API server has given an identity.
    pub fn of(pool: &ProxyPool) -> Option<Self> {
        Some(Self {
            pool: compile::pool_id(&pool.metadata),
            uid: pool.metadata.uid.clone()?,
        })
    }
}
