//! What this version cannot do yet, and what has no effect outside a cluster.
//!
//! Nothing is ignored in silence. A field that this version cannot act on is refused if the user wrote it (its default is
//! what we do anyway); where only some of its values are beyond us, the field's own module refuses these. A field that is
//! about the cluster is accepted everywhere, because one manifest serves both, but standalone it is said to have no effect.

use switchyard_crds::{Kind, ProxyPool};

use super::{FieldPath, Fields, Given, Note, ObjectKey, Resources};

/// Fields below `spec` that this version cannot act on; `[]` stands for every item of a list.
const NOT_BUILT_OF_POOLS: [&str; 2] = ["dns", "listeners[].forward"];

/// The same for chains.
const NOT_BUILT_OF_CHAINS: [&str; 1] = ["backends[].dialIn"];

/// Fields of pools that are about the cluster, and why they have no effect without one.
const CLUSTER_ONLY: [(&str, &str); 2] = [
    ("workload", "it describes the pods of a cluster"),
    (
        "listeners[].bindPort",
        "pods bind it; a standalone proxy binds port",
    ),
];

/// The fields that a user wrote and this version cannot act on.
pub fn not_built(kind: Kind, written: &Fields) -> Vec<FieldPath> {
    let fields = match kind {
        Kind::ProxyPool => &NOT_BUILT_OF_POOLS[..],
        Kind::ProxyChain => &NOT_BUILT_OF_CHAINS[..],
    };
    fields.iter().flat_map(|field| places(field, written)).collect()
}

/// The fields that users wrote and that have no effect outside a cluster.
pub fn without_effect(resources: &Resources) -> Vec<Note> {
    resources.pools.iter().flat_map(|given| of_pool(given)).collect()
}

fn of_pool(given: &Given<ProxyPool>) -> Vec<Note> {
    let object = ObjectKey::of(Kind::ProxyPool, &given.object.metadata);
    let fields = CLUSTER_ONLY.iter().flat_map(|(field, why)| {
        let places = places(field, &given.written).into_iter();
        places.map(move |place| (place, *why))
    });
    let note = |(field, why)| Note {
        object: object.clone(),
        field,
        why,
    };
    fields.map(note).collect()
}

/// Where the user wrote a field of the tables above.
fn places(field: &str, written: &Fields) -> Vec<FieldPath> {
    let spec = FieldPath::spec();
    let Some((list, field)) = field.split_once("[].") else {
        return Some(spec.key(field))
            .into_iter()
            .filter(|place| written.has(place))
            .collect();
    };
    let items = (0..)
        .map(|i| spec.key(list).index(i))
        .take_while(|item| written.has(item));
    items
        .map(|item| item.key(field))
        .filter(|place| written.has(place))
        .collect()
}
