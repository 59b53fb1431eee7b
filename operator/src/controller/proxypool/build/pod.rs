//! The pod of a proxy: Pod Security "restricted", unless the user asks for the node's network or ports.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchyard_crds::proxypool::{Listener, WorkloadKind};

use super::super::names;
use super::super::validate::Valid;
use super::Surroundings;
use super::container::{self, ADMIN_HEALTH_PORT, USER, Volumes, field, probe};

/// How long a pod that shall end goes on as before: endpoints are removed while it is told, not before.
pub const PRE_STOP_SECONDS: u64 = 5;
/// What the grace period holds beyond preStop and drain, for the process to end.
const END_SECONDS: u64 = 5;
/// What the volumes are called.
const VOLUMES: Volumes = Volumes {
    identity: "identity",
    cache: "cache",
};

/// The pod template.
pub fn template(pool: &Valid<'_>, surroundings: &Surroundings) -> Value {
    let name = &pool.owner.pool.name;
    let workload = &pool.spec.workload;
    let mut labels = workload.pod_labels.clone();
    labels.extend(names::labels(name));
    labels.extend(
        pool.access_point
            .as_ref()
            .map(|it| (names::ACCESS_POINT_LABEL.to_owned(), it.name.clone())),
    );
    let annotations = (!workload.pod_annotations.is_empty()).then_some(&workload.pod_annotations);
    let mut node_selector = workload.node_selector.clone();
    node_selector
        .entry("kubernetes.io/os".to_owned())
        .or_insert_with(|| "linux".to_owned());
    let host_network = workload.host_network.then_some(true);
    json!({
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": {
            "serviceAccountName": names::account(name),
            "automountServiceAccountToken": false,
            // A variable for every Service of the namespace is of no use to anybody here.
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": grace_seconds(pool),
            "securityContext": security(pool),
            "hostNetwork": host_network,
            "dnsPolicy": host_network.map(|_| "ClusterFirstWithHostNet"),
            "priorityClassName": workload.priority_class_name,
            "nodeSelector": node_selector,
            "tolerations": (!workload.tolerations.is_empty()).then_some(&workload.tolerations),
            "affinity": workload.affinity.as_ref().map_or_else(|| apart(pool), |affinity| json!(affinity)),
            "topologySpreadConstraints": spread(pool),
            "containers": [container(pool, surroundings)],
            "volumes": VOLUMES.of(name),
        },
    })
}

/// preStop, drain, and a little to end. Whole seconds, rounded up.
fn grace_seconds(pool: &Valid<'_>) -> u64 {
    let drain = pool.spec.drain.timeout.get();
    PRE_STOP_SECONDS + drain.as_secs() + u64::from(drain.subsec_nanos() > 0) + END_SECONDS
}

fn security(pool: &Valid<'_>) -> Value {
    // A "safe" sysctl, of the pod's own network: the proxy binds low ports without a privilege.
    let sysctls = pool
        .low_port
        .map(|port| json!([{"name": "net.ipv4.ip_unprivileged_port_start", "value": port.to_string()}]));
    json!({
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
        "sysctls": sysctls,
    })
}

/// Proxies keep apart, where possible; a `DaemonSet`'s are anyway.
fn apart(pool: &Valid<'_>) -> Value {
    if pool.spec.workload.kind == WorkloadKind::DaemonSet {
        return Value::Null;
    }
    json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100,
        "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": names::pod_selector(&pool.owner.pool.name)},
        },
    }]}})
}

/// As the user says, else over zones and nodes.
fn spread(pool: &Valid<'_>) -> Value {
    let own = &pool.spec.workload.topology_spread_constraints;
    if !own.is_empty() {
        return json!(own);
    }
    // Pods of an older revision do not count: a rollout would pile the new ones up elsewhere.
    let revision = match pool.spec.workload.kind {
        WorkloadKind::Deployment => "pod-template-hash",
        WorkloadKind::StatefulSet => "controller-revision-hash",
        WorkloadKind::DaemonSet | WorkloadKind::Sidecar => return Value::Null,
    };
    let over = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": names::pod_selector(&pool.owner.pool.name)},
            "matchLabelKeys": [revision],
        })
    };
    json!([
        over("topology.kubernetes.io/zone"),
        over("kubernetes.io/hostname")
    ])
}

fn container(pool: &Valid<'_>, surroundings: &Surroundings) -> Value {
    let workload = &pool.spec.workload;
    let id = &pool.owner.pool;
    let mut env = container::environment();
    // Where its peers reach it: what they are told by us is the pod's address too.
    env.push(field("SWITCHYARD_ADVERTISE", "status.podIP"));
    let image = workload.image.as_ref().unwrap_or(&surroundings.image);
    let resources = workload.resources.as_ref().map_or_else(
        // Enough to be scheduled somewhere sensible; no limit, which would kill a proxy for having clients.
        || json!({"requests": {"cpu": "50m", "memory": "64Mi"}}),
        |resources| json!(resources),
    );
    json!({
        "name": "proxy",
        "image": image,
        "args": container::args(id, &surroundings.operator),
        "env": env,
        "ports": ports(pool),
        "resources": resources,
        "securityContext": container::security(),
        // Ready late (a first configuration, listeners bound) is no reason to be killed; a hang is.
        "startupProbe": killing(probe("/livez", 1, 60)),
        "livenessProbe": killing(probe("/livez", 10, 3)),
        "readinessProbe": probe("/readyz", 2, 2),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "volumeMounts": VOLUMES.mounts(),
    })
}

/// Who hangs hears no request to end: without this the kubelet would wait for the pod's whole grace period, which is made for
/// sessions to leave, before it kills.
fn killing(mut probe: Value) -> Value {
    probe["terminationGracePeriodSeconds"] = json!(PRE_STOP_SECONDS + END_SECONDS);
    probe
}

/// Listeners by name, guests' ports, and ours. No number twice: which of two listeners is right about one, the compile step
/// says.
fn ports(pool: &Valid<'_>) -> Value {
    let tcp = |name: Option<&str>, port: u16, host: bool| json!({"name": name, "containerPort": port, "hostPort": host.then_some(port), "protocol": "TCP"});
    let on_node = pool.spec.workload.host_network;
    let clients = pool
        .spec
        .listeners
        .iter()
        .map(|it| (Some(it.name.as_str()), it.bind_port(), on_node));
    let guests = pool.spec.listeners.iter().filter_map(Listener::direct_port);
    let guests = guests.map(|port| (None, port, on_node || pool.host_ports));
    let health = (Some(names::HEALTH_PORT_NAME), ADMIN_HEALTH_PORT, on_node);
    let mut seen = BTreeSet::new();
    let mut ports: Vec<_> = clients
        .chain(guests)
        .chain([health])
        .filter(|(_, port, _)| seen.insert(*port))
        .map(|(name, port, host)| tcp(name, port, host))
        .collect();
    let gossip = pool.spec.peers.port;
    ports.push(json!({
        "name": names::GOSSIP_PORT_NAME,
        "containerPort": gossip,
        "hostPort": on_node.then_some(gossip),
        "protocol": "UDP",
    }));
    Value::Array(ports)
}
