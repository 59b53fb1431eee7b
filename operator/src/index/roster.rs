//! The proxies of pools, as other proxies and clients reach them. In: pods, what pools say of direct addresses, the Services of
//! single proxies. Out: for each pool its proxies, sorted by name.

use std::collections::BTreeMap;

use switchyard_crds::ProxyPoolSpec;
use switchyard_crds::proxypool::{DirectAddressType, WorkloadKind};
use switchyard_snapshot::{ChainId, ListedAddress, PeerProxy, PoolId};

use crate::endpoints::{Outside, ServiceId, Services};
use crate::pods::Place;

/// The pods of pools that have an address and are not about to end.
#[derive(Debug, Default)]
pub struct Roster {
    places: BTreeMap<PoolId, BTreeMap<String, Place>>,
    /// The chains that each serves by its own report, sorted.
    serving: BTreeMap<PoolId, BTreeMap<String, Vec<ChainId>>>,
}

impl Roster {
    /// A pod of the pool runs there; none: nowhere. True: the pool's proxies are others than before. Who was ready there once stays
    /// so: what leads to it has not been taken away since.
    pub fn set(&mut self, pool: &PoolId, name: &str, place: Option<Place>) -> bool {
        let Some(mut place) = place else {
            let Some(proxies) = self.places.get_mut(pool) else {
                return false;
            };
            let gone = proxies.remove(name).is_some();
            if proxies.is_empty() {
                self.places.remove(pool);
            }
            return gone;
        };
        let proxies = self.places.entry(pool.clone()).or_default();
        let known = proxies.get(name);
        place.ready |= known.is_some_and(|known| known.ready && known.ip == place.ip);
        if proxies.get(name) == Some(&place) {
            return false;
        }
        proxies.insert(name.to_owned(), place);
        true
    }

    /// Whether a pod of this name is among them.
    pub fn has(&self, pool: &PoolId, name: &str) -> bool {
        let proxies = self.places.get(pool);
        proxies.is_some_and(|proxies| proxies.contains_key(name))
    }

    /// A proxy says that it serves these chains; none: nothing is known of it any more.
    pub fn serves(&mut self, pool: &PoolId, name: &str, chains: Option<Vec<ChainId>>) {
        let proxies = self.serving.entry(pool.clone()).or_default();
        match chains {
            Some(chains) => drop(proxies.insert(name.to_owned(), chains)),
            None => drop(proxies.remove(name)),
        }
        if proxies.is_empty() {
            self.serving.remove(pool);
        }
    }

    /// The pool's proxies, with those of their addresses that only we know. Sidecars are nobody's peers.
    pub fn proxies(&self, id: &PoolId, spec: &ProxyPoolSpec, services: &Services) -> Vec<PeerProxy> {
        if spec.workload.kind == WorkloadKind::Sidecar {
            return Vec::new();
        }
        let proxies = self.places.get(id).into_iter().flatten();
        let serving = self.serving.get(id);
        let proxy = |(name, place): (&String, &Place)| {
            let service = services.outside(&ServiceId {
                namespace: id.namespace.clone(),
                name: name.clone(),
            });
            let service = service.filter(|service| service.pool == id.name);
            PeerProxy {
                name: name.clone(),
                ip: place.ip,
                node: place.node.clone(),
                listed: listed(spec, place, service),
                serves: serving.and_then(|serving| serving.get(name)).cloned(),
            }
        };
        proxies.map(proxy).collect()
    }
}

/// Whether guests reach the pool's proxies through Services of their own.
pub fn asks_services(spec: &ProxyPoolSpec) -> bool {
    let of_services = |type_| {
        matches!(
            type_,
            DirectAddressType::LoadBalancer | DirectAddressType::NodePort
        )
    };
    spec.workload.kind == WorkloadKind::StatefulSet
        && spec
            .direct_address
            .iter()
            .any(|address| of_services(address.type_))
}

/// One for each of the pool's addresses that cannot be told from the pod's address and name, in their order.
///
/// Services lead to a pod some time after it has its address, and pods are called ready here later than that (`supply::fresh`).
fn listed(spec: &ProxyPoolSpec, place: &Place, service: Option<&Outside>) -> Vec<Option<ListedAddress>> {
    let service = service.filter(|_| place.ready);
    let node = || place.node_ip.map(|ip| ip.to_string());
    let address = |type_: DirectAddressType| {
        Some(match type_ {
            DirectAddressType::PodIP | DirectAddressType::Hostname => return None,
            DirectAddressType::NodeIP => node().map(|host| ListedAddress {
                host,
                ports: Vec::new(),
            }),
            DirectAddressType::LoadBalancer => service
                .and_then(|service| Some((service, service.ingress.clone()?)))
                .and_then(|(service, host)| of_service(spec, host, service, |port| Some(port.port))),
            // the node of the pod itself: no other node hands anything on
            DirectAddressType::NodePort => service
                .and_then(|service| Some((service, node()?)))
                .and_then(|(service, host)| of_service(spec, host, service, |port| port.node_port)),
        })
    };
    let addresses = spec.direct_address.iter();
    addresses.filter_map(|it| address(it.type_)).collect()
}

/// None: the Service lacks a port for one of the listeners, so it is not as it shall be (yet).
fn of_service(
    spec: &ProxyPoolSpec,
    host: String,
    service: &Outside,
    number: impl Fn(&crate::endpoints::OutsidePort) -> Option<u16>,
) -> Option<ListedAddress> {
    let mut ports = Vec::new();
    for listener in &spec.listeners {
        let Some(direct) = listener.direct_port() else {
            continue;
        };
        let port = service.ports.iter().find(|port| port.name == listener.name)?;
        let port = number(port)?;
        if port != direct {
            ports.push((listener.name.clone(), port));
        }
    }
    ports.sort();
    Some(ListedAddress { host, ports })
}

#[cfg(test)]
mod tests;
