//! How containers learn where a chain is. Pure. In: a Sidecar pool with its chains. Out: for each chain three variables.
//!
//! | variable | value |
//! | --- | --- |
//! | `SWITCHYARD_`*CHAIN*`_HOST` | `127.0.0.1`, or the first of the listener's `addresses` |
//! | `SWITCHYARD_`*CHAIN*`_PORT` | the listener's `bindPort` |
//! | `SWITCHYARD_`*CHAIN*`_ADDRESS` | both, as `HOST:PORT` |
//!
//! *CHAIN* is the chain's name in capitals; what is neither letter nor digit becomes `_`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use switchyard_crds::ProxyChain;
use switchyard_crds::proxypool::Listener;

use crate::sidecar::Sidecar;

/// Chains that are told; a pod of hundreds of variables is of no use to anybody.
const TOLD: usize = 100;

/// A variable: name and value.
pub type Variable = (String, String);

/// What containers are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// By chain, the oldest first.
    pub variables: Vec<Variable>,
    /// What could not be told.
    pub warnings: Vec<String>,
}

/// The variables of a pool.
pub fn of(sidecar: &Sidecar) -> Environment {
    let mut environment = Environment::default();
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for chain in &sidecar.chains {
        let name = chain.metadata.name.as_deref().unwrap_or_default();
        let Some(address) = listener(sidecar, chain).and_then(address) else {
            continue; // its status says that it hangs on no listener
        };
        let prefix = prefix(name);
        if let Some(older) = taken.get(&prefix) {
            let words = format!("chain {name} has the variables of the older chain {older}: rename it");
            environment.warnings.push(words);
            continue;
        }
        if taken.len() == TOLD {
            let words = format!("only the oldest {TOLD} chains of the pool are told by variables");
            environment.warnings.push(words);
            break;
        }
        environment.variables.extend([
            (format!("{prefix}_HOST"), address.ip().to_string()),
            (format!("{prefix}_PORT"), address.port().to_string()),
            (format!("{prefix}_ADDRESS"), address.to_string()),
        ]);
        taken.insert(prefix, name);
    }
    environment
}

/// The listener that a chain hangs on.
fn listener<'a>(sidecar: &'a Sidecar, chain: &ProxyChain) -> Option<&'a Listener> {
    let listeners = &sidecar.pool.spec.listeners;
    match chain.spec.pool_ref.as_ref()?.listener.as_ref() {
        Some(name) => listeners.iter().find(|listener| listener.name == *name),
        None if listeners.len() == 1 => listeners.first(),
        None => None,
    }
}

/// Where the containers of the pod find a listener.
fn address(listener: &Listener) -> Option<SocketAddr> {
    let ip = match listener.addresses.first() {
        Some(text) => text.parse().ok()?,
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Some(SocketAddr::new(ip, listener.bind_port()))
}

fn prefix(chain: &str) -> String {
    let letter = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    let name: String = chain.chars().map(letter).collect();
    format!("SWITCHYARD_{name}")
}
