//! Third step: the objects of a pool. Pure.
//!
//! In: a valid pool, the keys planned for it, and what proxies need to know of the operator. Out: whole objects, exactly the
//! fields that we mean to own. `docs/workloads.md` has the table: child, name, when, why.

pub mod container;

mod pod;
mod services;
mod workload;

use serde_json::{Value, json};
use switchyard_crds::proxypool::WorkloadKind;

use super::access_point::AccessPoint;
use super::keys::{ROTATED_AT, Ring};
use super::names;
use super::owner::Owner;
use super::validate::Valid;
use crate::apply::{Child, ChildKind};

pub use container::ADMIN_HEALTH_PORT;
pub use pod::PRE_STOP_SECONDS;

/// What does not depend on the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Image of proxies whose pool names none.
    pub image: String,
    /// `HOST:PORT` at which proxies reach the operator.
    pub operator: String,
    /// Certificates (PEM) of the CAs by which proxies know the operator.
    pub ca_bundle: String,
}

/// What is found and planned for this pool.
pub struct Planned {
    /// Keys of TLS tickets.
    pub tickets: Ring,
    /// Keys of gossip, and the pools that share them.
    pub gossip: (Ring, Vec<Owner>),
    /// How many proxies a `StatefulSet` still has, also those that are leaving: each keeps its Service until it is gone.
    pub proxies_there: u32,
}

/// Every object of the pool, in the order in which they are applied.
pub fn build(pool: &Valid<'_>, planned: &Planned, surroundings: &Surroundings) -> Vec<Child> {
    let mut children = vec![bootstrap(pool, &surroundings.ca_bundle)];
    if pool.spec.workload.kind != WorkloadKind::Sidecar {
        children.push(account(pool));
        children.push(ticket_keys(pool, &planned.tickets));
        children.push(gossip_keys(pool, planned));
        children.push(services::peers(pool));
        children.extend(
            pool.access_point
                .as_ref()
                .map(|it| access_point(&pool.owner.pool.namespace, it)),
        );
        children.extend(services::proxies(pool, planned.proxies_there));
        children.extend(network_policy(pool));
        children.extend(workload::workload(pool, surroundings));
        children.extend(budget(pool));
    }
    children.sort_by_key(|child| child.kind);
    children
}

/// The Service that pools share.
pub fn access_point(namespace: &str, it: &AccessPoint) -> Child {
    services::access_point(namespace, it)
}

/// Metadata of an object that is this pool's alone.
fn metadata(pool: &Valid<'_>, name: &str) -> Value {
    let Owner { pool: id, uid } = &pool.owner;
    json!({
        "name": name,
        "namespace": id.namespace,
        "labels": names::labels(&id.name),
        "ownerReferences": [names::owner(id, uid, true)],
    })
}

/// Metadata of an object that several pools own together; it goes with the last of them.
fn shared_metadata(namespace: &str, name: &str, owners: &[Owner]) -> Value {
    let owners: Vec<_> = owners
        .iter()
        .map(|Owner { pool, uid }| names::owner(pool, uid, false))
        .collect();
    json!({
        "name": name,
        "namespace": namespace,
        "labels": names::shared_labels(name),
        "ownerReferences": owners,
    })
}

/// Proxies ask nothing of the API server, so the account may nothing and its token is not mounted.
fn account(pool: &Valid<'_>) -> Child {
    let metadata = metadata(pool, &names::account(&pool.owner.pool.name));
    Child::new(
        ChildKind::ServiceAccount,
        json!({"metadata": metadata, "automountServiceAccountToken": false}),
    )
}

fn bootstrap(pool: &Valid<'_>, ca_bundle: &str) -> Child {
    let metadata = metadata(pool, &names::bootstrap(&pool.owner.pool.name));
    Child::new(
        ChildKind::ConfigMap,
        json!({"metadata": metadata, "data": {container::CA_FILE: ca_bundle}}),
    )
}

fn ticket_keys(pool: &Valid<'_>, ring: &Ring) -> Child {
    secret(metadata(pool, &names::ticket_keys(&pool.owner.pool.name)), ring)
}

fn gossip_keys(pool: &Valid<'_>, planned: &Planned) -> Child {
    let (ring, owners) = &planned.gossip;
    let metadata = shared_metadata(&pool.owner.pool.namespace, names::GOSSIP_KEYS, owners);
    secret(metadata, ring)
}

fn secret(mut metadata: Value, ring: &Ring) -> Child {
    metadata["annotations"] = json!({ROTATED_AT: ring.rotated_at()});
    Child::new(
        ChildKind::Secret,
        json!({"metadata": metadata, "type": "Opaque", "data": ring.data()}),
    )
}

/// Who may reach the pods: clients and guests at their ports, peers at gossip's, anybody at health and metrics. What goes out
/// is not limited: backends are names. None on the node's network, where policies have no effect.
fn network_policy(pool: &Valid<'_>) -> Option<Child> {
    let spec = pool.spec;
    if spec.workload.host_network {
        return None;
    }
    let tcp = |port: u16| json!({"port": port, "protocol": "TCP"});
    let mut ports: Vec<u16> = spec
        .listeners
        .iter()
        .flat_map(|listener| [Some(listener.bind_port()), listener.direct_port()])
        .flatten()
        .chain([ADMIN_HEALTH_PORT])
        .collect();
    ports.sort_unstable();
    ports.dedup();
    let ports: Vec<_> = ports.into_iter().map(tcp).collect();
    // Proxies of other clusters come from addresses that nobody knows here; the key of gossip tells them from strangers.
    let peers = spec
        .peers
        .seeds
        .is_empty()
        .then(|| json!([{"podSelector": {"matchLabels": names::any_proxy_selector()}}]));
    let name = &pool.owner.pool.name;
    let policy = json!({
        "metadata": metadata(pool, name),
        "spec": {
            "podSelector": {"matchLabels": names::pod_selector(name)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": ports},
                {"from": peers, "ports": [{"port": spec.peers.port, "protocol": "UDP"}]},
            ],
        },
    });
    Some(Child::new(ChildKind::NetworkPolicy, policy))
}

/// Evictions take one proxy at a time, and one that is not ready never stands in their way. None for a `DaemonSet`: it has no
/// scale that the budget could be counted from, and drains leave its pods alone.
fn budget(pool: &Valid<'_>) -> Option<Child> {
    if pool.spec.workload.kind == WorkloadKind::DaemonSet {
        return None;
    }
    let name = &pool.owner.pool.name;
    let budget = json!({
        "metadata": metadata(pool, name),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": names::pod_selector(name)},
        },
    });
    Some(Child::new(ChildKind::PodDisruptionBudget, budget))
}
