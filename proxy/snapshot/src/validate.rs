//! What a snapshot must hold beyond its types: in, a [`Snapshot`]; out, every entry that breaks a rule, by name.
//!
//! The compile step never writes such an entry; the proxy checks all the same, because a snapshot may come from an
//! older or newer writer, or from a copy on disk. A bad entry rejects itself only.

use std::collections::BTreeSet;
use std::fmt;

use crate::{Chain, Listener, Mode, ResourceId, Snapshot, Target};

/// One entry that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Which one.
    pub resource: ResourceId,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.resource, self.why)
    }
}

impl Snapshot {
    /// Takes out every entry that breaks a rule, and what hangs on it; says why for each.
    pub fn validate(mut self) -> (Self, Vec<Invalid>) {
        let mut invalid = Vec::new();
        let mut names = BTreeSet::new();
        self.listeners.retain(|listener| {
            let why = if names.insert(listener.name.clone()) {
                listener_fault(listener)
            } else {
                Some("the name is taken by another listener".to_owned())
            };
            keep(&mut invalid, || ResourceId::Listener(listener.name.clone()), why)
        });
        let listeners: BTreeSet<&str> = self.listeners.iter().map(|l| l.name.as_str()).collect();
        let mut ids = BTreeSet::new();
        let mut routes = BTreeSet::new();
        self.chains.retain(|chain| {
            let why = if !ids.insert(chain.id.clone()) {
                Some("stands here twice".to_owned())
            } else if listeners.contains(chain.listener.as_str()) {
                chain_fault(chain).or_else(|| route_fault(chain, &mut routes))
            } else {
                Some(format!("its listener {:?} is not there", chain.listener))
            };
            keep(&mut invalid, || ResourceId::Chain(chain.id.clone()), why)
        });
        (self, invalid)
    }
}

fn keep(invalid: &mut Vec<Invalid>, resource: impl Fn() -> ResourceId, why: Option<String>) -> bool {
    match why {
        None => true,
        Some(why) => {
            invalid.push(Invalid {
                resource: resource(),
                why,
            });
            false
        }
    }
}

fn listener_fault(listener: &Listener) -> Option<String> {
    if listener.port == 0 {
        return Some("port 0 cannot be bound by name".to_owned());
    }
    if listener
        .direct_port
        .is_some_and(|port| port == 0 || port == listener.port)
    {
        return Some("directPort must be a port of its own".to_owned());
    }
    if listener.max_connections == 0 {
        return Some("maxConnections is 0: nobody could connect".to_owned());
    }
    if listener.accept_proxy != crate::AcceptProxy::None && listener.trusted_sources.is_empty() {
        return Some("a PROXY header is accepted, but from no trusted source".to_owned());
    }
    None
}

fn chain_fault(chain: &Chain) -> Option<String> {
    if chain.backends.is_empty() {
        return Some("has no backends".to_owned());
    }
    let mut names = BTreeSet::new();
    for backend in &chain.backends {
        if !names.insert(backend.name.as_str()) {
            return Some(format!("has two backends named {:?}", backend.name));
        }
        if backend.weight == 0 {
            return Some(format!("backend {:?} has weight 0", backend.name));
        }
        let port_0 = match &backend.target {
            Target::Host { port, .. } => *port == 0,
            Target::Srv { .. } => false,
            Target::Endpoints { endpoints, .. } => endpoints.iter().any(|endpoint| endpoint.port() == 0),
        };
        if port_0 {
            return Some(format!("backend {:?} has port 0", backend.name));
        }
    }
    if let (Mode::Manual, Some(active)) = (chain.failover.mode, &chain.failover.active)
        && !names.contains(active.as_str())
    {
        return Some(format!("failover.active names {active:?}, which is no backend"));
    }
    let zero = [
        ("health.rise", chain.health.rise),
        ("health.fall", chain.health.fall),
        ("failover.minHealthy", chain.failover.min_healthy),
        ("failover.pace", chain.failover.pace),
        ("connect.attempts", chain.connect.attempts),
    ];
    if let Some((field, _)) = zero.iter().find(|(_, value)| *value == 0) {
        return Some(format!("{field} is 0"));
    }
    if chain.health.monitors.is_empty() {
        return Some("has no monitor".to_owned());
    }
    if chain.health.interval.is_zero() || chain.health.timeout.is_zero() || chain.connect.timeout.is_zero() {
        return Some("health.interval, health.timeout and connect.timeout must be above zero".to_owned());
    }
    if chain.resolution.min_ttl.is_zero() || chain.resolution.min_ttl > chain.resolution.max_ttl {
        return Some("resolution.minTTL must be above zero and at most maxTTL".to_owned());
    }
    None
}

/// The compile step settles conflicts by age; here the first entry wins.
fn route_fault(chain: &Chain, routes: &mut BTreeSet<(String, String)>) -> Option<String> {
    let default = [String::new()];
    let names = if chain.hostnames.is_empty() {
        &default[..]
    } else {
        &chain.hostnames
    };
    if let Some(name) = names
        .iter()
        .find(|name| routes.contains(&(chain.listener.clone(), (*name).clone())))
    {
        return Some(if name.is_empty() {
            format!("listener {:?} has a default chain already", chain.listener)
        } else {
            format!("the name {name:?} leads to another chain already")
        });
    }
    routes.extend(names.iter().map(|name| (chain.listener.clone(), name.clone())));
    None
}

#[cfg(test)]
mod tests;
