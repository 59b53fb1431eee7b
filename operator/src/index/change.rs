//! One change of one object, small: what nobody needs is left behind.

use std::sync::Arc;

use kube::core::ObjectMeta;
use switchyard_crds::{ProxyChain, ProxyPool};
use switchyard_snapshot::{ChainId, PoolId};

use crate::endpoints::{Definition, ServiceId, Slice};
use crate::pods::Pod;
use crate::secrets::{Fetched, SecretId};

/// What happened to one object.
#[derive(Clone, Debug)]
pub enum Change {
    /// A pool is like this now.
    Pool(Arc<ProxyPool>),
    /// A pool is gone.
    PoolGone(PoolId),
    /// A pool is there but does not fit its type.
    PoolUnreadable(PoolId),
    /// A chain is like this now.
    Chain(Arc<ProxyChain>),
    /// A chain is gone, or does not fit its type.
    ChainGone(ChainId),
    /// A Service is like this now; none: it is gone.
    Service(ServiceId, Option<Definition>),
    /// A slice of a Service is like this now; none: it is gone.
    Slice {
        /// Whose.
        service: ServiceId,
        /// Which.
        name: String,
        /// What is in it.
        slice: Option<Slice>,
    },
    /// A Secret is there in this version; none: it is gone.
    Secret(SecretId, Option<String>),
    /// A Secret that somebody names has been asked for.
    Fetched(SecretId, Fetched),
    /// A proxy of a pool says that it serves other chains than before.
    Serves {
        /// Its pool.
        pool: PoolId,
        /// Name of its pod.
        name: String,
        /// Sorted; none: nothing is known of it any more.
        chains: Option<Vec<ChainId>>,
    },
    /// A pod of a pool is like this now; none: it is gone.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What matters of it.
        pod: Option<Box<Pod>>,
    },
}

/// Leaves out what the operator never reads and what can be larger than all the rest: who wrote which field, and annotations,
/// among them kubectl's copy of the whole object.
pub fn slim(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.annotations = None;
}
