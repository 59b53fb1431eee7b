//! Everything that goes into snapshots, and who depends on whom. In: one change of one object after the other. Out: which pools
//! (or chains that name none) must be compiled again, and what to compile them from.
//!
//! | what changed | what is compiled again |
//! | --- | --- |
//! | a pool: new, its spec, gone, no longer readable | it and its chains; the pools that share its access point, before or after; the pools that share a group with any of these |
//! | a chain: new, its spec, gone | the pool that it named before and the one that it names now |
//! | of that: its group, priority, suspend, schedule, remote, poolRef, first hostname | also the pools of its group's other chains, before and after |
//! | a pod of a pool: it has an address, or another, or none any more, or shall end | that pool, and the pools that share a group with it; none for a Sidecar pool |
//! | the Service of a single proxy, where guests come by it | the same |
//! | which chains a proxy of a pool serves, by its own word | the Sidecar pools that share a group with that pool |
//! | a Service or slice that a chain names, so that its endpoints differ | the pools of those chains |
//! | a Service or slice that nobody names | nothing |
//! | a Secret that a pool or chain names: what stands in it, or it is gone | those pools, and the pools of those chains |
//! | a Secret that nobody names | nothing |
//! | a status, labels, annotations; anything else of a pod; the same thing again | nothing |
//!
//! Chains that name no pool are compiled by themselves, and share groups like others.

mod book;
mod change;
mod gather;
mod groups;
mod names;
mod reach;
mod roster;
mod sidecars;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use switchyard_crds::{Kind, ProxyChain, ProxyPool};
use switchyard_snapshot::{ChainId, PoolId};

use crate::compile::{Given, ObjectKey, chain_id, pool_id, pool_of};
use crate::endpoints::{ServiceId, Services};
use crate::pods::Pods;
use crate::secrets::{SecretId, Wants};
use crate::written::Defaults;
use book::{Book, secrets_of_chain, secrets_of_pool};
use groups::{Groups, group_of, same_to_mates};
use roster::Roster;

pub use change::{Change, slim};
pub use names::Member;
use names::{access_point, same_spec, services_of, unit_of};

/// What is compiled by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// A pool and its chains, whether or not the pool is there.
    Pool(PoolId),
    /// A chain that names no pool.
    Chain(ChainId),
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(id) => write!(f, "pool {id}"),
            Self::Chain(id) => write!(f, "chain {id}"),
        }
    }
}

/// Units that must be compiled again.
pub type Dirty = BTreeSet<Unit>;

/// Pools that share an access point: by namespace and name of that.
type AccessPoint = (String, String);

/// Everything that is known.
#[derive(Debug)]
pub struct Index {
    defaults: Defaults,
    pools: BTreeMap<PoolId, Arc<Given<ProxyPool>>>,
    chains: BTreeMap<ChainId, Arc<Given<ProxyChain>>>,
    /// Pools that do not fit their type.
    unreadable: BTreeSet<PoolId>,
    services: Services,
    secrets: Book,
    pods: Pods,
    roster: Roster,
    groups: Groups,
    chains_of: BTreeMap<PoolId, BTreeSet<ChainId>>,
    sharing: BTreeMap<AccessPoint, BTreeSet<PoolId>>,
    named_by: BTreeMap<ServiceId, BTreeSet<ChainId>>,
}

impl Index {
    /// Nothing is known; Secrets that must be fetched are told to `wants`.
    ///
    /// # Errors
    /// Our own definitions cannot be read, which is a mistake of ours.
    pub fn new(pods: Pods, wants: Wants) -> Result<Self, String> {
        Ok(Self {
            defaults: Defaults::new()?,
            pools: BTreeMap::new(),
            chains: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            services: Services::default(),
            secrets: Book::new(wants),
            pods,
            roster: Roster::default(),
            groups: Groups::default(),
            chains_of: BTreeMap::new(),
            sharing: BTreeMap::new(),
            named_by: BTreeMap::new(),
        })
    }

    /// Takes a change in; adds what depends on it to `dirty`.
    pub fn apply(&mut self, change: Change, dirty: &mut Dirty) {
        match change {
            Change::Pool(pool) => self.set_pool(pool, dirty),
            Change::PoolGone(id) => {
                self.unreadable.remove(&id);
                self.remove_pool(&id, dirty);
                dirty.insert(Unit::Pool(id));
            }
            Change::PoolUnreadable(id) => {
                self.remove_pool(&id, dirty);
                if self.unreadable.insert(id.clone()) {
                    dirty.insert(Unit::Pool(id));
                }
            }
            Change::Chain(chain) => self.set_chain(chain, dirty),
            Change::ChainGone(id) => self.remove_chain(&id, dirty),
            Change::Service(id, definition) => {
                let before = self.services.outside(&id).cloned();
                if self.services.define(&id, definition) {
                    self.endpoints_changed(&id, dirty);
                    self.outside_changed(&id, before.as_ref(), dirty);
                }
            }
            Change::Slice { service, name, slice } => {
                if self.services.slice(&service, &name, slice) {
                    self.endpoints_changed(&service, dirty);
                }
            }
            Change::Secret(id, version) => {
                if self.secrets.seen(&id, version) {
                    self.secret_changed(&id, dirty);
                }
            }
            Change::Fetched(id, fetched) => {
                if self.secrets.fetched(id.clone(), fetched) {
                    self.secret_changed(&id, dirty);
                }
            }
            Change::Serves { pool, name, chains } => {
                self.roster.serves(&pool, &name, chains);
                self.standing_changed(pool, dirty);
            }
            Change::Pod { namespace, name, pod } => self.set_pod(&namespace, &name, pod.as_deref(), dirty),
        }
    }

    /// How much is known.
    pub fn sizes(&self) -> Sizes {
        let (secrets, secrets_held) = self.secrets.sizes();
        Sizes {
            pools: self.pools.len() + self.unreadable.len(),
            chains: self.chains.len(),
            services: self.services.len(),
            secrets,
            secrets_held,
        }
    }

    /// A pool, if it is there and can be read.
    pub fn pool(&self, id: &PoolId) -> Option<Arc<ProxyPool>> {
        self.pools.get(id).map(|given| Arc::clone(&given.object))
    }

    /// Whether the pool is there, readable or not.
    pub fn has_pool(&self, id: &PoolId) -> bool {
        self.pools.contains_key(id) || self.unreadable.contains(id)
    }

    /// Every unit there is.
    pub fn units(&self) -> Dirty {
        let pools = self
            .pools
            .keys()
            .chain(self.chains_of.keys())
            .cloned()
            .map(Unit::Pool);
        let strays = self
            .chains
            .iter()
            .filter(|(_, chain)| pool_of(&chain.object).is_none());
        pools
            .chain(strays.map(|(id, _)| Unit::Chain(id.clone())))
            .collect()
    }

    /// The objects of a unit: those whose verdicts come of compiling it.
    pub fn members(&self, unit: &Unit) -> Vec<Member<'_>> {
        let pool = match unit {
            Unit::Pool(id) => self.pools.get(id),
            Unit::Chain(_) => None,
        };
        let pool = pool.map(|given| Member::of(Kind::ProxyPool, &*given.object));
        let chains = self.chains_in(unit);
        pool.into_iter()
            .chain(chains.map(|given| Member::of(Kind::ProxyChain, &*given.object)))
            .collect()
    }

    /// Whether a Secret that the unit names is there and has not been fetched yet: it cannot be compiled before.
    pub fn waits(&self, unit: &Unit) -> bool {
        self.secrets.waits_for(self.secrets_in(unit))
    }

    /// Whether any unit waits.
    pub fn any_waits(&self) -> bool {
        self.secrets.waits()
    }

    fn set_pool(&mut self, pool: Arc<ProxyPool>, dirty: &mut Dirty) {
        let id = pool_id(&pool.metadata);
        let was_unreadable = self.unreadable.remove(&id);
        if let Some(before) = self.pools.get_mut(&id)
            && same_spec(&before.object.metadata, &pool.metadata)
        {
            let given = Given {
                object: pool,
                written: before.written.clone(),
                order: 0,
            };
            *before = Arc::new(given);
            return;
        }
        self.remove_pool(&id, dirty);
        if was_unreadable {
            dirty.insert(Unit::Pool(id.clone()));
        }
        if let Some(shared) = access_point(&pool) {
            self.sharing.entry(shared.clone()).or_default().insert(id.clone());
            self.sharing_changed(&shared, dirty);
        }
        self.secrets.name(&ObjectKey::pool(&id), secrets_of_pool(&pool));
        let given = self.given(Kind::ProxyPool, pool, |pool| serde_json::to_value(&pool.spec));
        self.pools.insert(id.clone(), given);
        self.pool_changed(id, dirty);
    }

    fn remove_pool(&mut self, id: &PoolId, dirty: &mut Dirty) {
        let Some(before) = self.pools.remove(id) else {
            return;
        };
        self.pool_changed(id.clone(), dirty);
        self.secrets
            .unname(&ObjectKey::pool(id), secrets_of_pool(&before.object));
        if let Some(shared) = access_point(&before.object) {
            self.sharing_changed(&shared, dirty);
            forget(&mut self.sharing, &shared, id);
        }
    }

    fn sharing_changed(&self, shared: &AccessPoint, dirty: &mut Dirty) {
        for pool in self.sharing.get(shared).into_iter().flatten() {
            self.pool_changed(pool.clone(), dirty);
        }
    }

    /// What the pool is, or who its proxies are, may be another: for itself, and for those that share a group with it.
    fn pool_changed(&self, id: PoolId, dirty: &mut Dirty) {
        let unit = Unit::Pool(id);
        dirty.extend(self.groups.mates(&unit).cloned());
        dirty.insert(unit);
    }

    fn set_chain(&mut self, chain: Arc<ProxyChain>, dirty: &mut Dirty) {
        let id = chain_id(&chain.metadata);
        if let Some(before) = self.chains.get_mut(&id)
            && same_spec(&before.object.metadata, &chain.metadata)
        {
            let given = Given {
                object: chain,
                written: before.written.clone(),
                order: 0,
            };
            *before = Arc::new(given);
            return;
        }
        let before = self.unhang_chain(&id, dirty);
        dirty.insert(unit_of(&id, &chain));
        if let Some(pool) = pool_of(&chain) {
            self.chains_of.entry(pool).or_default().insert(id.clone());
        }
        for service in services_of(&chain) {
            self.named_by.entry(service).or_default().insert(id.clone());
        }
        self.secrets
            .name(&ObjectKey::chain(&id), secrets_of_chain(&chain));
        self.groups.join(&id, &chain);
        let alike = before
            .as_ref()
            .is_some_and(|before| same_to_mates(&before.object, &chain));
        if !alike {
            let before = before.as_deref().map(|before| before.object.as_ref());
            self.group_changed(&id, before, dirty);
            self.group_changed(&id, Some(&chain), dirty);
        }
        let given = self.given(Kind::ProxyChain, chain, |chain| serde_json::to_value(&chain.spec));
        self.chains.insert(id, given);
    }

    fn remove_chain(&mut self, id: &ChainId, dirty: &mut Dirty) {
        if let Some(before) = self.unhang_chain(id, dirty) {
            self.group_changed(id, Some(&before.object), dirty);
        }
    }

    fn unhang_chain(&mut self, id: &ChainId, dirty: &mut Dirty) -> Option<Arc<Given<ProxyChain>>> {
        let before = self.chains.remove(id)?;
        dirty.insert(unit_of(id, &before.object));
        if let Some(pool) = pool_of(&before.object) {
            forget(&mut self.chains_of, &pool, id);
        }
        self.secrets
            .unname(&ObjectKey::chain(id), secrets_of_chain(&before.object));
        for service in services_of(&before.object) {
            forget(&mut self.named_by, &service, id);
        }
        self.groups.leave(id, &before.object);
        Some(before)
    }

    /// The other chains of its group see this one otherwise.
    fn group_changed(&self, id: &ChainId, chain: Option<&ProxyChain>, dirty: &mut Dirty) {
        if let Some(group) = chain.and_then(|chain| group_of(id, chain)) {
            dirty.extend(self.groups.units(&group).cloned());
        }
    }

    fn endpoints_changed(&self, service: &ServiceId, dirty: &mut Dirty) {
        let chains = self.named_by.get(service).into_iter().flatten();
        let units = chains.filter_map(|id| Some(unit_of(id, &self.chains.get(id)?.object)));
        dirty.extend(units);
    }

    fn secret_changed(&self, id: &SecretId, dirty: &mut Dirty) {
        for ObjectKey {
            kind,
            namespace,
            name,
        } in self.secrets.namers(id).cloned()
        {
            let pool = PoolId { namespace, name };
            match kind {
                Kind::ProxyPool => drop(dirty.insert(Unit::Pool(pool))),
                Kind::ProxyChain => {
                    let PoolId { namespace, name } = pool;
                    let id = ChainId { namespace, name };
                    dirty.extend(self.chains.get(&id).map(|chain| unit_of(&id, &chain.object)));
                }
            }
        }
    }

    fn given<T>(
        &self,
        kind: Kind,
        object: Arc<T>,
        spec: impl FnOnce(&T) -> serde_json::Result<serde_json::Value>,
    ) -> Arc<Given<T>> {
        // what came as JSON can be written as JSON
        let spec = spec(&object).unwrap_or_default();
        Arc::new(Given {
            written: self.defaults.written(kind, &spec),
            object,
            order: 0,
        })
    }
}

/// How much is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Pools, those that cannot be read included.
    pub pools: usize,
    /// Chains.
    pub chains: usize,
    /// Services, whether or not a chain names them.
    pub services: usize,
    /// Secrets, whether or not somebody names them.
    pub secrets: usize,
    /// Secrets of which it is known what stands in them.
    pub secrets_held: usize,
}

/// Takes a value out of the set under a key, and an empty set out of the map.
fn forget<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(values) = map.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
