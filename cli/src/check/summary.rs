//! What `check` says: one line per object, or how many mistakes there are.

use std::collections::BTreeSet;

use switchyard_snapshot::{Backend, Chain, Listener, Protocol, Snapshot, Target};

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
    for ((namespace, name), secret) in loaded.secrets() {
        lines.push(format!(
            "Secret {namespace}/{name}: {}",
            counted(secret.data.len(), "key", "keys")
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
    format!("{name} on port {port}{at} ({protocol})")
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
    format!("{} (tier {}, {target})", backend.name, backend.tier)
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
