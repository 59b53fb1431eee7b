//! Where a chain leads: backends, how their names are resolved, how connections are made.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use switchyard_crds::Reason;
use switchyard_crds::proxychain::{
    AddressFamilies, Backend as Spec, BackendProtocol, BackendTarget, Connect as ConnectSpec,
    ProxyProtocolOut, Resolution as ResolutionSpec, ServiceRef, WithoutAnswer,
};
use switchyard_snapshot::{
    Backend, Connect, Families, HttpVersion, OnMissing, Resolution, SendProxy, Target,
};

use super::FieldPath;
use super::faults::Faults;
use super::tls::{self, Vault};
use crate::endpoints::{NoEndpoints, ServiceId, Services};

/// Where DNS is asked when a name server is given without a port.
const DNS_PORT: u16 = 53;

/// Where a chain's Services and Secrets are looked up.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// Of the chain.
    pub namespace: &'a str,
    /// None: there is no cluster.
    pub services: Option<&'a Services>,
    /// Secrets that TLS needs.
    pub vault: Vault<'a>,
}

impl Lookup<'_> {
    /// A Service that is not there, or has no such port, has no endpoints until it is or has: the other backends serve.
    fn target(self, spec: &ServiceRef, path: &FieldPath, faults: &mut Faults<'_>) -> Option<Target> {
        let Some(services) = self.services else {
            faults.unsupported(path.clone());
            return None;
        };
        let id = ServiceId {
            namespace: self.namespace.to_owned(),
            name: spec.name.clone(),
        };
        let endpoints = services.endpoints(&id, spec.port).unwrap_or_else(|why| {
            let (field, words) = match why {
                NoEndpoints::Missing => (
                    "name",
                    format!("there is no Service {} in namespace {}", spec.name, self.namespace),
                ),
                NoEndpoints::NoSuchPort(ports) => {
                    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                    let words = format!(
                        "Service {} has no TCP port {}; it has: {}",
                        spec.name,
                        spec.port,
                        ports.join(", ")
                    );
                    ("port", words)
                }
                NoEndpoints::External(name) => (
                    "name",
                    format!(
                        "Service {} has type ExternalName and no endpoints: give the backend host {name} instead",
                        spec.name
                    ),
                ),
            };
            faults.unresolved(path.key(field), Reason::BackendNotFound, words);
            Vec::new()
        });
        Some(Target::Endpoints {
            service: spec.name.clone(),
            port: spec.port,
            endpoints,
        })
    }
}

/// `path` is where the list stands.
pub fn compile_all(
    specs: &[Spec],
    path: &FieldPath,
    lookup: Lookup<'_>,
    faults: &mut Faults<'_>,
) -> Vec<Backend> {
    if specs.is_empty() {
        faults.invalid(path.clone(), "a chain needs a backend");
    } else if specs.iter().all(|spec| spec.tier != 0) {
        faults.invalid(path.clone(), "no backend has tier 0, the primary tier");
    }
    let mut names = BTreeSet::new();
    let mut compiled = Vec::with_capacity(specs.len());
    for (i, spec) in specs.iter().enumerate() {
        let path = path.index(i);
        if !names.insert(spec.name.as_str()) {
            faults.invalid(
                path.key("name"),
                format!("another backend of this chain is named {:?}", spec.name),
            );
        }
        compiled.extend(compile(spec, &path, lookup, faults));
    }
    compiled
}

fn compile(spec: &Spec, path: &FieldPath, lookup: Lookup<'_>, faults: &mut Faults<'_>) -> Option<Backend> {
    let Spec {
        name,
        // the target, together
        host: _,
        port: _,
        srv: _,
        service: _,
        dial_in: _,
        tier,
        weight,
        protocol,
        max_connections,
        tls,
        proxy_protocol,
    } = spec;
    let target = match spec.target() {
        Some(BackendTarget::Host { host, port }) => Target::Host {
            host: host.to_owned(),
            port,
        },
        Some(BackendTarget::Srv(name)) => Target::Srv {
            name: name.to_owned(),
        },
        Some(BackendTarget::Service(service)) => lookup.target(service, &path.key("service"), faults)?,
        // `supported::NOT_BUILT_OF_CHAINS`
        Some(BackendTarget::DialIn(_)) => return None,
        None => {
            faults.invalid(
                path.clone(),
                "must have exactly one of host with port, srv, service and dialIn",
            );
            return None;
        }
    };
    let tls = tls.as_ref().map(|tls| {
        let host = spec.host.as_deref();
        tls::compile_backend(tls, host, &path.key("tls"), lookup.vault, faults)
    });
    Some(Backend {
        name: name.clone(),
        target: match tls {
            Some(None) => nowhere(target),
            _ => target,
        },
        tier: *tier,
        weight: *weight,
        max_connections: *max_connections,
        send_proxy: match proxy_protocol {
            ProxyProtocolOut::None => SendProxy::None,
            ProxyProtocolOut::V1 => SendProxy::V1,
            ProxyProtocolOut::V2 => SendProxy::V2,
        },
        http: match protocol {
            BackendProtocol::HTTP1 => HttpVersion::Http1,
            BackendProtocol::HTTP2 => HttpVersion::Http2,
        },
        tls: tls.flatten(),
    })
}

/// The backend stands in its place, by its name, but leads nowhere: what must be verified cannot be.
fn nowhere(target: Target) -> Target {
    let (service, port) = match target {
        Target::Host { host, port } => (host, port),
        Target::Srv { name } => (name, 0),
        Target::Endpoints { service, port, .. } => (service, port),
    };
    Target::Endpoints {
        service,
        port,
        endpoints: Vec::new(),
    }
}

/// `path` is where the resolution section stands.
pub fn compile_resolution(spec: &ResolutionSpec, path: &FieldPath, faults: &mut Faults<'_>) -> Resolution {
    let ResolutionSpec {
        min_ttl,
        max_ttl,
        missing_for,
        stale_for,
        on_nxdomain,
        on_empty,
        nameservers,
        families,
    } = spec;
    if min_ttl.is_zero() {
        faults.invalid(
            path.key("minTTL"),
            "must be above zero: each name would be asked for without a pause",
        );
    }
    if min_ttl > max_ttl {
        faults.invalid(path.key("minTTL"), format!("must be at most maxTTL, {max_ttl}"));
    }
    let path = path.key("nameservers");
    let each = |(i, text): (usize, &String)| {
        let address = text
            .parse()
            .or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)));
        if address.is_err() {
            faults.invalid(
                path.index(i),
                format!("{text:?} is no address: write ip or ip:port, as 10.0.0.2 or [2001:db8::2]:53"),
            );
        }
        address.ok()
    };
    Resolution {
        nameservers: nameservers.iter().enumerate().filter_map(each).collect(),
        min_ttl: min_ttl.get(),
        max_ttl: max_ttl.get(),
        missing_for: missing_for.get(),
        stale_for: stale_for.get(),
        on_nxdomain: on_missing(*on_nxdomain),
        on_empty: on_missing(*on_empty),
        families: match families {
            AddressFamilies::Any => Families::Any,
            AddressFamilies::IPv4 => Families::V4,
            AddressFamilies::IPv6 => Families::V6,
            AddressFamilies::PreferIPv4 => Families::PreferV4,
            AddressFamilies::PreferIPv6 => Families::PreferV6,
        },
    }
}

fn on_missing(spec: WithoutAnswer) -> OnMissing {
    match spec {
        WithoutAnswer::Stale => OnMissing::Stale,
        WithoutAnswer::Remove => OnMissing::Remove,
    }
}

/// `path` is where the connect section stands.
pub fn compile_connect(spec: &ConnectSpec, path: &FieldPath, faults: &mut Faults<'_>) -> Connect {
    let ConnectSpec {
        timeout,
        attempts,
        happy_eyeballs_delay,
    } = spec;
    if timeout.is_zero() {
        faults.invalid(path.key("timeout"), "must be above zero");
    }
    Connect {
        timeout: timeout.get(),
        attempts: *attempts,
        happy_eyeballs_delay: happy_eyeballs_delay.get(),
    }
}
