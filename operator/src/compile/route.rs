//! Who gets which client: hangs each chain on its listener and settles who has which name.
//!
//! A name on a listener belongs to one chain; a chain without names is the listener's default; a TCP listener sees no
//! names and takes one chain. (That exact names go before wildcards, and these before the default, is the proxy's matter:
//! different names never conflict.) Of chains that want the same, the oldest gets it and the others are refused.

use std::collections::BTreeMap;

use switchyard_crds::proxychain::{BackendProtocol, PoolRef};
use switchyard_crds::{Kind, ProxyChain, ProxyChainSpec, Reason};
use switchyard_snapshot::{Chain, ChainId, Listener, PeerPool, PoolId, Protocol, Snapshot};

use super::faults::Faults;
use super::group::{self, Groups};
use super::pool::{CompiledPool, Pools};
use super::{FieldPath, Given, ObjectKey, Refusal, Resources, by_age, chain, redirect};

/// Names taken so far: by pool, listener and name; the empty name is the listener's default.
type Taken = BTreeMap<(PoolId, String, String), ChainId>;

/// One snapshot per pool that is used, with the chains that can be hung on it.
pub fn attach(
    pools: Pools,
    groups: &Groups,
    resources: &Resources,
    refused: &mut Vec<Refusal>,
) -> BTreeMap<PoolId, Snapshot> {
    let mut taken = Taken::new();
    let mut chains: BTreeMap<PoolId, Vec<Chain>> = BTreeMap::new();
    for (key, given) in by_age(Kind::ProxyChain, &resources.chains, refused) {
        let mut faults = Faults::of(key.clone(), &given.written);
        if let Some((pool, chain)) =
            attach_one(&key, given, (&pools, groups), resources, &mut taken, &mut faults)
        {
            chains.entry(pool).or_default().push(chain);
        }
        refused.extend(faults.into_refusals());
    }
    let peers: BTreeMap<PoolId, PeerPool> = pools
        .iter()
        .filter_map(|(id, pool)| Some((id.clone(), pool.as_ref()?.peer.clone())))
        .collect();
    let snapshot = |(key, pool): (PoolId, Option<CompiledPool>)| {
        let CompiledPool { pool, listeners, .. } = pool?;
        let mut chains = chains.remove(&key).unwrap_or_default();
        chains.sort_by(|one, other| one.id.cmp(&other.id));
        let mut snapshot = Snapshot {
            pool,
            listeners: listeners.into_values().flatten().collect(),
            chains,
            peers: Vec::new(),
        };
        group::introduce(&mut snapshot, &peers);
        Some((key, snapshot))
    };
    pools.into_iter().filter_map(snapshot).collect()
}

fn attach_one(
    key: &ObjectKey,
    given: &Given<ProxyChain>,
    (pools, groups): (&Pools, &Groups),
    resources: &Resources,
    taken: &mut Taken,
    faults: &mut Faults<'_>,
) -> Option<(PoolId, Chain)> {
    let spec = &given.object.spec;
    let mut chain = chain::compile(key, &given.object, groups, resources, faults);
    let Some(pool_ref) = &spec.pool_ref else {
        match &spec.remote {
            None => faults.invalid(
                FieldPath::spec(),
                "poolRef must be given: name the pool whose clients come here",
            ),
            Some(remote) => drop(redirect::remote(remote, &FieldPath::spec().key("remote"), faults)),
        }
        return None;
    };
    let pool = PoolId {
        namespace: key.namespace.clone(),
        name: pool_ref.name.clone(),
    };
    let listener = find_listener(&pool, pool_ref, pools, resources, faults)?;
    chain.listener.clone_from(&listener.name);
    fits(spec, &chain, listener, faults);
    let names = names_of(&chain, listener);
    let wanted = |name: &String| (pool.clone(), listener.name.clone(), name.clone());
    for (i, name) in names.iter().enumerate() {
        if let Some(owner) = taken.get(&wanted(name)) {
            let (field, words) = match (listener.protocol, name.as_str()) {
                (Protocol::Tcp, _) => (
                    "poolRef",
                    format!("listener {} is TCP and takes one chain", listener.name),
                ),
                (_, "") => (
                    "hostnames",
                    format!("listener {} has a default chain already", listener.name),
                ),
                (_, name) => (
                    "hostnames",
                    format!("the name {name} leads to another chain already"),
                ),
            };
            let field = FieldPath::spec().key(field);
            let field = if name.is_empty() {
                field
            } else {
                field.index(position(&spec.hostnames, name).unwrap_or(i))
            };
            faults.refuse(field, Reason::Conflicted, format!("{words}: the older {owner}"));
        }
    }
    if !faults.is_empty() {
        return None;
    }
    taken.extend(names.iter().map(|name| (wanted(name), chain.id.clone())));
    Some((pool, chain))
}

fn position(hostnames: &[String], lower: &str) -> Option<usize> {
    hostnames.iter().position(|name| name.to_lowercase() == lower)
}

/// What the chain claims on its listener.
fn names_of(chain: &Chain, listener: &Listener) -> Vec<String> {
    if chain.hostnames.is_empty() || listener.protocol == Protocol::Tcp {
        vec![String::new()]
    } else {
        chain.hostnames.clone()
    }
}

/// Whether what the chain wants makes sense with what the listener can see.
fn fits(spec: &ProxyChainSpec, chain: &Chain, listener: &Listener, faults: &mut Faults<'_>) {
    let path = FieldPath::spec();
    if listener.protocol == Protocol::Tcp && !chain.hostnames.is_empty() {
        let words = format!(
            "listener {} is TCP and sees no names: leave them out, or make its protocol TLS or Auto",
            listener.name
        );
        faults.invalid(path.key("hostnames"), words);
    }
    if chain.server_first && !matches!(listener.protocol, Protocol::Tcp | Protocol::Auto) {
        let words = format!(
            "listener {} is {}, where the client speaks first",
            listener.name,
            protocol_name(listener.protocol)
        );
        faults.invalid(path.key("serverFirst"), words);
    }
    if !matches!(
        listener.protocol,
        Protocol::Http | Protocol::Https | Protocol::Auto
    ) {
        reads_no_requests(spec, listener, faults);
    }
    redirect::fits(&spec.redirect.dialects, listener.protocol, &listener.name, faults);
    if chain.server_first && !chain.hostnames.is_empty() {
        let words =
            "needs the listener's default chain, since a silent client names nobody: leave hostnames out";
        faults.invalid(path.key("serverFirst"), words);
    }
}

/// Refuses what only has a meaning where requests are read.
fn reads_no_requests(spec: &ProxyChainSpec, listener: &Listener, faults: &mut Faults<'_>) {
    let path = FieldPath::spec();
    let words = |what: &str| {
        format!(
            "listener {} is {} and reads no requests: {what}, or make its protocol HTTP, HTTPS or Auto",
            listener.name,
            protocol_name(listener.protocol)
        )
    };
    if spec.headers.is_some() {
        faults.invalid(path.key("headers"), words("leave headers out"));
    }
    for (i, backend) in spec.backends.iter().enumerate() {
        if backend.protocol == BackendProtocol::HTTP2 {
            let field = path.key("backends").index(i).key("protocol");
            faults.invalid(field, words("leave HTTP2 out"));
        }
    }
}

pub(super) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Tls => "TLS",
        Protocol::Http => "HTTP",
        Protocol::Https => "HTTPS",
        Protocol::Auto => "Auto",
    }
}

fn find_listener<'a>(
    key: &PoolId,
    pool_ref: &PoolRef,
    pools: &'a Pools,
    resources: &Resources,
    faults: &mut Faults<'_>,
) -> Option<&'a Listener> {
    let PoolRef { name, listener } = pool_ref;
    let path = FieldPath::spec().key("poolRef");
    let object = ObjectKey {
        kind: Kind::ProxyPool,
        namespace: key.namespace.clone(),
        name: name.clone(),
    };
    let Some(pool) = pools.get(key) else {
        if resources.unreadable.contains_key(&object) {
            faults.refuse(
                path.key("name"),
                Reason::Pending,
                format!("{object} cannot be read"),
            );
        } else {
            let words = format!("there is no ProxyPool {name} in namespace {}", key.namespace);
            faults.refuse(path.key("name"), Reason::NoMatchingParent, words);
        }
        return None;
    };
    let Some(CompiledPool { listeners, .. }) = pool else {
        faults.refuse(path.key("name"), Reason::Pending, format!("{object} is refused"));
        return None;
    };
    let names = || {
        listeners
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (found, path) = match listener {
        Some(wanted) => (listeners.get_key_value(wanted), path.key("listener")),
        None if listeners.len() == 1 => (listeners.first_key_value(), path.key("name")),
        None => {
            let words = format!("must be given, since pool {name} has several: {}", names());
            faults.refuse(path.key("listener"), Reason::NoMatchingParent, words);
            return None;
        }
    };
    match found {
        Some((_, Some(listener))) => Some(listener),
        Some((listener, None)) => {
            faults.refuse(
                path,
                Reason::Pending,
                format!("listener {listener} of {object} is refused"),
            );
            None
        }
        None => {
            let words = format!("pool {name} has no such listener; it has: {}", names());
            faults.refuse(path, Reason::NoMatchingParent, words);
            None
        }
    }
}
