//! What a pool is accepted with, but what its user should know. In: the pool, its namespace as far as it is known. Out: reasons
//! and words, the gravest first.

use switchyard_crds::proxypool::{
    AccessPointServiceType, DirectAddressType, ExternalTrafficPolicy, Listener, ProxyPoolSpec,
    ProxyProtocolIn, WorkloadKind,
};
use switchyard_crds::{ProxyPool, Reason};

use crate::status::Workload;

/// What `spec.replicas` is when nobody writes it: the API server fills it in, so it cannot be told from one that was written.
const DEFAULT_REPLICAS: u32 = 2;

/// Everything that wants to be known.
pub fn of(pool: &ProxyPool, workload: Option<&Workload>) -> Vec<(Reason, String)> {
    let mut warnings = Vec::new();
    if let Some(words) = too_strict(pool, workload) {
        warnings.push((Reason::PrivilegedNamespaceRequired, words));
    }
    let hidden = needs_client_address(&pool.spec);
    if !hidden.is_empty() && hides_client_address(&pool.spec) {
        let words = format!(
            "{} cannot work: with externalTrafficPolicy Cluster the client's address is hidden; make it Local, or let the \
             load balancer send PROXY headers and set proxyProtocol",
            hidden.join(", ")
        );
        warnings.push((Reason::ClientAddressHidden, words));
    }
    let ignored = ignored(&pool.spec).into_iter();
    warnings.extend(ignored.map(|words| (Reason::FieldIgnored, words.to_owned())));
    warnings
}

/// Why the namespace does not let the pool's pods in, if it is known not to.
pub fn too_strict(pool: &ProxyPool, workload: Option<&Workload>) -> Option<String> {
    let field = privileged_field(&pool.spec)?;
    let workload = workload?;
    match workload.pod_security.as_deref() {
        Some(level @ ("baseline" | "restricted")) => Some(format!(
            "{field} needs a privileged namespace, and this one enforces {level}: label it \
             pod-security.kubernetes.io/enforce: privileged, or leave the field out"
        )),
        _ => workload
            .pods_refused
            .as_deref()
            .filter(|words| words.contains("violates PodSecurity"))
            .map(|words| format!("{field} needs a privileged namespace: {words}")),
    }
}

fn privileged_field(spec: &ProxyPoolSpec) -> Option<&'static str> {
    if spec.workload.host_network {
        return Some("spec.workload.hostNetwork");
    }
    let node_ip = spec
        .direct_address
        .iter()
        .any(|direct| direct.type_ == DirectAddressType::NodeIP);
    node_ip.then_some("spec.directAddress of type NodeIP")
}

fn ignored(spec: &ProxyPoolSpec) -> Option<&'static str> {
    if spec.replicas == DEFAULT_REPLICAS {
        return None;
    }
    match spec.workload.kind {
        WorkloadKind::DaemonSet => {
            Some("spec.replicas has no effect: a DaemonSet runs one proxy on each node")
        }
        WorkloadKind::Sidecar => Some("spec.replicas has no effect: sidecars run in the clients' pods"),
        WorkloadKind::Deployment | WorkloadKind::StatefulSet => None,
    }
}

/// Whether traffic from outside comes by a node that puts its own address in place of the client's.
fn hides_client_address(spec: &ProxyPoolSpec) -> bool {
    let Some(service) = spec
        .access_point
        .as_ref()
        .map(|access_point| &access_point.service)
    else {
        return false;
    };
    let outside = matches!(
        service.type_,
        AccessPointServiceType::LoadBalancer | AccessPointServiceType::NodePort
    );
    outside && service.external_traffic_policy == ExternalTrafficPolicy::Cluster
}

/// Fields that are about the client's address, of listeners that are not told it by PROXY headers.
fn needs_client_address(spec: &ProxyPoolSpec) -> Vec<String> {
    let blind: Vec<(usize, &Listener)> = spec
        .listeners
        .iter()
        .enumerate()
        .filter(|(_, listener)| listener.proxy_protocol == ProxyProtocolIn::None)
        .collect();
    let mut fields = Vec::new();
    if spec.affinity.is_some() && !blind.is_empty() {
        fields.push("spec.affinity".to_owned());
    }
    for (i, listener) in blind {
        if !listener.allowed_sources.is_empty() {
            fields.push(format!("spec.listeners[{i}].allowedSources"));
        }
        if !listener.monitor_sources.is_empty() {
            fields.push(format!("spec.listeners[{i}].monitorSources"));
        }
    }
    fields
}
