//! What objects say of themselves: what they name, and to which unit they belong.

use kube::Resource;
use kube::core::ObjectMeta;
use switchyard_crds::proxychain::BackendTarget;
use switchyard_crds::{Kind, ProxyChain, ProxyPool};
use switchyard_snapshot::ChainId;

use super::{AccessPoint, Unit};
use crate::compile::{ObjectKey, pool_of};
use crate::endpoints::ServiceId;

/// An object of a unit.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Which.
    pub key: ObjectKey,
    /// Its metadata.
    pub meta: &'a ObjectMeta,
}

impl<'a> Member<'a> {
    pub(super) fn of<T: Resource>(kind: Kind, object: &'a T) -> Self {
        Self {
            key: ObjectKey::of(kind, object.meta()),
            meta: object.meta(),
        }
    }
}

/// The API server counts a generation for each change of the spec, and no other; an object that was deleted and made again
/// counts from one, but has another UID.
pub(super) fn same_spec(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    one.generation == other.generation && one.uid == other.uid && one.generation.is_some()
}

pub(super) fn unit_of(id: &ChainId, chain: &ProxyChain) -> Unit {
    pool_of(chain).map_or_else(|| Unit::Chain(id.clone()), Unit::Pool)
}

pub(super) fn access_point(pool: &ProxyPool) -> Option<AccessPoint> {
    let namespace = pool.metadata.namespace.clone().unwrap_or_default();
    Some((namespace, pool.access_point_name()?.to_owned()))
}

pub(super) fn services_of(chain: &ProxyChain) -> impl Iterator<Item = ServiceId> {
    let namespace = chain.metadata.namespace.clone().unwrap_or_default();
    let backends = chain.spec.backends.iter();
    backends.filter_map(move |backend| match backend.target() {
        Some(BackendTarget::Service(service)) => Some(ServiceId {
            namespace: namespace.clone(),
            name: service.name.clone(),
        }),
        _ => None,
    })
}
