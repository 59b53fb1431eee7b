//! What the children of a pool are called and labelled. `docs/workloads.md` has the table.
//!
//! The workload carries the pool's name, its Service the access point's; everything else is the pool's name and a suffix.
//! A pool's name has at most 52 characters, so every name and label here fits 63.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use switchyard_snapshot::PoolId;

use crate::FIELD_MANAGER;
use crate::apply::MANAGED_BY;
pub use crate::secrets::{GOSSIP_KEYS, ticket_keys_of as ticket_keys};

/// Label: the pool that a pod or child belongs to. The identity of a proxy rests on it.
pub const POOL_LABEL: &str = "switchyard.dev/pool";
/// Label: the access point whose clients a pod takes, or that a Service stands for.
pub const ACCESS_POINT_LABEL: &str = "switchyard.dev/access-point";
/// Every label and annotation below it is ours; users' pod labels and annotations cannot begin with it.
pub const OUR_PREFIX: &str = "switchyard.dev/";
/// Value of `app.kubernetes.io/name` on everything that belongs to a proxy.
const APP: &str = "switchyard-proxy";
/// Name of the port on which a pod answers probes and metrics, at its address.
pub const HEALTH_PORT_NAME: &str = "proxy-health";
/// Name of the port on which a pod gossips.
pub const GOSSIP_PORT_NAME: &str = "proxy-gossip";

/// The headless Service by which the proxies of a pool find each other, and that names a `StatefulSet`'s pods.
pub fn peers(pool: &str) -> String {
    format!("{pool}-peers")
}

/// The Service of one proxy of a `StatefulSet`: called like its pod.
pub fn proxy(pool: &str, ordinal: u32) -> String {
    format!("{pool}-{ordinal}")
}

/// The pods' service account. Not the pool's bare name: a pool may be called `default`.
pub fn account(pool: &str) -> String {
    format!("{pool}-proxy")
}

/// The `ConfigMap` with what a proxy needs before it can speak to the operator.
pub fn bootstrap(pool: &str) -> String {
    format!("{pool}-bootstrap")
}

/// What finds the pods of a pool: labels that never change, since a workload's selector cannot.
pub fn pod_selector(pool: &str) -> BTreeMap<String, String> {
    owned([("app.kubernetes.io/name", APP), (POOL_LABEL, pool)])
}

/// The same as autoscalers take it: `a=b,c=d`.
pub fn pod_selector_text(pool: &str) -> String {
    let terms: Vec<_> = pod_selector(pool)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    terms.join(",")
}

/// What finds the pods that take an access point's clients, of whichever pool.
pub fn access_point_selector(access_point: &str) -> BTreeMap<String, String> {
    owned([
        ("app.kubernetes.io/name", APP),
        (ACCESS_POINT_LABEL, access_point),
    ])
}

/// What finds the pods of every pool: those that may gossip with each other.
pub fn any_proxy_selector() -> BTreeMap<String, String> {
    owned([("app.kubernetes.io/name", APP)])
}

/// The labels of everything that belongs to one pool.
pub fn labels(pool: &str) -> BTreeMap<String, String> {
    let mut labels = common_labels(pool);
    labels.insert(POOL_LABEL.to_owned(), pool.to_owned());
    labels
}

/// The labels of what the pools of a namespace share: no pool's.
pub fn shared_labels(instance: &str) -> BTreeMap<String, String> {
    common_labels(instance)
}

fn common_labels(instance: &str) -> BTreeMap<String, String> {
    owned([
        ("app.kubernetes.io/name", APP),
        ("app.kubernetes.io/instance", instance),
        ("app.kubernetes.io/component", "proxy"),
        ("app.kubernetes.io/part-of", "switchyard"),
        (MANAGED_BY, FIELD_MANAGER),
    ])
}

/// An owner reference to a pool. One owner is the controller; sharing pools are owners, and none is.
///
/// Each blocks its owner's deletion in the foreground: who deletes pools so has waited for all that was made for them, and may take
/// the definitions away. Before that the garbage collector could no longer find that an owner is gone
/// (<https://github.com/kubernetes/kubernetes/issues/102641>).
pub fn owner(pool: &PoolId, uid: &str, controller: bool) -> Value {
    let mut owner = json!({
        "apiVersion": format!("{}/{}", switchyard_crds::GROUP, switchyard_crds::VERSION),
        "kind": switchyard_crds::Kind::ProxyPool.as_str(),
        "name": pool.name,
        "uid": uid,
        "blockOwnerDeletion": true,
    });
    if controller {
        owner["controller"] = json!(true);
    }
    owner
}

fn owned<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
