//! Services and who stands behind them. In: Services and `EndpointSlice`s as the API server has them. Out: for a Service and one
//! of its ports, the addresses that take connections; for the Service of a single proxy, how clients outside reach it.
//!
//! Kept small on purpose: every Service and slice of the watched namespaces is held, whether or not a chain names it (yet).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service as K8sService, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::pods::POOL_LABEL;

/// The label by which a slice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Which Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service {}/{}", self.namespace, self.name)
    }
}

/// What matters of a Service object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Its TCP ports: number to name, which is how slices call them; the empty name for the only port of a Service.
    ports: BTreeMap<u16, String>,
    /// `ExternalName`: a DNS name in disguise, without endpoints.
    external_name: Option<String>,
    /// Of the Service of a single proxy.
    outside: Option<Box<Outside>>,
}

/// How clients outside reach the one proxy behind a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Name of the pool that its label names.
    pub pool: String,
    /// The load balancer's address or name, once it has one.
    pub ingress: Option<String>,
    /// Its TCP ports.
    pub ports: Vec<OutsidePort>,
}

/// A port of such a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsidePort {
    /// The listener's name.
    pub name: String,
    /// At the load balancer.
    pub port: u16,
    /// At the node.
    pub node_port: Option<u16>,
}

impl Outside {
    /// None: it is no Service of a pool, or nobody reaches it from outside.
    fn of(service: &K8sService) -> Option<Self> {
        let pool = service.metadata.labels.as_ref()?.get(POOL_LABEL)?.clone();
        let spec = service.spec.as_ref()?;
        if !matches!(spec.type_.as_deref(), Some("LoadBalancer" | "NodePort")) {
            return None;
        }
        let balancer = service
            .status
            .as_ref()
            .and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref()?.first());
        let number = |number: i32| u16::try_from(number).ok();
        let ports = spec.ports.iter().flatten();
        let port = |port: &ServicePort| {
            Some(OutsidePort {
                name: port.name.clone().unwrap_or_default(),
                port: number(port.port)?,
                node_port: port.node_port.and_then(number),
            })
        };
        Some(Self {
            pool,
            ingress: ingress.and_then(|ingress| ingress.ip.clone().or_else(|| ingress.hostname.clone())),
            ports: ports.filter_map(port).collect(),
        })
    }
}

impl Definition {
    /// Of the object.
    pub fn of(service: &K8sService) -> Self {
        let Some(spec) = &service.spec else {
            return Self::default();
        };
        let ports = spec.ports.iter().flatten();
        let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
        Self {
            outside: Outside::of(service).map(Box::new),
            ports: tcp
                .filter_map(|port| {
                    Some((
                        u16::try_from(port.port).ok()?,
                        port.name.clone().unwrap_or_default(),
                    ))
                })
                .collect(),
            external_name: spec
                .external_name
                .clone()
                .filter(|_| spec.type_.as_deref() == Some("ExternalName")),
        }
    }
}

/// What matters of one slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Name to number.
    ports: BTreeMap<String, u16>,
    ready: Vec<IpAddr>,
    /// On their way out, and serving until then.
    leaving: Vec<IpAddr>,
}

impl Slice {
    /// Which Service the slice belongs to, and what is in it; none: it belongs to none, or does not hold IP addresses.
    pub fn of(slice: &EndpointSlice) -> Option<(ServiceId, Self)> {
        let metadata = &slice.metadata;
        let service = ServiceId {
            namespace: metadata.namespace.clone()?,
            name: metadata.labels.as_ref()?.get(SERVICE_NAME)?.clone(),
        };
        let mut found = Self::default();
        let tcp = slice.ports.iter().flatten();
        let tcp = tcp.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
        for port in tcp {
            if let Some(number) = port.port.and_then(|number| u16::try_from(number).ok()) {
                found.ports.insert(port.name.clone().unwrap_or_default(), number);
            }
        }
        for endpoint in slice.endpoints.iter().flatten() {
            // All addresses of an endpoint are the same pod's, and consumers use the first (API reference of EndpointSlice).
            let Some(address) = endpoint.addresses.first().and_then(|text| text.parse().ok()) else {
                continue;
            };
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            // Absent, ready and serving mean yes and terminating no (API reference of EndpointConditions).
            let terminating = conditions.terminating.unwrap_or(false);
            if conditions.ready.unwrap_or(true) {
                found.ready.push(address);
            } else if terminating && conditions.serving.unwrap_or(true) {
                found.leaving.push(address);
            }
        }
        found.ready.sort_unstable();
        found.leaving.sort_unstable();
        Some((service, found))
    }
}

/// A Service and its slices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// None: there are slices of a Service that is not there (yet).
    definition: Option<Definition>,
    /// By name.
    slices: BTreeMap<String, Slice>,
}

/// Why a Service has no endpoints for a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEndpoints {
    /// There is no such Service.
    Missing,
    /// It has no such TCP port; it has these.
    NoSuchPort(Vec<u16>),
    /// It stands for this DNS name.
    External(String),
}

impl Service {
    /// Who takes connections to this port of the Service: whoever is ready; if nobody is, whoever is on its way out but still
    /// serves (as kube-proxy does, KEP-1669). Sorted, without repeats.
    ///
    /// # Errors
    /// Why nobody ever will, as things are.
    pub fn endpoints(&self, port: u16) -> Result<Vec<SocketAddr>, NoEndpoints> {
        let definition = self.definition.as_ref().ok_or(NoEndpoints::Missing)?;
        if let Some(name) = &definition.external_name {
            return Err(NoEndpoints::External(name.clone()));
        }
        let Some(name) = definition.ports.get(&port) else {
            return Err(NoEndpoints::NoSuchPort(
                definition.ports.keys().copied().collect(),
            ));
        };
        let of = |addresses: fn(&Slice) -> &Vec<IpAddr>| -> BTreeSet<SocketAddr> {
            let slices = self
                .slices
                .values()
                .filter_map(|slice| Some((slice, *slice.ports.get(name)?)));
            slices
                .flat_map(|(slice, port)| {
                    addresses(slice)
                        .iter()
                        .map(move |address| SocketAddr::new(*address, port))
                })
                .collect()
        };
        let mut found = of(|slice| &slice.ready);
        if found.is_empty() {
            found = of(|slice| &slice.leaving);
        }
        Ok(found.into_iter().collect())
    }

    fn is_nothing(&self) -> bool {
        self.definition.is_none() && self.slices.is_empty()
    }
}

/// Every Service that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services(BTreeMap<ServiceId, Arc<Service>>);

impl Services {
    /// The endpoints of a Service.
    ///
    /// # Errors
    /// Why it has none.
    pub fn endpoints(&self, id: &ServiceId, port: u16) -> Result<Vec<SocketAddr>, NoEndpoints> {
        self.0.get(id).ok_or(NoEndpoints::Missing)?.endpoints(port)
    }

    /// How clients outside reach the one proxy behind a Service, if it is one.
    pub fn outside(&self, id: &ServiceId) -> Option<&Outside> {
        self.0.get(id)?.definition.as_ref()?.outside.as_deref()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Only these, shared.
    #[must_use]
    pub fn only<'a>(&self, ids: impl Iterator<Item = &'a ServiceId>) -> Self {
        let found = ids.filter_map(|id| Some((id.clone(), Arc::clone(self.0.get(id)?))));
        Self(found.collect())
    }

    /// A Service as it is now; none: it is gone. True: something changed.
    pub fn define(&mut self, id: &ServiceId, definition: Option<Definition>) -> bool {
        self.change(id, |service| {
            let changed = service.definition != definition;
            service.definition = definition;
            changed
        })
    }

    /// A slice of a Service as it is now; none: it is gone. True: something changed.
    pub fn slice(&mut self, id: &ServiceId, name: &str, slice: Option<Slice>) -> bool {
        self.change(id, |service| {
            if service.slices.get(name) == slice.as_ref() {
                return false;
            }
            match slice {
                Some(slice) => service.slices.insert(name.to_owned(), slice),
                None => service.slices.remove(name),
            };
            true
        })
    }

    fn change(&mut self, id: &ServiceId, change: impl FnOnce(&mut Service) -> bool) -> bool {
        let service = self.0.entry(id.clone()).or_default();
        let changed = change(Arc::make_mut(service));
        if service.is_nothing() {
            self.0.remove(id);
        }
        changed
    }
}

#[cfg(test)]
mod tests;
