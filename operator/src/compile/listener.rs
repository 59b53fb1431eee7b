//! One listener of a pool: from the user's fields to what the proxy binds.

use std::net::{IpAddr, Ipv4Addr};

use switchyard_crds::proxypool::{
    Http, Listener as Spec, ListenerProtocol, ListenerTls as TlsSpec, Percent, ProxyProtocolIn, TlsMode,
};
use switchyard_snapshot::{AcceptProxy, HttpLimits, Listener, ListenerTls, Protocol};

use super::faults::Faults;
use super::tls::{self, Vault};
use super::{FieldPath, Profile};

/// Where https is, if no listener says otherwise (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;

/// What a listener depends on besides its own fields.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Which of its ports is bound.
    pub profile: Profile,
    /// Secrets that it names.
    pub vault: Vault<'a>,
    /// Where the pool takes https.
    pub https_port: u16,
    /// How many of its clients may be guests.
    pub guests: Percent,
    /// It runs beside its only client, in somebody else's pod.
    pub sidecar: bool,
}

/// The listener, if this version can run it; `path` is where it stands.
pub fn compile(
    spec: &Spec,
    path: &FieldPath,
    surroundings: Surroundings<'_>,
    faults: &mut Faults<'_>,
) -> Option<Listener> {
    let Spec {
        name,
        port,
        addresses,
        bind_port: _,   // Spec::bind_port, and `ports`
        direct_port: _, // Spec::direct_port, and `ports`
        protocol,
        tls,
        https_redirect,
        http,
        proxy_protocol,
        trusted_sources,
        allowed_sources,
        monitor_sources,
        idle_timeout,
        handshake_timeout,
        max_connections,
        forward: _, // `supported::NOT_BUILT_OF_POOLS`
    } = spec;
    let Surroundings {
        profile,
        vault,
        https_port,
        guests,
        sidecar,
    } = surroundings;
    // Of a protocol that is not built nothing else is said: nobody knows yet what else it takes.
    let protocol = supported_protocol(*protocol, path, faults)?;
    if *https_redirect && protocol != Protocol::Http {
        let words =
            "only an HTTP listener can redirect to https: remove httpsRedirect, or set protocol to HTTP";
        faults.invalid(path.key("httpsRedirect"), words);
    }
    let accept_proxy = accepted(*proxy_protocol, trusted_sources, path, faults);
    let networks = |faults: &mut Faults<'_>, field: &str, texts: &[String]| {
        let networks: Vec<ipnet::IpNet> = faults.parse_all(
            &path.key(field),
            texts,
            "network: write one as 10.0.0.0/8 or 2001:db8::/32",
        );
        networks.iter().map(ipnet::IpNet::trunc).collect::<Vec<_>>()
    };
    let listener = Listener {
        name: name.clone(),
        port: match profile {
            Profile::Cluster => spec.bind_port(),
            Profile::Standalone => *port,
        },
        addresses: if sidecar {
            beside(spec, path, faults)
        } else {
            faults.parse_all(&path.key("addresses"), addresses, "IP address")
        },
        // nobody is ever sent to a sidecar
        direct_port: spec.direct_port().filter(|_| !sidecar),
        max_guests: if sidecar { 0 } else { guests.of(*max_connections) },
        protocol,
        accept_proxy,
        trusted_sources: networks(faults, "trustedSources", trusted_sources),
        allowed_sources: networks(faults, "allowedSources", allowed_sources),
        monitor_sources: networks(faults, "monitorSources", monitor_sources),
        idle_timeout: idle_timeout.get(),
        handshake_timeout: handshake_timeout.get(),
        max_connections: *max_connections,
        tls: terminated(tls.as_ref(), protocol, path, vault, faults),
        https_redirect: https_redirect.then_some(https_port),
        http: http_limits(http.as_ref(), protocol, path, faults),
    };
    (!faults.concern(path)).then_some(listener)
}

/// Where a sidecar listens: to its own pod, and to nobody else.
fn beside(spec: &Spec, path: &FieldPath, faults: &mut Faults<'_>) -> Vec<IpAddr> {
    if spec.bind_port() < 1024 {
        let words = format!(
            "a sidecar has no privilege by which it could bind {}: choose a bindPort of 1024 or more",
            spec.bind_port()
        );
        faults.invalid(path.key("bindPort"), words);
    }
    let path = path.key("addresses");
    let mut addresses: Vec<IpAddr> = faults.parse_all(&path, &spec.addresses, "IP address");
    if let Some(outside) = addresses.iter().find(|address| !address.is_loopback()) {
        let words = format!(
            "a sidecar listens to its own pod alone, and {outside} is reached by others: remove addresses, or name addresses of \
             127.0.0.0/8 or ::1"
        );
        faults.invalid(path, words);
    }
    if addresses.is_empty() {
        addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    addresses
}

/// Whether clients lead with a PROXY header.
fn accepted(
    spec: ProxyProtocolIn,
    trusted_sources: &[String],
    path: &FieldPath,
    faults: &mut Faults<'_>,
) -> AcceptProxy {
    let accept_proxy = match spec {
        ProxyProtocolIn::None => AcceptProxy::None,
        ProxyProtocolIn::Accept => AcceptProxy::Accept,
        ProxyProtocolIn::Require => AcceptProxy::Require,
    };
    if accept_proxy != AcceptProxy::None && trusted_sources.is_empty() {
        faults.invalid(
            path.key("trustedSources"),
            "must be given with proxyProtocol: name the networks whose headers count",
        );
    }
    accept_proxy
}

fn supported_protocol(spec: ListenerProtocol, path: &FieldPath, faults: &mut Faults<'_>) -> Option<Protocol> {
    let name = match spec {
        ListenerProtocol::TCP => return Some(Protocol::Tcp),
        ListenerProtocol::TLS => return Some(Protocol::Tls),
        ListenerProtocol::Auto => return Some(Protocol::Auto),
        ListenerProtocol::HTTP => return Some(Protocol::Http),
        ListenerProtocol::HTTPS => return Some(Protocol::Https),
        ListenerProtocol::SOCKS => "SOCKS",
        ListenerProtocol::HTTPProxy => "HTTPProxy",
    };
    faults.unsupported_value(path.key("protocol"), name);
    None
}

/// TLS that is to end here. Without a `tls` section there is no certificate to end it with: it is passed through.
fn terminated(
    tls: Option<&TlsSpec>,
    protocol: Protocol,
    path: &FieldPath,
    vault: Vault<'_>,
    faults: &mut Faults<'_>,
) -> Option<ListenerTls> {
    let takes_tls = matches!(protocol, Protocol::Tls | Protocol::Https | Protocol::Auto);
    let path = path.key("tls");
    let Some(spec) = tls else {
        if protocol == Protocol::Https {
            faults.invalid(
                path,
                "an HTTPS listener needs a certificate: add tls with certificateRefs",
            );
        }
        return None;
    };
    if !takes_tls {
        let words = "only TLS, HTTPS, Auto and HTTPProxy listeners take TLS: remove tls, or set protocol to one of them";
        faults.invalid(path, words);
        return None;
    }
    match spec.mode {
        TlsMode::Terminate => Some(tls::compile_listener(spec, protocol, &path, vault, faults)),
        TlsMode::Passthrough => {
            if protocol == Protocol::Https {
                let words = "an HTTPS or HTTPProxy listener reads requests: set tls.mode to Terminate, or protocol to TLS";
                faults.invalid(path.key("mode"), words);
            }
            passed_through(spec, &path, faults);
            None
        }
    }
}

fn passed_through(spec: &TlsSpec, path: &FieldPath, faults: &mut Faults<'_>) {
    let TlsSpec {
        mode: _,
        certificate_refs,
        min_version: _,
        alpn,
        client_ca_ref,
    } = spec;
    let opened = [
        ("certificateRefs", !certificate_refs.is_empty()),
        ("minVersion", faults.written(&path.key("minVersion"))),
        ("alpn", alpn.is_some()),
        ("clientCARef", client_ca_ref.is_some()),
    ];
    for (field, given) in opened {
        if given {
            faults.invalid(
                path.key(field),
                "has no meaning with mode Passthrough, which does not open TLS",
            );
        }
    }
}

fn http_limits(
    http: Option<&Http>,
    protocol: Protocol,
    path: &FieldPath,
    faults: &mut Faults<'_>,
) -> HttpLimits {
    let Some(Http {
        max_head_bytes,
        max_body_bytes,
    }) = http
    else {
        return HttpLimits::default();
    };
    if matches!(protocol, Protocol::Tcp | Protocol::Tls) {
        let words = "only HTTP, HTTPS, Auto and HTTPProxy listeners read requests: remove http, or set protocol to one of them";
        faults.invalid(path.key("http"), words);
    }
    HttpLimits {
        max_head_bytes: *max_head_bytes,
        max_body_bytes: *max_body_bytes,
    }
}

/// Where `httpsRedirect` sends clients: the port that they know of the first listener at which a request in TLS is read.
pub fn https_port(listeners: &[Spec]) -> u16 {
    let reads = |listener: &&Spec| {
        let terminates = listener
            .tls
            .as_ref()
            .is_some_and(|tls| tls.mode == TlsMode::Terminate);
        match listener.protocol {
            ListenerProtocol::HTTPS => true,
            ListenerProtocol::Auto => terminates,
            _ => false,
        }
    };
    listeners
        .iter()
        .find(reads)
        .map_or(HTTPS_PORT, |listener| listener.port)
}
