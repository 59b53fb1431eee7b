//! Which chain a connection belongs to. In: a [`Snapshot`] and the handles of its chains. Out: a [`Routing`], an
//! immutable value that every data worker holds: per listener, the chain by name (exact before longest wildcard), or
//! the listener's default chain.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use switchyard_snapshot::{Affinity, ChainId, Listener, Snapshot};

use crate::chain::handle::ChainHandle;
use crate::tls;

/// Everything that data workers are told.
#[derive(Debug, Default)]
pub struct Routing {
    /// In the order of the snapshot; names are unique.
    pub listeners: Vec<ListenerRoute>,
    /// Source addresses for connections to backends; none: the kernel chooses.
    pub snat: Vec<IpAddr>,
    /// Which client stays with which endpoint; none: no affinity.
    pub affinity: Option<Affinity>,
}

impl Routing {
    /// What `snapshot` says, with a running chain behind each name. A chain without a handle is left out, so its
    /// names lead nowhere (it fails closed). `tls` has prepared it.
    pub(crate) fn new(
        snapshot: &Snapshot,
        handles: &HashMap<ChainId, Arc<ChainHandle>>,
        tls: &tls::Keeper,
    ) -> Self {
        let listeners = snapshot.listeners.iter().map(|listener| {
            let mut route = ListenerRoute::new(Arc::new(listener.clone()));
            route.tls = tls.server(&listener.name);
            for chain in snapshot
                .chains
                .iter()
                .filter(|chain| chain.listener == listener.name)
            {
                if let Some(handle) = handles.get(&chain.id) {
                    route.add(Arc::clone(handle), &chain.hostnames);
                }
            }
            route
        });
        Self {
            listeners: listeners.collect(),
            snat: snapshot.pool.snat.clone(),
            affinity: snapshot.pool.affinity.clone(),
        }
    }
}

/// One listener and the chains behind it.
#[derive(Debug)]
pub struct ListenerRoute {
    /// What to bind and whom to let in.
    pub listener: Arc<Listener>,
    /// Every chain that a connection here may belong to.
    pub chains: Vec<Arc<ChainHandle>>,
    /// What opens TLS; none: it does not end here.
    pub(crate) tls: Option<Arc<tls::Server>>,
    default: Option<usize>,
    exact: HashMap<Box<str>, usize>,
    /// Keyed by what follows `*.`
    wildcard: HashMap<Box<str>, usize>,
}

impl ListenerRoute {
    /// A listener that leads nowhere yet.
    pub fn new(listener: Arc<Listener>) -> Self {
        Self {
            listener,
            chains: Vec::new(),
            tls: None,
            default: None,
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        }
    }

    /// Adds a chain under `hostnames` (lower case, `*.x` for any name below x); none: as the default chain.
    pub fn add(&mut self, chain: Arc<ChainHandle>, hostnames: &[String]) {
        let index = self.chains.len();
        self.chains.push(chain);
        if hostnames.is_empty() {
            self.default = Some(index);
        }
        for name in hostnames {
            match name.strip_prefix("*.") {
                Some(below) => self.wildcard.insert(below.into(), index),
                None => self.exact.insert(name.as_str().into(), index),
            };
        }
    }

    /// Index of the chain that gets connections without a (known) name.
    pub fn default_chain(&self) -> Option<usize> {
        self.default
    }

    /// Whether the server of the chain for this name, or for none, speaks first.
    pub fn is_server_first(&self, name: Option<&str>) -> bool {
        self.index(name)
            .and_then(|index| self.chains.get(index))
            .is_some_and(|chain| chain.view().chain.server_first)
    }

    /// Index of the chain for a name, or for none.
    pub fn index(&self, name: Option<&str>) -> Option<usize> {
        match name {
            Some(name) => self.chain_for(name),
            None => self.default,
        }
    }

    /// Whether a name can make a difference here.
    pub fn has_names(&self) -> bool {
        !(self.exact.is_empty() && self.wildcard.is_empty())
    }

    /// Index of the chain for `name` (lower case, without a trailing dot): exact before longest wildcard before default.
    pub fn chain_for(&self, name: &str) -> Option<usize> {
        if let Some(index) = self.exact.get(name) {
            return Some(*index);
        }
        let mut rest = name;
        while let Some((_, below)) = rest.split_once('.') {
            if let Some(index) = self.wildcard.get(below) {
                return Some(*index);
            }
            rest = below;
        }
        self.default
    }
}

#[cfg(test)]
mod tests;
