//! Chains that stand in for each other. In: every chain that names a group, and the pools. Out: the groups, with who has a
//! place in them; chains that do not fit the older ones of their group are refused.

use std::collections::{BTreeMap, BTreeSet};

use switchyard_crds::proxypool::WorkloadKind;
use switchyard_crds::{Kind, ProxyChain, Reason};
use switchyard_snapshot::{
    ChainId, Group, GroupMember, GroupPlace, PeerPool, PoolId, Protocol, Schedule, Snapshot,
};

use super::faults::Faults;
use super::pool::{CompiledPool, Pools};
use super::{FieldPath, Given, ObjectKey, Resources, by_age, failover, redirect};

/// A group: by namespace and name.
type GroupId = (String, String);

/// What a proxy must see of all chains of a group alike, or a client of one could not be served by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Manner {
    protocol: Protocol,
    terminates: bool,
}

impl Manner {
    fn words(self) -> String {
        let name = super::route::protocol_name(self.protocol);
        match (self.protocol, self.terminates) {
            (Protocol::Tcp | Protocol::Http, _) => format!("protocol {name}"),
            (_, true) => format!("protocol {name} with TLS that ends there"),
            (_, false) => format!("protocol {name} with TLS passed through"),
        }
    }
}

/// Every group, as far as it is known here.
#[derive(Debug, Default)]
pub struct Groups {
    known: BTreeMap<GroupId, Group>,
    /// Chains of sidecars: their clients can go to others, and nobody can come to them.
    sidecars: BTreeSet<ChainId>,
    /// Chains that have no place in their group, with the field at fault and why.
    refused: BTreeMap<ChainId, (FieldPath, String)>,
}

/// Settles who has a place in which group; of those that contradict each other the oldest is right.
pub fn settle(pools: &Pools, resources: &Resources) -> Groups {
    let all: Vec<_> = resources
        .chains
        .iter()
        .chain(&resources.group_mates)
        .cloned()
        .collect();
    let mut groups = Groups::default();
    let mut manners: BTreeMap<GroupId, (Manner, ChainId)> = BTreeMap::new();
    // Who stands there twice is told where the chains themselves are compiled.
    for (key, given) in by_age(Kind::ProxyChain, &all, &mut Vec::new()) {
        let Some(name) = given.object.spec.group.clone() else {
            continue;
        };
        let id = ChainId {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        };
        let group = (key.namespace.clone(), name);
        let Some((place, manner)) = place(&key, &given.object, pools) else {
            continue;
        };
        if let Some(manner) = manner {
            let (right, oldest) = manners
                .entry(group.clone())
                .or_insert_with(|| (manner, id.clone()));
            if *right != manner {
                let why = format!(
                    "chains of group {} must agree: this one has {}, the older {oldest} has {}",
                    group.1,
                    manner.words(),
                    right.words()
                );
                groups.refused.insert(id, (FieldPath::spec().key("group"), why));
                continue;
            }
        }
        if beside(&place, resources) {
            groups.sidecars.insert(id);
        }
        groups.add(group, &key, given, place);
    }
    for group in groups.known.values_mut() {
        group
            .members
            .sort_by(|one, other| (one.priority, &one.chain).cmp(&(other.priority, &other.chain)));
    }
    groups
}

/// Whether the chain's proxies run in their clients' pods.
fn beside(place: &GroupPlace, resources: &Resources) -> bool {
    let GroupPlace::Pool { pool, .. } = place else {
        return false;
    };
    let pools = resources.pools.iter();
    let mut of_it = pools.filter(|given| super::pool_id(&given.object.metadata) == *pool);
    of_it.any(|given| given.object.spec.workload.kind == WorkloadKind::Sidecar)
}

/// Where the chain's clients come to, and what is spoken there; none: that is refused, or not there.
fn place(key: &ObjectKey, chain: &ProxyChain, pools: &Pools) -> Option<(GroupPlace, Option<Manner>)> {
    let spec = &chain.spec;
    if let Some(remote) = &spec.remote {
        // What is wrong with it is told where the chain itself is compiled.
        let nothing = super::Fields::default();
        let mut faults = Faults::of(key.clone(), &nothing);
        let place = redirect::remote(remote, &FieldPath::spec().key("remote"), &mut faults);
        return faults.is_empty().then_some((place, None));
    }
    let pool_ref = spec.pool_ref.as_ref()?;
    let pool = PoolId {
        namespace: key.namespace.clone(),
        name: pool_ref.name.clone(),
    };
    let CompiledPool { listeners, .. } = pools.get(&pool)?.as_ref()?;
    let listener = match &pool_ref.listener {
        Some(name) => listeners.get(name)?,
        None if listeners.len() == 1 => listeners.values().next()?,
        None => return None,
    };
    let listener = listener.as_ref()?;
    let manner = Manner {
        protocol: listener.protocol,
        terminates: listener.tls.is_some(),
    };
    let place = GroupPlace::Pool {
        pool,
        listener: listener.name.clone(),
        hostname: spec.hostnames.first().map(|name| name.to_lowercase()),
    };
    Some((place, Some(manner)))
}

impl Groups {
    fn add(&mut self, id: GroupId, key: &ObjectKey, given: &Given<ProxyChain>, place: GroupPlace) {
        let spec = &given.object.spec;
        let group = self.known.entry(id.clone()).or_insert_with(|| Group {
            name: id.1,
            schedule: None,
            members: Vec::new(),
        });
        if group.schedule.is_none() {
            group.schedule = spec.schedule.as_ref().and_then(|schedule| {
                let nothing = super::Fields::default();
                let mut faults = Faults::of(key.clone(), &nothing);
                let path = FieldPath::spec().key("schedule");
                let compiled = failover::compile_schedule(schedule, &path, &mut faults);
                faults.is_empty().then_some(compiled)
            });
        }
        group.members.push(GroupMember {
            chain: ChainId {
                namespace: key.namespace.clone(),
                name: key.name.clone(),
            },
            priority: spec.priority,
            at: place,
            suspended: spec.suspend,
        });
    }

    /// The group of a chain; says so where the chain has no place in it.
    pub fn of(&self, chain: &ChainId, name: &str, faults: &mut Faults<'_>) -> Option<Group> {
        if let Some((field, why)) = self.refused.get(chain) {
            faults.refuse(field.clone(), Reason::Conflicted, why.clone());
            return None;
        }
        let group = self.known.get(&(chain.namespace.clone(), name.to_owned()))?;
        let mut group = group.clone();
        group
            .members
            .retain(|member| member.chain == *chain || !self.sidecars.contains(&member.chain));
        Some(group)
    }

    /// Prime time of a group.
    pub fn schedule(&self, namespace: &str, name: &str) -> Option<&Schedule> {
        let group = self.known.get(&(namespace.to_owned(), name.to_owned()))?;
        group.schedule.as_ref()
    }
}

/// Gives a snapshot the pools that its proxies talk to, and leaves direct ports to listeners that guests may come to.
pub fn introduce(snapshot: &mut Snapshot, known: &BTreeMap<PoolId, PeerPool>) {
    let grouped: BTreeSet<&str> = snapshot
        .chains
        .iter()
        .filter(|chain| chain.group.is_some())
        .map(|chain| chain.listener.as_str())
        .collect();
    for listener in &mut snapshot.listeners {
        if !grouped.contains(listener.name.as_str()) {
            listener.direct_port = None;
            listener.max_guests = 0;
        }
    }
    let gossips = snapshot.pool.gossip.is_some();
    if !gossips && !snapshot.pool.relay_keys.is_empty() {
        // whom a sidecar's client is sent to is none of the client's business
        for chain in &mut snapshot.chains {
            chain.redirect.dialects.clear();
        }
    }
    // A sidecar has a key to relay with, and is told how the others do.
    if !gossips && (snapshot.pool.relay_keys.is_empty() || grouped_nowhere(snapshot)) {
        return;
    }
    let own = PoolId {
        namespace: snapshot.pool.namespace.clone(),
        name: snapshot.pool.name.clone(),
    };
    let members = snapshot.chains.iter().filter_map(|chain| chain.group.as_ref());
    let places = members.flat_map(|group| &group.members).map(|member| &member.at);
    let others = places.filter_map(|place| match place {
        GroupPlace::Pool { pool, .. } => Some(pool.clone()),
        GroupPlace::Remote { .. } => None,
    });
    let ids: BTreeSet<PoolId> = others.chain([own]).collect();
    snapshot.peers = ids.iter().filter_map(|id| known.get(id).cloned()).collect();
    if gossips {
        // they hear it from each other, and sooner
        let proxies = snapshot.peers.iter_mut().flat_map(|pool| &mut pool.proxies);
        for proxy in proxies.flatten() {
            proxy.serves = None;
        }
    }
}

fn grouped_nowhere(snapshot: &Snapshot) -> bool {
    snapshot.chains.iter().all(|chain| chain.group.is_none())
}
