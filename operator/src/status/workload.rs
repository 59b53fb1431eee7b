//! What runs a pool's proxies and how clients reach it, as far as a status tells it. In: the workload and the Service as the
//! API server has them. Out: numbers and addresses.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Service;
use switchyard_crds::ProxyPool;
use switchyard_crds::proxypool::{AccessPointServiceType, AddressType, PoolAddress, WorkloadKind};

/// At most so many addresses stand in a status.
const ADDRESSES: usize = 16;

/// How a pool's workload is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The pool's generation that the workload was last applied from.
    pub generation: i64,
    /// How many proxies there shall be.
    pub wanted: u32,
    /// How many there are.
    pub replicas: u32,
    /// How many of them are ready.
    pub ready: u32,
    /// Labels of the pods, as a selector.
    pub selector: Option<String>,
    /// How clients reach the pool.
    pub reach: Reach,
    /// The Pod Security level that the namespace enforces, where it says one: `privileged`, `baseline`, `restricted`.
    pub pod_security: Option<String>,
    /// Why pods cannot be made, in the words of the API server.
    pub pods_refused: Option<String>,
}

impl Workload {
    /// By the numbers of a Deployment's status.
    pub fn deployment(of: &Deployment) -> Self {
        let status = of.status.clone().unwrap_or_default();
        let mut refused = status.conditions.iter().flatten();
        let refused = refused.find(|condition| {
            condition.type_.as_deref() == Some("ReplicaFailure")
                && condition.status.as_deref() == Some("True")
        });
        Self {
            wanted: count(of.spec.replicas),
            replicas: count(status.replicas),
            ready: count(status.ready_replicas),
            pods_refused: refused.and_then(|condition| condition.message.clone()),
            ..Self::default()
        }
    }

    /// By the numbers of a `StatefulSet`'s status.
    pub fn stateful_set(of: &StatefulSet) -> Self {
        let status = of.status.clone().unwrap_or_default();
        Self {
            wanted: count(of.spec.replicas),
            replicas: count(Some(status.replicas)),
            ready: count(status.ready_replicas),
            ..Self::default()
        }
    }

    /// By the numbers of a `DaemonSet`'s status.
    pub fn daemon_set(of: &DaemonSet) -> Self {
        let status = of.status.clone().unwrap_or_default();
        Self {
            wanted: count(Some(status.desired_number_scheduled)),
            replicas: count(Some(status.current_number_scheduled)),
            ready: count(Some(status.number_ready)),
            ..Self::default()
        }
    }
}

fn count(number: Option<i32>) -> u32 {
    number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or_default()
}

/// How clients reach a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The best first.
    pub addresses: Vec<PoolAddress>,
    /// A load balancer shall bring clients here, and has no address yet.
    pub pending: bool,
}

/// The addresses of a pool: what the user calls it, what the load balancer got, the Service's name, its addresses inside.
pub fn reach(pool: &ProxyPool, service: Option<&Service>) -> Reach {
    if pool.spec.workload.kind == WorkloadKind::Sidecar {
        return Reach::default();
    }
    let access_point = pool.spec.access_point.clone().unwrap_or_default();
    let ingress = service.map(ingress).unwrap_or_default();
    let pending = access_point.service.type_ == AccessPointServiceType::LoadBalancer && ingress.is_empty();
    let mut addresses: Vec<PoolAddress> = access_point.host.as_deref().map(address).into_iter().collect();
    addresses.extend(ingress);
    if let Some(service) = service {
        let meta = &service.metadata;
        if let (Some(name), Some(namespace)) = (&meta.name, &meta.namespace) {
            addresses.push(address(&format!("{name}.{namespace}.svc")));
        }
        let inside = service.spec.as_ref().and_then(|spec| spec.cluster_ips.as_ref());
        let inside = inside.into_iter().flatten().filter(|ip| *ip != "None");
        addresses.extend(inside.map(|ip| address(ip)));
    }
    let mut unique = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    unique.truncate(ADDRESSES);
    Reach {
        addresses: unique,
        pending,
    }
}

fn ingress(service: &Service) -> Vec<PoolAddress> {
    let balancer = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer
        .and_then(|balancer| balancer.ingress.as_ref())
        .into_iter()
        .flatten();
    let text = ingress.filter_map(|ingress| ingress.ip.as_deref().or(ingress.hostname.as_deref()));
    text.map(address).collect()
}

fn address(text: &str) -> PoolAddress {
    let type_ = if text.parse::<std::net::IpAddr>().is_ok() {
        AddressType::IPAddress
    } else {
        AddressType::Hostname
    };
    PoolAddress {
        type_,
        value: text.to_owned(),
    }
}
