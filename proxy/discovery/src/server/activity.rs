//! What proxies do, told in order: everything of one proxy comes from one task, so `Connected` of a new connection never
//! overtakes `Disconnected` of the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use switchyard_snapshot::{PoolId, Report, ResourceId};

use crate::Hash;
use crate::peer::PeerIdentity;

/// One proxy: a pod of a pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProxyId {
    /// Its pool.
    pub pool: PoolId,
    /// Name of its pod.
    pub name: String,
    /// UID of its pod: a `StatefulSet` gives the name again.
    pub uid: String,
}

impl fmt::Display for ProxyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of pool {}", self.name, self.pool)
    }
}

impl From<PeerIdentity> for ProxyId {
    fn from(PeerIdentity { pool, pod, uid }: PeerIdentity) -> Self {
        Self { pool, name: pod, uid }
    }
}

/// Something that a proxy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Who.
    pub proxy: ProxyId,
    /// What.
    pub what: What,
}

/// What a proxy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It has subscribed. Whatever was known of what it runs or refuses counts for nothing now: its first answer, to the
    /// first response it gets, tells all of it again.
    Connected {
        /// Its release, as it says itself: `0.1.0`.
        version: String,
    },
    /// It is gone; what it runs, it goes on running.
    Disconnected,
    /// It runs these versions now, and what it was told before it runs unless it is named here, or in a `Refused`.
    Acked {
        /// Resources that are in effect, with their versions.
        versions: BTreeMap<ResourceId, Hash>,
        /// Resources that it has no longer.
        removed: BTreeSet<ResourceId>,
    },
    /// It does not run this version of a resource, nor the one before: a resource that is refused fails closed.
    Refused {
        /// Which one.
        resource: ResourceId,
        /// The version that is refused.
        version: Hash,
        /// In the proxy's words.
        reason: String,
    },
    /// The whole truth of the proxy, now.
    Reported(Report),
}
