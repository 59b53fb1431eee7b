//! The pods of pools. In: what the watch sees, as little of it as is needed. Out: whether a pod of this name and UID is there and
//! whose it is; kept when the API server is gone.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use k8s_openapi::api::core::v1;
use switchyard_snapshot::PoolId;

use crate::sidecar;

/// The label by which a pod belongs to a pool of its namespace.
pub const POOL_LABEL: &str = "switchyard.dev/pool";

/// What matters of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Of this very pod; another of the same name has another.
    pub uid: String,
    /// The pool that its label names.
    pub pool: Option<PoolId>,
    /// It was told to end.
    pub terminating: bool,
    /// The service account that it runs as.
    pub account: String,
    /// Its labels, if it wants a sidecar.
    pub wish: Option<BTreeMap<String, String>>,
    /// Where it runs; none: it has no address (yet), or it runs no more.
    pub place: Option<Place>,
    /// Since when the kubelet finds it ready, by the clock of its node, in whole seconds; none: nobody says.
    pub ready_since: Option<Timestamp>,
}

/// Where a pod runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its address.
    pub ip: IpAddr,
    /// Name of its node.
    pub node: String,
    /// Address of its node, the internal one (API reference of `PodStatus.hostIP`).
    pub node_ip: Option<IpAddr>,
    /// The kubelet finds it ready.
    pub ready: bool,
}

impl Pod {
    /// Of the object, with its namespace and name; none: it has none, which the API server never tells.
    pub fn of(object: &v1::Pod) -> Option<(String, String, Self)> {
        let metadata = &object.metadata;
        let (namespace, name) = (metadata.namespace.clone()?, metadata.name.clone()?);
        let pool = metadata.labels.as_ref().and_then(|labels| labels.get(POOL_LABEL));
        let account = object
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.clone());
        let pod = Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            pool: pool.map(|pool| PoolId {
                namespace: namespace.clone(),
                name: pool.clone(),
            }),
            terminating: metadata.deletion_timestamp.is_some(),
            account: account.unwrap_or_default(),
            wish: metadata.labels.clone().filter(sidecar::wanted),
            place: Place::of(object),
            ready_since: ready(object).and_then(|it| Some(it.last_transition_time.as_ref()?.0)),
        };
        Some((namespace, name, pod))
    }
}

impl Place {
    fn of(object: &v1::Pod) -> Option<Self> {
        let status = object.status.as_ref()?;
        // whoever was evicted keeps its address in its status, and nobody is there
        if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
            return None;
        }
        let node = object.spec.as_ref().and_then(|spec| spec.node_name.clone());
        Some(Self {
            ip: status.pod_ip.as_ref()?.parse().ok()?,
            node: node.unwrap_or_default(),
            node_ip: status.host_ip.as_ref().and_then(|ip| ip.parse().ok()),
            ready: ready(object).is_some(),
        })
    }
}

/// By which the kubelet finds it ready.
fn ready(object: &v1::Pod) -> Option<&v1::PodCondition> {
    let mut conditions = object.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|it| it.type_ == "Ready" && it.status == "True")
}

/// One pod of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Of this very pod; another of the same name has another.
    pub uid: String,
    /// The pool that its label names.
    pub pool: PoolId,
    /// It was told to end.
    pub terminating: bool,
    /// The service account that it runs as.
    pub account: String,
    /// Its labels, if it wants a sidecar.
    pub wish: Option<BTreeMap<String, String>>,
}

/// Every pod of every pool. Clones are the same cache.
#[derive(Clone, Debug, Default)]
pub struct Pods(Arc<RwLock<HashMap<(String, String), Member>>>);

impl Pods {
    /// A pod, if it is there and belongs to a pool.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Member> {
        let pods = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pods.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pod as it is now; none: it is gone. Hands back what was known of it.
    pub fn set(&self, namespace: &str, name: &str, pod: Option<&Pod>) -> Option<Member> {
        let member = pod.and_then(|pod| {
            Some(Member {
                uid: pod.uid.clone(),
                pool: pod.pool.clone()?,
                terminating: pod.terminating,
                account: pod.account.clone(),
                wish: pod.wish.clone(),
            })
        });
        let key = (namespace.to_owned(), name.to_owned());
        let mut pods = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match member {
            Some(member) => pods.insert(key, member),
            None => pods.remove(&key),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(status: &Value) -> Pod {
        let object = json!({
            "metadata": {"name": "dmz-0", "namespace": "edge", "uid": "u", "labels": {POOL_LABEL: "dmz"}},
            "spec": {"nodeName": "n1", "containers": []}, "status": status,
        });
        let (namespace, name, pod) = Pod::of(&serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!((namespace.as_str(), name.as_str()), ("edge", "dmz-0"));
        pod
    }

    #[test]
    fn a_pod_is_somewhere_once_it_has_an_address_and_until_it_has_run() {
        let at = |ip: &str, ready: bool| {
            Some(Place {
                ip: ip.parse().unwrap(),
                node: "n1".into(),
                node_ip: Some("192.0.2.1".parse().unwrap()),
                ready,
            })
        };
        let with = |status: &Value, is: &str| {
            let mut status = status.clone();
            status["conditions"] =
                json!([{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": is}]);
            status
        };
        let running = json!({"phase": "Running", "podIP": "10.0.0.1", "hostIP": "192.0.2.1"});
        let starting = json!({"phase": "Pending", "podIP": "fd00::1", "hostIP": "192.0.2.1"});
        let evicted = json!({"phase": "Failed", "podIP": "10.0.0.1", "hostIP": "192.0.2.1"});
        for (status, expected) in [
            (json!({"phase": "Pending"}), None),
            (with(&running, "True"), at("10.0.0.1", true)),
            (with(&running, "False"), at("10.0.0.1", false)),
            (running, at("10.0.0.1", false)),
            (starting, at("fd00::1", false)),
            (evicted, None),
        ] {
            assert_eq!(seen(&status).place, expected, "{status}");
        }
    }

    #[test]
    fn since_when_it_is_ready_is_known_while_it_is() {
        let at = "2026-05-04T03:02:01Z";
        for (ready, expected) in [("True", Some(at.parse().unwrap())), ("False", None)] {
            let conditions = json!([
                {"type": "Initialized", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Ready", "status": ready, "lastTransitionTime": at},
            ]);
            assert_eq!(seen(&json!({"conditions": conditions})).ready_since, expected);
        }
    }
}
