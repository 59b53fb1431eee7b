//! First step: everything that the pool depends on and that is there of it, as the API server has it now.
//!
//! In: the pool, and its neighbours from the watch. Out: plain values for the pure steps. Nothing here is cached: what is
//! compared before a write is the truth of this moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use serde_json::Value;
use switchyard_crds::ProxyPool;
use switchyard_crds::proxypool::WorkloadKind;

use super::names;
use super::owner::Owner;
use crate::FIELD_MANAGER;
use crate::apply::{Applier, ApplyError, ChildKind, MANAGED_BY};
use crate::context::Context;

/// Label of a namespace: the Pod Security level that it enforces.
const POD_SECURITY_LABEL: &str = "pod-security.kubernetes.io/enforce";
/// A namespace that does not answer is only a condition less.
const NAMESPACE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pools of a namespace that are not being deleted.
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    /// Those that can be read, this one among them.
    pub pools: Vec<Arc<ProxyPool>>,
    /// UIDs of those that cannot: what they own already, they keep.
    pub unreadable: Vec<String>,
}

impl Neighbours {
    /// The pools to build with.
    pub fn pools(&self) -> Vec<&ProxyPool> {
        self.pools.iter().map(Arc::as_ref).collect()
    }

    /// Those that run proxies, and so gossip.
    pub fn gossiping(&self) -> Vec<Owner> {
        let run = |pool: &&ProxyPool| pool.spec.workload.kind != WorkloadKind::Sidecar;
        let mut owners: Vec<_> = self
            .pools()
            .into_iter()
            .filter(run)
            .filter_map(Owner::of)
            .collect();
        owners.sort_by(|a, b| a.uid.cmp(&b.uid));
        owners
    }
}

/// What is there.
#[derive(Default)]
pub struct Fetched {
    /// The pool's own objects, and those that it shares.
    pub live: Live,
    /// The Pod Security level that the namespace enforces, where it says one and may be read.
    pub pod_security: Option<String>,
}

/// Objects by kind and name.
#[derive(Default)]
pub struct Live(BTreeMap<(ChildKind, String), Value>);

impl Live {
    /// One of them.
    pub fn get(&self, kind: ChildKind, name: &str) -> Option<&Value> {
        self.0.get(&(kind, name.to_owned()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (ChildKind, &str, &Value)> {
        self.0
            .iter()
            .map(|((kind, name), object)| (*kind, name.as_str(), object))
    }

    fn add(&mut self, kind: ChildKind, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.0.insert((kind, name), object);
    }
}

/// Asks the API server.
///
/// # Errors
/// A list failed: what is there is not known, and nothing may be concluded from it.
pub async fn dereference(
    context: &Context,
    applier: &Applier,
    pool: &Owner,
    kind: WorkloadKind,
) -> Result<Fetched, ApplyError> {
    let own = format!(
        "{MANAGED_BY}={FIELD_MANAGER},{}={}",
        names::POOL_LABEL,
        pool.pool.name
    );
    let shared = format!("{MANAGED_BY}={FIELD_MANAGER},{}", names::ACCESS_POINT_LABEL);
    let own = own.as_str();
    let lists = kinds(kind).into_iter().map(|kind| async move {
        let found = applier.list(kind, own).await?;
        Ok::<_, ApplyError>((kind, found))
    });
    let (lists, access_points, gossip, pod_security) = tokio::join!(
        try_join_all(lists),
        applier.list(ChildKind::Service, &shared),
        applier.get(ChildKind::Secret, names::GOSSIP_KEYS),
        pod_security(context, &pool.pool.namespace),
    );
    let mut live = Live::default();
    for (kind, objects) in lists? {
        for object in objects {
            live.add(kind, object);
        }
    }
    for service in access_points? {
        live.add(ChildKind::Service, service);
    }
    if let Some(secret) = gossip? {
        live.add(ChildKind::Secret, secret);
    }
    Ok(Fetched { live, pod_security })
}

/// The kinds of which a pool may have children. Of workloads only its own: the kind cannot be changed.
fn kinds(workload: WorkloadKind) -> Vec<ChildKind> {
    let workload = match workload {
        WorkloadKind::Deployment => Some(ChildKind::Deployment),
        WorkloadKind::DaemonSet => Some(ChildKind::DaemonSet),
        WorkloadKind::StatefulSet => Some(ChildKind::StatefulSet),
        WorkloadKind::Sidecar => None,
    };
    let others = [
        ChildKind::ServiceAccount,
        ChildKind::ConfigMap,
        ChildKind::Secret,
        ChildKind::Service,
        ChildKind::NetworkPolicy,
        ChildKind::PodDisruptionBudget,
    ];
    workload.into_iter().chain(others).collect()
}

async fn pod_security(context: &Context, namespace: &str) -> Option<String> {
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    match tokio::time::timeout(NAMESPACE_TIMEOUT, namespaces.get_metadata(namespace)).await {
        Ok(Ok(namespace)) => namespace.metadata.labels?.remove(POD_SECURITY_LABEL),
        Ok(Err(error)) => {
            tracing::debug!(namespace, %error, "the namespace's Pod Security level is not known");
            None
        }
        Err(_) => None,
    }
}
