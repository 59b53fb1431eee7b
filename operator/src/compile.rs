//! Resources to snapshots: pure, deterministic, never the order in which the resources come.
//!
//! In: every pool and chain, valid by its own schema and with the schema's defaults filled in, and which fields their users
//! wrote. Out: one [`Snapshot`] per pool, with every computed default filled in and every reference followed; and each
//! object or listener that could not be used, with the field and the reason. What is refused leaves the rest alone. A
//! Service or Secret that is not there leaves even its object alone, but for the backend or certificate that needs it.
//!
//! The steps, each in its module: `access` and `pool` turn pools into listeners, `chain` (with `backend`,
//! `health`, `failover`) turns a chain's own fields into values, `tls` looks Secrets up for both, `group`, `redirect` and `peers` say who
//! stands in for whom and who talks to whom, `route` hangs the chains on the listeners and settles who
//! gets which name. `supported` says what this version cannot do yet, and what has no effect outside a cluster.

mod access;
mod backend;
mod chain;
mod failover;
mod faults;
mod field;
mod group;
mod health;
mod listener;
mod peers;
mod pool;
mod ports;
mod redirect;
mod route;
mod supported;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use kube::Resource;
use kube::core::ObjectMeta;
use switchyard_crds::{Kind, ProxyChain, ProxyPool, Reason};
use switchyard_snapshot::{ChainId, PeerProxy, PoolId, Snapshot};

use crate::endpoints::Services;
use crate::secrets::Secrets;

pub use field::{FieldPath, Fields};

/// Everything that is compiled together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// In any order.
    pub pools: Vec<Arc<Given<ProxyPool>>>,
    /// In any order.
    pub chains: Vec<Arc<Given<ProxyChain>>>,
    /// Chains of other pools that share a group with one of `chains`: nothing is made of them, but they have a place there.
    /// Their pools are among `pools`.
    pub group_mates: Vec<Arc<Given<ProxyChain>>>,
    /// The pods of pools, sorted by name, as far as they have an address.
    pub proxies: BTreeMap<PoolId, Vec<PeerProxy>>,
    /// Those of the cluster; none: there is no cluster, and no chain may name one.
    pub services: Option<Services>,
    /// Those of the cluster, or of the files. Others are not there.
    pub secrets: Secrets,
    /// Objects that are there but do not fit their types, with the fields their users wrote: what refers to them waits, and is
    /// not told that they are missing.
    pub unreadable: BTreeMap<ObjectKey, Fields>,
}

/// A resource as it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Given<T> {
    /// The resource, with the defaults of its schema.
    pub object: Arc<T>,
    /// Which of its fields the user wrote.
    pub written: Fields,
    /// Where it stands among resources that carry no creation time: the lower is the older. Files count from the first.
    pub order: u64,
}

/// Where the snapshots will run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// In pods: listeners bind `bindPort`.
    Cluster,
    /// On a machine, from files: listeners bind `port`.
    Standalone,
}

/// What came of the resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// For each pool that could be used what its proxies run.
    pub snapshots: BTreeMap<PoolId, Snapshot>,
    /// What could not be used, sorted by object and field.
    pub refused: Vec<Refusal>,
    /// What was written but has no effect under this profile, sorted by object and field.
    pub notes: Vec<Note>,
}

/// The identity of a pool by its metadata.
pub fn pool_id(meta: &ObjectMeta) -> PoolId {
    let ObjectKey {
        kind: _,
        namespace,
        name,
    } = ObjectKey::of(Kind::ProxyPool, meta);
    PoolId { namespace, name }
}

/// The identity of a chain by its metadata.
pub fn chain_id(meta: &ObjectMeta) -> ChainId {
    let PoolId { namespace, name } = pool_id(meta);
    ChainId { namespace, name }
}

/// The pool that a chain names.
pub fn pool_of(chain: &ProxyChain) -> Option<PoolId> {
    let pool = chain.spec.pool_ref.as_ref()?;
    Some(PoolId {
        namespace: chain.metadata.namespace.clone().unwrap_or_default(),
        name: pool.name.clone(),
    })
}

/// Which resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Why an object, or one of its listeners, is not used; with [`Reason::BackendNotFound`] and [`Reason::InvalidCertificateRef`]:
/// why a backend has no endpoints, or a listener lacks a certificate, of an object that is used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Whose.
    pub object: ObjectKey,
    /// Which field is at fault.
    pub field: FieldPath,
    /// In one word, as a condition carries it; `Pending`: only because something that it refers to is refused.
    pub reason: Reason,
    /// What is wrong, and what to do.
    pub message: String,
}

/// A field that was written and has no effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Whose.
    pub object: ObjectKey,
    /// Which field.
    pub field: FieldPath,
    /// Why it has none.
    pub why: &'static str,
}

impl ObjectKey {
    /// Of a pool.
    pub fn pool(id: &PoolId) -> Self {
        let PoolId { namespace, name } = id.clone();
        Self {
            kind: Kind::ProxyPool,
            namespace,
            name,
        }
    }

    /// Of a chain.
    pub fn chain(id: &ChainId) -> Self {
        let ChainId { namespace, name } = id.clone();
        Self {
            kind: Kind::ProxyChain,
            namespace,
            name,
        }
    }

    /// The key of an object; the loader and the API server both see to it that it has a namespace and a name.
    pub fn of(kind: Kind, meta: &ObjectMeta) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            kind,
            namespace: text(&meta.namespace),
            name: text(&meta.name),
        }
    }
}

/// How old a resource is: the lower is the older.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Age<'a> {
    /// What no API server has dated is younger than what one has.
    undated: bool,
    created: Option<Timestamp>,
    order: u64,
    key: &'a ObjectKey,
}

/// The resources with their keys, oldest first; of two with one key the younger is refused.
fn by_age<'a, T: Resource>(
    kind: Kind,
    resources: &'a [Arc<Given<T>>],
    refused: &mut Vec<Refusal>,
) -> Vec<(ObjectKey, &'a Given<T>)> {
    let mut keyed: Vec<_> = resources
        .iter()
        .map(|r| (ObjectKey::of(kind, r.object.meta()), &**r))
        .collect();
    keyed.sort_by(|(key, given), (other_key, other)| age(key, given).cmp(&age(other_key, other)));
    let mut seen = BTreeSet::new();
    keyed.retain(|(key, _)| {
        let first = seen.insert(key.clone());
        if !first {
            refused.push(Refusal {
                object: key.clone(),
                field: FieldPath::default(),
                reason: Reason::Conflicted,
                message: format!("{key} is there twice"),
            });
        }
        first
    });
    keyed
}

fn age<'a, T: Resource>(key: &'a ObjectKey, given: &Given<T>) -> Age<'a> {
    let created = given.object.meta().creation_timestamp.as_ref().map(|time| time.0);
    Age {
        undated: created.is_none(),
        created,
        order: given.order,
        key,
    }
}

/// Turns resources into snapshots. The result depends on what is given, not on the order of the lists.
pub fn compile(resources: &Resources, profile: Profile) -> Compiled {
    let mut refused = Vec::new();
    let pools = pool::compile_pools(resources, profile, &mut refused);
    let groups = group::settle(&pools, resources);
    let snapshots = route::attach(pools, &groups, resources, &mut refused);
    for (key, written) in &resources.unreadable {
        refused.extend(faults::Faults::of(key.clone(), written).into_refusals());
    }
    refused.sort();
    let mut notes = match profile {
        Profile::Cluster => Vec::new(),
        Profile::Standalone => supported::without_effect(resources),
    };
    notes.sort();
    Compiled {
        snapshots,
        refused,
        notes,
    }
}

#[cfg(test)]
mod tests;
