//! A pod with a proxy. Pure. In: the pod, the pool whose proxy it gets. Out: the pod as it should be; a pod that is so already
//! comes out as it came in.
//!
//! What changes: one init container more, the first, which goes on running (`restartPolicy: Always`: a native sidecar); its two
//! volumes; the label with the pool's name; and for every other container the variables of the chains. A variable that a
//! container has already stays.

use serde_json::{Map, Value, json};
use switchyard_snapshot::PoolId;

use super::CONTAINER;
use super::choose::{self, injected, items};
use super::environment::{self, Variable};
use crate::compile::pool_id;
use crate::controller::proxypool::build::container::{
    self, ADMIN_HEALTH_PORT, ADMIN_PORT, USER, Volumes, probe,
};
use crate::controller::proxypool::names::{HEALTH_PORT_NAME, POOL_LABEL};
use crate::sidecar::Sidecar;

/// What the proxy's volumes are called in a pod.
pub const VOLUMES: Volumes = Volumes {
    identity: "switchyard-identity",
    cache: "switchyard-cache",
};

/// Seconds that a proxy may take to get its first configuration before it is restarted; until then no other container starts.
const START_SECONDS: u32 = 120;

/// Seconds that a proxy that hangs is given to end.
const HUNG_SECONDS: u32 = 5;

/// What does not depend on pod and pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Image of proxies whose pool names none.
    pub image: String,
    /// `HOST:PORT` at which proxies reach the operators.
    pub operator: String,
}

/// The pod as it should be, and what its maker should know.
pub fn inject(pod: &Value, sidecar: &Sidecar, settings: &Settings) -> (Value, Vec<String>) {
    let id = pool_id(&sidecar.pool.metadata);
    let environment = environment::of(sidecar);
    let mut warnings = environment.warnings;
    if sidecar.chains.is_empty() {
        warnings.push(format!(
            "pool {} has no chain yet: containers are told of none, and of none that is made later",
            id.name
        ));
    }
    let mut made = pod.clone();
    if !injected(pod) {
        warnings.extend(ports_taken(pod, sidecar));
        add(&mut made, &id, proxy(&id, sidecar, settings));
    }
    for kind in ["initContainers", "containers"] {
        let containers = made.pointer_mut(&format!("/spec/{kind}"));
        let containers = containers.and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter(|container| container["name"] != CONTAINER) {
            tell(container, &environment.variables);
        }
    }
    (made, warnings)
}

/// First in the list: what the container says itself may refer to them by `$(NAME)`, which reaches back only.
fn tell(container: &mut Value, variables: &[Variable]) {
    let has = |name: &str| {
        let env = container["env"].as_array().into_iter().flatten();
        env.into_iter().any(|variable| variable["name"] == name)
    };
    let missing: Vec<Value> = variables
        .iter()
        .filter(|(name, _)| !has(name))
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    if !missing.is_empty()
        && let Some(env) = list(container, "env")
    {
        env.splice(0..0, missing);
    }
}

/// The container, its volumes, and whose it is.
fn add(pod: &mut Value, pool: &PoolId, container: Value) {
    if let Some(spec) = pod.get_mut("spec") {
        if let Some(containers) = list(spec, "initContainers") {
            containers.insert(0, container);
        }
        if let Some(volumes) = list(spec, "volumes") {
            volumes.extend(VOLUMES.of(&pool.name));
        }
    }
    if let Some(labels) = labels(pod) {
        labels.insert(POOL_LABEL.to_owned(), Value::String(pool.name.clone()));
    }
}

fn proxy(id: &PoolId, sidecar: &Sidecar, settings: &Settings) -> Value {
    let workload = &sidecar.pool.spec.workload;
    let mut args = container::args(id, &settings.operator);
    // It serves one pod: a thread per CPU of the node would only cost memory.
    args.push("--workers=1".to_owned());
    let mut security = container::security();
    // The pod's own security context is not ours to set, and may say something else.
    security["runAsUser"] = json!(USER);
    security["runAsGroup"] = json!(USER);
    security["seccompProfile"] = json!({"type": "RuntimeDefault"});
    let resources = workload.resources.as_ref().map_or_else(
        || json!({"requests": {"cpu": "10m", "memory": "32Mi"}}),
        |resources| json!(resources),
    );
    let mut liveness = probe("/livez", 10, 3);
    // One that hangs heeds no signal: the pod's own grace period, which may be long, would pass for nothing.
    liveness["terminationGracePeriodSeconds"] = json!(HUNG_SECONDS);
    json!({
        "name": CONTAINER,
        "image": workload.image.as_ref().unwrap_or(&settings.image),
        "restartPolicy": "Always",
        "args": args,
        "env": container::environment(),
        "ports": [{"name": HEALTH_PORT_NAME, "containerPort": ADMIN_HEALTH_PORT, "protocol": "TCP"}],
        "resources": resources,
        "securityContext": security,
        // The other containers start once it listens. None for readiness: whether the pod takes requests is its own business.
        "startupProbe": probe("/readyz", 1, START_SECONDS),
        "livenessProbe": liveness,
        "volumeMounts": VOLUMES.mounts(),
    })
}

/// Ports that a container says it listens on, and that the proxy binds: one of the two will fail.
fn ports_taken(pod: &Value, sidecar: &Sidecar) -> Vec<String> {
    let listeners = sidecar.pool.spec.listeners.iter();
    let ours: Vec<u16> = listeners
        .map(switchyard_crds::proxypool::Listener::bind_port)
        .chain([ADMIN_PORT, ADMIN_HEALTH_PORT])
        .collect();
    let mut warnings = Vec::new();
    for container in items(pod, "containers") {
        let ports = container["ports"].as_array().into_iter().flatten();
        let tcp = ports.filter(|port| port["protocol"].as_str().unwrap_or("TCP") == "TCP");
        let numbers = tcp.filter_map(|port| u16::try_from(port["containerPort"].as_u64()?).ok());
        for port in numbers.filter(|port| ours.contains(port)) {
            warnings.push(format!(
                "container {} declares port {port}, which the proxy of pool {} binds too: change one of them",
                container["name"].as_str().unwrap_or_default(),
                choose::name(sidecar)
            ));
        }
    }
    warnings
}

/// The list of this name in an object; it is made where there is none. None: that is no object.
fn list<'a>(object: &'a mut Value, name: &str) -> Option<&'a mut Vec<Value>> {
    let list = object.as_object_mut()?.entry(name).or_insert(Value::Null);
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    list.as_array_mut()
}

fn labels(pod: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = pod.get_mut("metadata")?.as_object_mut()?;
    let labels = metadata.entry("labels").or_insert(Value::Null);
    if labels.is_null() {
        *labels = Value::Object(Map::new());
    }
    labels.as_object_mut()
}
