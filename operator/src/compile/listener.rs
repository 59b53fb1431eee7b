//! One listener of a pool: from the user's fields to what the proxy binds.

use switchyard_crds::proxypool::{Listener as Spec, ListenerProtocol, ListenerTls, ProxyProtocolIn, TlsMode};
use switchyard_snapshot::{AcceptProxy, HttpLimits, Listener, Protocol};

use super::faults::Faults;
use super::{FieldPath, Profile};

/// The listener, if this version can run it; `path` is where it stands.
pub fn compile(spec: &Spec, path: &FieldPath, profile: Profile, faults: &mut Faults<'_>) -> Option<Listener> {
    let Spec {
        name,
        port,
        addresses,
        bind_port: _,   // Spec::bind_port, and `ports`
        direct_port: _, // `ports`; nothing binds it until there are redirects
        protocol,
        tls,
        https_redirect,
        proxy_protocol,
        trusted_sources,
        allowed_sources,
        monitor_sources,
        idle_timeout,
        handshake_timeout,
        max_connections,
        forward: _, // `supported::NOT_BUILT_OF_POOLS`
    } = spec;
    let protocol = supported_protocol(*protocol, path, faults);
    supported_tls(tls.as_ref(), path, faults);
    if *https_redirect {
        faults.unsupported(path.key("httpsRedirect"));
    }
    let accept_proxy = match proxy_protocol {
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
        addresses: faults.parse_all(&path.key("addresses"), addresses, "IP address"),
        protocol: protocol.unwrap_or(Protocol::Tcp),
        accept_proxy,
        trusted_sources: networks(faults, "trustedSources", trusted_sources),
        allowed_sources: networks(faults, "allowedSources", allowed_sources),
        monitor_sources: networks(faults, "monitorSources", monitor_sources),
        idle_timeout: idle_timeout.get(),
        handshake_timeout: handshake_timeout.get(),
        max_connections: *max_connections,
        tls: None,
        https_redirect: None,
        http: HttpLimits::default(),
    };
    (!faults.concern(path)).then_some(listener)
}

fn supported_protocol(spec: ListenerProtocol, path: &FieldPath, faults: &mut Faults<'_>) -> Option<Protocol> {
    let name = match spec {
        ListenerProtocol::TCP => return Some(Protocol::Tcp),
        ListenerProtocol::TLS => return Some(Protocol::Tls),
        ListenerProtocol::Auto => return Some(Protocol::Auto),
        ListenerProtocol::HTTP => "HTTP",
        ListenerProtocol::HTTPS => "HTTPS",
        ListenerProtocol::SOCKS => "SOCKS",
        ListenerProtocol::HTTPProxy => "HTTPProxy",
    };
    faults.unsupported_value(path.key("protocol"), name);
    None
}

/// TLS is passed through or not looked at; nothing is terminated. Without a `tls` section there is no certificate to
/// terminate with: TLS is passed through.
fn supported_tls(tls: Option<&ListenerTls>, path: &FieldPath, faults: &mut Faults<'_>) {
    let path = path.key("tls");
    let Some(ListenerTls {
        mode,
        certificate_refs,
        min_version: _,
        alpn: _,
        client_ca_ref,
    }) = tls
    else {
        return;
    };
    match mode {
        TlsMode::Terminate => faults.unsupported_value(path.key("mode"), "Terminate"),
        TlsMode::Passthrough => {
            let opened = [
                ("certificateRefs", !certificate_refs.is_empty()),
                ("minVersion", faults.written(&path.key("minVersion"))),
                ("alpn", faults.written(&path.key("alpn"))),
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
    }
}
