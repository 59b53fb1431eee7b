//! What a pod of a pool and a sidecar have in common: the program's arguments, what it is told of its pod, what it may, where
//! its files are. Pure.
//!
//! The program's flags stand here and nowhere else.

use serde_json::{Value, json};
use switchyard_snapshot::PoolId;

use super::super::names;

/// The port of probes and metrics, at the pod's address.
pub const ADMIN_HEALTH_PORT: u16 = 17020;
/// The port of the admin endpoint, on loopback.
pub const ADMIN_PORT: u16 = 17000;
/// Name of the CA bundle, in the `ConfigMap` and in the pod.
pub const CA_FILE: &str = "ca.crt";
/// Name of the token in the pod.
const TOKEN_FILE: &str = "token";
/// The audience of the token: nobody else takes it.
const TOKEN_AUDIENCE: &str = "switchyard";
/// How long a token is valid; the kubelet renews it in time.
const TOKEN_SECONDS: u32 = 3600;
/// Where token and CA bundle are.
const IDENTITY_DIR: &str = "/var/run/switchyard";
/// Where the last good copy is: memory that outlives the container, not the pod.
const CACHE_DIR: &str = "/var/cache/switchyard";
/// Neither root nor anybody of the image's.
pub const USER: u32 = 65532;

/// What the volumes of a proxy are called in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volumes {
    /// Token and CA bundle.
    pub identity: &'static str,
    /// The last good copy.
    pub cache: &'static str,
}

impl Volumes {
    /// Both names.
    pub const fn names(self) -> [&'static str; 2] {
        [self.identity, self.cache]
    }

    /// Where the container has them.
    pub fn mounts(self) -> Value {
        json!([
            {"name": self.identity, "mountPath": IDENTITY_DIR, "readOnly": true},
            {"name": self.cache, "mountPath": CACHE_DIR},
        ])
    }

    /// The volumes of a proxy of this pool.
    pub fn of(self, pool: &str) -> [Value; 2] {
        let token =
            json!({"audience": TOKEN_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": TOKEN_FILE});
        let bundle = json!({"name": names::bootstrap(pool), "items": [{"key": CA_FILE, "path": CA_FILE}]});
        [
            json!({"name": self.identity, "projected": {"sources": [
                {"serviceAccountToken": token},
                {"configMap": bundle},
            ]}}),
            json!({"name": self.cache, "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}),
        ]
    }
}

/// Arguments of the program: `operator` is the `HOST:PORT` at which it is reached.
pub fn args(pool: &PoolId, operator: &str) -> Vec<String> {
    vec![
        "run".to_owned(),
        format!("--operator={operator}"),
        format!("--pool={}/{}", pool.namespace, pool.name),
        format!("--ca-file={IDENTITY_DIR}/{CA_FILE}"),
        format!("--token-file={IDENTITY_DIR}/{TOKEN_FILE}"),
        format!("--cache-dir={CACHE_DIR}"),
    ]
}

/// What the program is told of its pod.
pub fn environment() -> Vec<Value> {
    vec![
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_NAME", "metadata.name"),
        field("POD_UID", "metadata.uid"),
        field("POD_IP", "status.podIP"),
        field("NODE_NAME", "spec.nodeName"),
    ]
}

/// A variable that holds a field of the pod.
pub fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}

/// What Pod Security "restricted" asks of a container.
pub fn security() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
    })
}

/// The kubelet asks this path of the health endpoint.
pub fn probe(path: &str, period_seconds: u32, failures: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": ADMIN_HEALTH_PORT, "scheme": "HTTP"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    })
}
