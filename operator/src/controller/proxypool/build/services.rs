//! Services: the access point that pools share, the peers of a pool, single proxies.

use serde_json::{Value, json};
use switchyard_crds::proxypool::{AccessPointService, AccessPointServiceType, ExternalTrafficPolicy};

use super::super::access_point::AccessPoint;
use super::super::names;
use super::super::validate::{ProxyPort, ProxyServices, Valid};
use super::{metadata, shared_metadata};
use crate::apply::{Child, ChildKind};

/// The Service of an access point. Its target ports are named by listener, so pools may bind different ones; a pod without
/// such a listener is left out of that port.
pub fn access_point(namespace: &str, it: &AccessPoint) -> Child {
    let AccessPointService {
        type_,
        annotations,
        load_balancer_class,
        external_traffic_policy,
    } = &it.service;
    let mut metadata = shared_metadata(namespace, &it.name, &it.owners);
    metadata["labels"][names::ACCESS_POINT_LABEL] = json!(it.name);
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    let type_ = match type_ {
        AccessPointServiceType::LoadBalancer => "LoadBalancer",
        AccessPointServiceType::NodePort => "NodePort",
        AccessPointServiceType::ClusterIP | AccessPointServiceType::None => "ClusterIP",
    };
    let policy = match external_traffic_policy {
        ExternalTrafficPolicy::Local => "Local",
        ExternalTrafficPolicy::Cluster => "Cluster",
    };
    let ports: Vec<_> = it
        .ports
        .iter()
        .map(|(name, port)| json!({"name": name, "port": port, "protocol": "TCP", "targetPort": name}))
        .collect();
    let service = json!({
        "metadata": metadata,
        "spec": {
            "type": type_,
            "loadBalancerClass": load_balancer_class,
            // A Service that nothing outside reaches has no such policy.
            "externalTrafficPolicy": (type_ != "ClusterIP").then_some(policy),
            "ipFamilyPolicy": "PreferDualStack",
            "selector": names::access_point_selector(&it.name),
            "ports": ports,
        },
    });
    Child::new(ChildKind::Service, service)
}

/// The headless Service: proxies that are not ready gossip too, since that is how they learn the active tier.
pub fn peers(pool: &Valid<'_>) -> Child {
    let name = &pool.owner.pool.name;
    let service = json!({
        "metadata": metadata(pool, &names::peers(name)),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "ipFamilyPolicy": "PreferDualStack",
            "selector": names::pod_selector(name),
            "ports": [{
                "name": names::GOSSIP_PORT_NAME,
                "port": pool.spec.peers.port,
                "protocol": "UDP",
                "targetPort": names::GOSSIP_PORT_NAME,
            }],
        },
    });
    Child::new(ChildKind::Service, service)
}

/// A Service for each proxy, where guests reach it by one.
pub fn proxies(pool: &Valid<'_>, there: u32) -> Vec<Child> {
    let Some(services) = &pool.proxy_services else {
        return Vec::new();
    };
    (0..pool.spec.replicas.max(there))
        .map(|ordinal| proxy(pool, services, ordinal))
        .collect()
}

fn proxy(pool: &Valid<'_>, services: &ProxyServices, ordinal: u32) -> Child {
    let name = names::proxy(&pool.owner.pool.name, ordinal);
    let port = |ProxyPort {
                    name,
                    port,
                    target,
                    node_port,
                }: &ProxyPort|
     -> Value {
        json!({"name": name, "port": port, "protocol": "TCP", "targetPort": target, "nodePort": node_port})
    };
    let mut selector = names::pod_selector(&pool.owner.pool.name);
    selector.insert("statefulset.kubernetes.io/pod-name".to_owned(), name.clone());
    let service = json!({
        "metadata": metadata(pool, &name),
        "spec": {
            "type": if services.load_balancer { "LoadBalancer" } else { "NodePort" },
            // Guests are given the address of the proxy's own node, and the proxy sees theirs.
            "externalTrafficPolicy": "Local",
            // Who is told this address is told that its proxy serves, by the proxies themselves; the kubelet may take two seconds
            // to find out what they know at once. It is told once the pod has been ready: nodes know the way then.
            "publishNotReadyAddresses": true,
            "ipFamilyPolicy": "PreferDualStack",
            "selector": selector,
            "ports": services.ports.iter().map(port).collect::<Vec<_>>(),
        },
    });
    Child::new(ChildKind::Service, service)
}
