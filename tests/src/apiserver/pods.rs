//! Pods that no node runs. In: a name, labels, an address. Out: an object as a
//! kubelet would have left it: running, ready, at that address; and the token
//! that a projected volume would hold.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::ControlPlane;

/// Address of the node that all of them run on.
pub const NODE_IP: &str = "192.0.2.1";

/// A pod that a test speaks for.
#[derive(Clone, Debug)]
pub struct SpokenFor {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its service account.
    pub account: String,
}

impl ControlPlane {
    /// Creates a pod of these labels that asks for nothing that Pod Security
    /// "restricted" forbids, as its namespace's service account `account`, and
    /// says that it runs at `address`.
    ///
    /// # Panics
    /// When the API server refuses it.
    #[track_caller]
    pub fn pod(
        &self,
        (namespace, name): (&str, &str),
        account: &str,
        labels: &[(&str, &str)],
        address: &str,
    ) -> SpokenFor {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
            "spec": {
                "serviceAccountName": account,
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "proxy", "image": "none.example/proxy",
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        });
        let pod = serde_json::from_value(pod).expect("a pod");
        let pods: Api<Pod> = Api::namespaced(self.admin(), namespace);
        let made = self.block_on(pods.create(&PostParams::default(), &pod));
        let made = made.unwrap_or_else(|e| panic!("pod {namespace}/{name}: {e}"));
        let pod = SpokenFor {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: made.metadata.uid.expect("a uid"),
            account: account.to_owned(),
        };
        self.pod_ready(&pod, address, true);
        pod
    }

    /// Says that the pod runs at `address`, and whether it is ready.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn pod_ready(&self, pod: &SpokenFor, address: &str, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "hostIP": NODE_IP, "hostIPs": [{"ip": NODE_IP}],
            "conditions": [{"type": "Ready", "status": ready}],
        }});
        let pods: Api<Pod> = Api::namespaced(self.admin(), &pod.namespace);
        let patch = Patch::Merge(&status);
        let done = self.block_on(pods.patch_status(&pod.name, &PatchParams::default(), &patch));
        done.unwrap_or_else(|e| panic!("pod {}/{}: {e}", pod.namespace, pod.name));
    }

    /// Tells the pod to end. It is there until [`ControlPlane::delete_pod`]: no kubelet ends it.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn end_pod(&self, pod: &SpokenFor) {
        let pods: Api<Pod> = Api::namespaced(self.admin(), &pod.namespace);
        let some_day = DeleteParams::default().grace_period(3600);
        let done = self.block_on(pods.delete(&pod.name, &some_day));
        done.unwrap_or_else(|e| panic!("pod {}/{}: {e}", pod.namespace, pod.name));
    }

    /// Deletes the pod at once, as a kubelet does when its containers have ended.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn delete_pod(&self, pod: &SpokenFor) {
        let pods: Api<Pod> = Api::namespaced(self.admin(), &pod.namespace);
        let at_once = DeleteParams::default().grace_period(0);
        let done = self.block_on(pods.delete(&pod.name, &at_once));
        done.unwrap_or_else(|e| panic!("pod {}/{}: {e}", pod.namespace, pod.name));
    }

    /// The token that a projected volume of this pod would hold, for an hour.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn pod_token(&self, pod: &SpokenFor, audience: &str) -> String {
        let account = (pod.namespace.as_str(), pod.account.as_str());
        self.token(account, audience, Some((&pod.name, &pod.uid)), 3600)
    }
}
