//! Second step: is the pool one that can be built? Pure.
//!
//! In: the pool, valid by its own schema, and its neighbours. Out: everything that `build` needs, or every mistake in words.
//! What is wrong with what the proxies would run is the compile step's business, not this one's.

use switchyard_crds::proxypool::{DirectAddress, DirectAddressType, Listener, WorkloadKind};
use switchyard_crds::{Kind, ProxyPool, ProxyPoolSpec, Reason};

use super::access_point::{self, AccessPoint, Settled};
use super::names;
use super::owner::Owner;
use crate::compile::{FieldPath, ObjectKey, Refusal};

/// A pool that can be built.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid<'a> {
    /// Which.
    pub owner: Owner,
    /// As the user wrote it.
    pub spec: &'a ProxyPoolSpec,
    /// Where its clients come; none where there is no Service.
    pub access_point: Option<AccessPoint>,
    /// How guests reach one proxy through a Service of its own.
    pub proxy_services: Option<ProxyServices>,
    /// Whether guests reach proxies by their node's address.
    pub host_ports: bool,
    /// The lowest port that pods bind, where that takes leave of the kernel: a port below 1024.
    pub low_port: Option<u16>,
}

/// The Services of single proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyServices {
    /// A load balancer for each, which brings a node port too; else only the node port.
    pub load_balancer: bool,
    /// Each has these ports.
    pub ports: Vec<ProxyPort>,
}

/// One port of a single proxy's Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyPort {
    /// The listener's name.
    pub name: String,
    /// What guests connect to, at the load balancer.
    pub port: u16,
    /// What the pod binds for guests.
    pub target: u16,
    /// The node's port, where the user chose it.
    pub node_port: Option<u16>,
}

/// Judges a pool among the living pools of its namespace, itself among them.
///
/// # Errors
/// Every mistake, each with its field.
pub fn validate<'a>(
    pool: &'a ProxyPool,
    owner: Owner,
    neighbours: &[&ProxyPool],
) -> Result<Valid<'a>, Vec<Refusal>> {
    let spec = &pool.spec;
    let mut faults = Faults {
        object: ObjectKey::of(Kind::ProxyPool, &pool.metadata),
        refused: Vec::new(),
    };
    let Settled {
        access_point,
        mut refused,
    } = match pool.access_point_name() {
        Some(name) => access_point::settle(name, neighbours.iter().copied()),
        None => Settled::default(),
    };
    faults.refused.extend(refused.remove(&owner.pool.name));
    check_listeners(spec, access_point.is_some(), &mut faults);
    check_pod_metadata(spec, &mut faults);
    let proxy_services = proxy_services(spec, &mut faults);
    if !faults.refused.is_empty() {
        return Err(faults.refused);
    }
    let low_port = spec.listeners.iter().map(Listener::bind_port).min();
    Ok(Valid {
        owner,
        spec,
        access_point,
        proxy_services,
        host_ports: spec
            .direct_address
            .iter()
            .any(|address| address.type_ == DirectAddressType::NodeIP),
        low_port: low_port.filter(|port| *port < 1024),
    })
}

struct Faults {
    object: ObjectKey,
    refused: Vec<Refusal>,
}

impl Faults {
    fn invalid(&mut self, field: FieldPath, message: impl Into<String>) {
        self.refused.push(Refusal {
            object: self.object.clone(),
            field,
            reason: Reason::Invalid,
            message: message.into(),
        });
    }
}

fn check_listeners(spec: &ProxyPoolSpec, service: bool, faults: &mut Faults) {
    let path = FieldPath::spec().key("listeners");
    for (i, listener) in spec.listeners.iter().enumerate() {
        let path = path.index(i);
        if [names::HEALTH_PORT_NAME, names::GOSSIP_PORT_NAME].contains(&listener.name.as_str()) {
            let words = format!(
                "a port of every proxy is called {:?}: rename the listener",
                listener.name
            );
            faults.invalid(path.key("name"), words);
        }
        let before = &spec.listeners[..i];
        if let Some(other) = before.iter().find(|other| service && other.port == listener.port) {
            let words = format!(
                "listener {} has port {} too, and a Service cannot tell them apart by address: choose another, or set \
                 accessPoint.service.type to None",
                other.name, listener.port
            );
            faults.invalid(path.key("port"), words);
        }
        if spec.workload.host_network && listener.bind_port() < 1024 {
            let words = format!(
                "on the node's network a proxy without privileges cannot bind {}: choose a bindPort of 1024 or more; the access \
                 point still has port {}",
                listener.bind_port(),
                listener.port
            );
            faults.invalid(path.key("bindPort"), words);
        }
    }
}

/// Labels by which we find pods, and annotations by which we know them, are not the user's to set.
fn check_pod_metadata(spec: &ProxyPoolSpec, faults: &mut Faults) {
    let ours = names::labels("");
    let reserved = |key: &str| key.starts_with(names::OUR_PREFIX) || ours.contains_key(key);
    for (field, map) in [
        ("podLabels", &spec.workload.pod_labels),
        ("podAnnotations", &spec.workload.pod_annotations),
    ] {
        let path = FieldPath::spec().key("workload").key(field);
        for key in map.keys().filter(|key| reserved(key)) {
            faults.invalid(path.key(key), format!("{key} is set by the operator: remove it"));
        }
    }
}

fn proxy_services(spec: &ProxyPoolSpec, faults: &mut Faults) -> Option<ProxyServices> {
    if spec.workload.kind != WorkloadKind::StatefulSet {
        return None;
    }
    let path = FieldPath::spec().key("directAddress");
    let mut load_balancer = false;
    let mut wanted = false;
    // Entries with a port of their own: the load balancer's, and the node's.
    let (mut outside, mut node_port) = (None, None);
    for (i, address) in spec.direct_address.iter().enumerate() {
        let DirectAddress {
            type_,
            port,
            networks: _,
            template: _,
        } = address;
        match type_ {
            DirectAddressType::LoadBalancer => load_balancer = true,
            DirectAddressType::NodePort => {}
            DirectAddressType::PodIP | DirectAddressType::NodeIP | DirectAddressType::Hostname => continue,
        }
        wanted = true;
        let Some(port) = port else { continue };
        if spec.listeners.len() > 1 {
            let words = "one port cannot stand for several listeners: remove port, or make the listeners' directPort what clients use";
            faults.invalid(path.index(i).key("port"), words);
        } else if *type_ == DirectAddressType::LoadBalancer {
            if outside.is_some_and(|other| other != *port) {
                let words =
                    "each proxy has one load balancer, with one port for the listener: make the ports equal";
                faults.invalid(path.index(i).key("port"), words);
            }
            outside = Some(*port);
        } else if spec.replicas > 1 {
            let words = "a node port is one proxy's alone: remove port, and the cluster chooses one for each";
            faults.invalid(path.index(i).key("port"), words);
        } else {
            node_port = Some(*port);
        }
    }
    let port = |listener: &Listener| {
        let target = listener.direct_port()?;
        Some(ProxyPort {
            name: listener.name.clone(),
            port: outside.unwrap_or(target),
            target,
            node_port,
        })
    };
    wanted.then(|| ProxyServices {
        load_balancer,
        ports: spec.listeners.iter().filter_map(port).collect(),
    })
}
