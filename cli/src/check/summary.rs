//! What `check` says: one line per object, or how many mistakes there are.

use std::collections::BTreeSet;

use jiff::Timestamp;
use switchyard_operator::secrets::{About, Known, SecretId, about};
use switchyard_snapshot::{
    Backend, Certificate, Chain, HttpVersion, Listener, ListenerTls, Protocol, Snapshot, Target, TlsVersion,
};

use super::Loaded;
use crate::manifest::Mistake;

/// Pools in the order of the files, each with its chains, then the Secrets.
pub fn lines(loaded: &Loaded) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, replicas) in loaded.pools() {
        let Snapshot {
            listeners, chains, ..
        } = loaded.snapshot(&key);
        let bound: Vec<String> = listeners.iter().map(listener_words).collect();
        let proxies = counted(replicas as usize, "proxy", "proxies");
        lines.push(format!("ProxyPool {key}: {proxies}; {}", bound.join(", ")));
        lines.extend(chains.iter().map(chain_words));
    }
    for (SecretId { namespace, name }, known) in loaded.secrets().iter() {
        let Known::There(secret) = known else { continue };
        lines.push(format!(
            "Secret {namespace}/{name}: {}",
            counted(secret.data().len(), "key", "keys")
        ));
    }
    lines
}

fn listener_words(listener: &Listener) -> String {
    let Listener {
        name,
        port,
        addresses,
        protocol,
        tls,
        https_redirect,
        ..
    } = listener;
    let protocol = match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Tls => "TLS",
        Protocol::Http => "HTTP",
        Protocol::Https => "HTTPS",
        Protocol::Auto => "Auto",
    };
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let at = if addresses.is_empty() {
        String::new()
    } else {
        format!(" at {}", addresses.join(", "))
    };
    let tls = tls.as_ref().map(tls_words).unwrap_or_default();
    let redirect = https_redirect.map_or_else(String::new, |port| {
        format!("; sends clients to https at port {port}")
    });
    format!("{name} on port {port}{at} ({protocol}{tls}{redirect})")
}

/// As `; TLS 1.2 or later as shop.example until 2035-01-31 (Secret shop-tls); …`.
fn tls_words(tls: &ListenerTls) -> String {
    let oldest = match tls.min_version {
        TlsVersion::V1_2 => "TLS 1.2 or later",
        TlsVersion::V1_3 => "TLS 1.3",
    };
    let certificates: Vec<String> = tls.certificates.iter().map(certificate_words).collect();
    let clients = match &tls.client_ca {
        Some(_) => "; clients must show a certificate",
        None => "",
    };
    format!("; {oldest} as {}{clients}", certificates.join(", "))
}

fn certificate_words(certificate: &Certificate) -> String {
    let Some(About { names, until, .. }) = about(&certificate.chain) else {
        return format!("Secret {}", certificate.name);
    };
    format!(
        "{} until {} (Secret {})",
        names.join(" "),
        until.strftime("%Y-%m-%d"),
        certificate.name
    )
}

/// Certificates that no client accepts now, whether they are shown to clients or to backends.
pub fn out_of_date(loaded: &Loaded, now: Timestamp) -> Vec<String> {
    let mut notes = BTreeSet::new();
    for (key, _) in loaded.pools() {
        let Snapshot {
            listeners, chains, ..
        } = loaded.snapshot(&key);
        let shown = listeners
            .iter()
            .filter_map(|listener| listener.tls.as_ref())
            .flat_map(|tls| &tls.certificates);
        let backends = chains.iter().flat_map(|chain| &chain.backends);
        let sent = backends.filter_map(|backend| backend.tls.as_ref()?.certificate.as_ref());
        for certificate in shown.chain(sent) {
            let Some(About { from, until, .. }) = about(&certificate.chain) else {
                continue;
            };
            let words = if until < now {
                format!("expired at {until}: renew it")
            } else if from > now {
                format!("is not valid before {from}")
            } else {
                continue;
            };
            notes.insert(format!(
                "Secret {}/{}: its certificate {words}",
                key.namespace, certificate.name
            ));
        }
    }
    notes.into_iter().collect()
}

fn chain_words(chain: &Chain) -> String {
    let names = if chain.hostnames.is_empty() {
        "everyone else".to_owned()
    } else {
        chain.hostnames.join(", ")
    };
    let backends: Vec<String> = chain.backends.iter().map(backend_words).collect();
    let suspended = if chain.suspend { "; suspended" } else { "" };
    format!(
        "ProxyChain {}: {names} at {} -> {}{suspended}",
        chain.id,
        chain.listener,
        backends.join(", ")
    )
}

fn backend_words(backend: &Backend) -> String {
    let target = match &backend.target {
        Target::Host { host, port } if host.contains(':') => format!("[{host}]:{port}"),
        Target::Host { host, port } => format!("{host}:{port}"),
        Target::Srv { name } => format!("SRV {name}"),
        Target::Endpoints { service, port, .. } => format!("Service {service}:{port}"),
    };
    let protocol = match backend.http {
        HttpVersion::Http1 => "",
        HttpVersion::Http2 => ", HTTP/2",
    };
    let tls = match &backend.tls {
        Some(tls) => format!(", TLS as {}", tls.server_name),
        None => String::new(),
    };
    format!(
        "{} (tier {}, {target}{protocol}{tls})",
        backend.name, backend.tier
    )
}

/// How many mistakes in how many files.
pub fn count(mistakes: &[Mistake]) -> String {
    let files: BTreeSet<&str> = mistakes.iter().map(|mistake| mistake.file.as_str()).collect();
    let mistakes = counted(mistakes.len(), "mistake", "mistakes");
    format!(
        "{mistakes} in {}; nothing was changed.",
        counted(files.len(), "file", "files")
    )
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
