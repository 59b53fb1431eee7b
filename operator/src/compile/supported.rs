//! What has no effect outside a cluster.
//!
//! Nothing is ignored in silence: a field that this version cannot act on is refused (`not supported by this version`, see
//! [`super::faults::Faults`]), and a field that is about the cluster is accepted everywhere, because one manifest serves both, but
//! a standalone run says that it has no effect.

use super::{FieldPath, Given, Note, ObjectKey, Resources};
use switchyard_crds::{Kind, ProxyPool};

/// Fields of a pool's spec that are about the cluster, and why they have no effect without one.
const CLUSTER_ONLY: [(&str, &str); 3] = [
    ("workload", "it describes the pods of a cluster"),
    (
        "accessPoint",
        "it describes the Service of a cluster; standalone, clients are given the machine's own address",
    ),
    (
        "directAddress",
        "it tells clients of a cluster how to reach one proxy; nobody is redirected here",
    ),
];

/// The same, for fields of a listener.
const CLUSTER_ONLY_OF_LISTENERS: [(&str, &str); 2] = [
    ("bindPort", "pods bind it; a standalone proxy binds port"),
    ("directPort", "guests arrive there; nobody is redirected here"),
];

/// What the users wrote of these.
pub fn without_effect(resources: &Resources) -> Vec<Note> {
    resources.pools.iter().flat_map(of_pool).collect()
}

fn of_pool(given: &Given<ProxyPool>) -> Vec<Note> {
    let object = ObjectKey::of(Kind::ProxyPool, &given.object.metadata);
    let spec = FieldPath::spec();
    let mut fields: Vec<_> = CLUSTER_ONLY
        .iter()
        .map(|(field, why)| (spec.key(field), *why))
        .collect();
    for i in 0..given.object.spec.listeners.len() {
        let listener = spec.key("listeners").index(i);
        fields.extend(
            CLUSTER_ONLY_OF_LISTENERS
                .iter()
                .map(|(field, why)| (listener.key(field), *why)),
        );
    }
    let written = fields.into_iter().filter(|(field, _)| given.written.has(field));
    written
        .map(|(field, why)| Note {
            object: object.clone(),
            field,
            why,
        })
        .collect()
}
