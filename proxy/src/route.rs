//! Which chain a connection belongs to. In: a [`Snapshot`] and the handles of its chains. Out: a [`Routing`], an
//! immutable value that every data worker holds: per listener, the chain by name (exact before longest wildcard), or
//! the listener's default chain.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use switchyard_snapshot::{Affinity, ChainId, DirectHost, Listener, Pool, PoolId, Snapshot};

use crate::chain::handle::ChainHandle;
use crate::proxy_protocol::relayed::RelayKeys;
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
    /// What proves to others that we relay, and to us that they do; none: we share no key with anybody.
    pub relaying: Option<Relaying>,
}

/// How connections are relayed.
#[derive(Clone, Debug)]
pub struct Relaying {
    /// What relay headers are signed with.
    pub keys: RelayKeys,
    /// This proxy, as it stands among the hops of a header.
    pub me: String,
}

impl Relaying {
    fn new(pool: &Pool, proxy: &str) -> Option<Self> {
        let of_gossip = pool.gossip.as_ref().map(|gossip| gossip.keys.as_slice());
        let keys = RelayKeys::new(of_gossip.unwrap_or(&pool.relay_keys))?;
        let id = PoolId {
            namespace: pool.namespace.clone(),
            name: pool.name.clone(),
        };
        let me = proxy_name(&id, proxy);
        Some(Self { keys, me })
    }
}

impl Routing {
    /// What `snapshot` says, with a running chain behind each name. A chain without a handle is left out, so its
    /// names lead nowhere (it fails closed). `tls` has prepared it; `proxy` is this proxy's name.
    pub(crate) fn new(
        snapshot: &Snapshot,
        handles: &HashMap<ChainId, Arc<ChainHandle>>,
        tls: &tls::Keeper,
        proxy: &str,
    ) -> Self {
        let templates = Templates::of(snapshot, proxy);
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
                    for name in templates.fill(&chain.id) {
                        route.add_direct(&name);
                    }
                }
            }
            route
        });
        Self {
            listeners: listeners.collect(),
            snat: snapshot.pool.snat.clone(),
            affinity: snapshot.pool.affinity.clone(),
            relaying: Relaying::new(&snapshot.pool, proxy),
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
    /// Names of this proxy alone; none: of several chains.
    direct: HashMap<Box<str>, Option<usize>>,
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
            direct: HashMap::new(),
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

    /// The chain that was added last is reached by this name of this proxy, too: at the direct port.
    pub fn add_direct(&mut self, name: &str) {
        let Some(index) = self.chains.len().checked_sub(1) else {
            return;
        };
        self.direct
            .entry(name.into())
            .and_modify(|of| *of = of.filter(|of| *of == index))
            .or_insert(Some(index));
    }

    /// Index of the chain of a guest that was not relayed, by the name it came to: a direct name before the chain's own
    /// names; the default chain, or the only one, for any other name (or address), or none.
    pub fn guest_index(&self, name: Option<&str>) -> Option<usize> {
        let direct = name.and_then(|name| self.direct.get(name).copied().flatten());
        let only = || (self.chains.len() == 1).then_some(0);
        direct.or_else(|| self.index(name)).or_else(only)
    }

    /// Index of a chain.
    pub fn index_of(&self, chain: &ChainId) -> Option<usize> {
        self.chains.iter().position(|handle| handle.id == *chain)
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

/// The names that only this proxy has.
struct Templates<'a> {
    all: Vec<&'a str>,
    proxy: &'a str,
    /// Empty: not known.
    node: &'a str,
}

impl<'a> Templates<'a> {
    fn of(snapshot: &'a Snapshot, proxy: &'a str) -> Self {
        let pool = &snapshot.pool;
        let ours = |id: &PoolId| id.namespace == pool.namespace && id.name == pool.name;
        let us = snapshot.peers.iter().find(|peers| ours(&peers.id));
        let proxies = us.into_iter().flat_map(|us| us.proxies.iter().flatten());
        let me = proxies.into_iter().find(|peer| peer.name == proxy);
        let node = me.map_or("", |me| me.node.as_str());
        let addresses = us.into_iter().flat_map(|us| &us.addresses);
        let templates = addresses.filter_map(|address| match &address.host {
            DirectHost::Template(template) => Some(template.as_str()),
            DirectHost::Ip | DirectHost::Listed => None,
        });
        Self {
            all: templates.collect(),
            proxy,
            node,
        }
    }

    fn fill(&self, chain: &ChainId) -> impl Iterator<Item = String> {
        let all = self.all.iter();
        all.map(|template| direct_name(template, self.proxy, self.node, chain))
    }
}

/// A proxy as it stands in relay headers.
pub(crate) fn proxy_name(pool: &PoolId, proxy: &str) -> String {
    format!("{}/{}/{proxy}", pool.namespace, pool.name)
}

/// The name by which clients of a chain reach one proxy: a [`DirectHost::Template`] filled in, in lower case.
pub fn direct_name(template: &str, proxy: &str, node: &str, chain: &ChainId) -> String {
    let filled = template
        .replace("{proxy}", proxy)
        .replace("{node}", node)
        .replace("{chain}", &chain.name);
    filled.to_lowercase()
}

#[cfg(test)]
mod tests;
