//! Everything that statuses depend on, and which of them may have changed. In: news of the board, activities of proxies,
//! leadership, time. Out: objects to look at, and for one object what to write. Pure.

mod groups;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::core::ObjectMeta;
use switchyard_crds::proxychain::EndpointStatus;
use switchyard_crds::{ProxyChain, ProxyChainStatus, ProxyPool};
use switchyard_discovery::Hash;
use switchyard_discovery::server::Activity;
use switchyard_snapshot::{ChainReport, PoolId, ResourceId};

use super::board::{News, Object, Verdict, Versions};
use super::fleet::Fleet;
use super::proxies::{Proxies, Touched};
use super::writer::Draft;
use super::{Workload, chain, events, pool};
use crate::compile::{self, ObjectKey, pool_id};
use groups::Groups;

/// How long a new leader waits for proxies that have not reported until it says that it does not know. One whose leader hangs,
/// and does not end, notices after 5 s, and may try the one that hangs again.
const TAKEOVER: Duration = Duration::from_secs(15);

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Desk {
    /// As the watch has them.
    objects: BTreeMap<ObjectKey, Object>,
    /// As the API server has returned them to a write, where the watch has not seen that yet.
    returned: HashMap<ObjectKey, Object>,
    verdicts: HashMap<ObjectKey, Verdict>,
    published: HashMap<PoolId, Versions>,
    workloads: HashMap<PoolId, Workload>,
    /// Chains that name the pool.
    by_pool: HashMap<PoolId, BTreeSet<ObjectKey>>,
    groups: Groups,
    proxies: Proxies,
    /// Since when this process leads.
    leads_since: Option<Instant>,
    /// The time that a new leader gives its proxies is over.
    all_settled: bool,
    /// Everybody of these pools has reported before that.
    settled: BTreeSet<PoolId>,
}

/// What a look at an object has shown.
#[derive(Clone, Debug)]
pub enum Look {
    /// Its status is right, or not enough is known.
    Fine,
    /// Only words have changed.
    Words(Draft),
    /// It must be written, and somebody is about to say more, which may go into the same write. Nothing has happened that
    /// there would be an event for.
    Unanswered(Draft),
    /// It must be written.
    Changed(Draft),
}

/// Objects to look at.
pub type Dirty = Vec<ObjectKey>;

impl Desk {
    /// This process leads from now on. Proxies that are connected already stay known: who has stood in, or lost the lease and
    /// has it again, kept their connections, and they will not say again what they run. All others connect now.
    pub fn lead(&mut self, now: Instant) -> Dirty {
        self.settled.clear();
        self.all_settled = false;
        self.leads_since = Some(now);
        self.objects.keys().cloned().collect()
    }

    /// It does not lead any more, and somebody else writes. Proxies whose connections end are forgotten one by one.
    pub fn follow(&mut self) {
        self.leads_since = None;
        self.returned.clear();
    }

    /// Takes in news. Deleted objects are told by `gone`.
    pub fn take(&mut self, news: News, mut gone: impl FnMut(&ObjectKey)) -> Dirty {
        let News {
            objects,
            verdicts,
            published,
            workloads,
        } = news;
        let mut dirty = Dirty::new();
        for (key, object) in objects {
            self.unhang(&key);
            if let Some(object) = object {
                if let Some(pool) = pool_of(&object) {
                    self.by_pool.entry(pool).or_default().insert(key.clone());
                }
                self.groups.hang(&object);
                let returned = self.returned.get(&key);
                if returned.is_some_and(|returned| !newer(returned.meta(), object.meta())) {
                    self.returned.remove(&key);
                }
                self.objects.insert(key.clone(), object);
                dirty.push(key);
            } else {
                self.objects.remove(&key);
                self.returned.remove(&key);
                self.verdicts.remove(&key);
                gone(&key);
            }
        }
        for (pool, versions) in published {
            self.published(&pool, &versions, &mut dirty);
        }
        for (key, verdict) in verdicts {
            if self.verdicts.get(&key) != Some(&verdict) {
                self.verdicts.insert(key.clone(), verdict);
                dirty.push(key);
            }
        }
        for (pool, workload) in workloads {
            let before = self.workloads.remove(&pool);
            let counts = |workload: &Option<Workload>| workload.as_ref().map(|it| (it.replicas, it.ready));
            let touched = Touched {
                pool: before != workload,
                all_chains: counts(&before) != counts(&workload),
                chains: BTreeSet::new(),
            };
            if let Some(workload) = workload {
                self.workloads.insert(pool.clone(), workload);
            }
            self.touch(&pool, touched, &mut dirty);
            self.settle(&pool, &mut dirty);
        }
        dirty
    }

    /// A proxy did something.
    pub fn activity(&mut self, activity: Activity, now: Instant) -> Dirty {
        let mut dirty = Dirty::new();
        let pool = activity.proxy.pool.clone();
        let touched = self.proxies.handle(activity, now);
        let hosts = touched
            .chains
            .iter()
            .filter_map(|id| self.objects.get(&ObjectKey::chain(id)));
        // where a chain's guests are counted elsewhere
        dirty.extend(hosts.flat_map(|host| self.groups.away(host)).cloned());
        self.touch(&pool, touched, &mut dirty);
        self.settle(&pool, &mut dirty);
        dirty
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Dirty {
        let mut dirty = Dirty::new();
        for (pool, touched) in self.proxies.expire(now) {
            self.touch(&pool, touched, &mut dirty);
        }
        if !self.all_settled && self.leads_since.is_some_and(|since| now >= since + TAKEOVER) {
            self.all_settled = true;
            dirty.extend(self.objects.keys().cloned());
        }
        dirty
    }

    /// When [`Desk::tick`] has something to do.
    pub fn next(&self) -> Option<Instant> {
        let settles = self
            .leads_since
            .filter(|_| !self.all_settled)
            .map(|since| since + TAKEOVER);
        [settles, self.proxies.expires_at()].into_iter().flatten().min()
    }

    /// The API server has the object so. It is kept until the watch has seen it, which it may have by now.
    pub fn returned(&mut self, object: Object) {
        let key = object.key();
        let watched = self.objects.get(&key);
        if watched.is_some_and(|watched| newer(object.meta(), watched.meta())) {
            self.groups.hang(&object);
            self.returned.insert(key, object);
        }
    }

    /// Looks at an object.
    pub fn look(&self, key: &ObjectKey, now: Instant, wall: Timestamp) -> Look {
        let Some(object) = self.newest(key) else {
            return Look::Fine;
        };
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        let Some(verdict) = self.verdicts.get(key).filter(|verdict| verdict.uid == uid) else {
            return Look::Fine;
        };
        match &object {
            Object::Pool(pool) => self.look_at_pool(pool, verdict, now, wall),
            Object::Chain(chain) => self.look_at_chain(chain, verdict, now, wall),
        }
    }

    fn look_at_pool(&self, pool: &Arc<ProxyPool>, verdict: &Verdict, now: Instant, wall: Timestamp) -> Look {
        let id = pool_id(&pool.metadata);
        let fleet = self.fleet(&id, now);
        let published = self.published.get(&id);
        let versions: Vec<(&ResourceId, Hash)> = published
            .into_iter()
            .flat_map(|versions| versions.iter())
            .filter(|(id, _)| !matches!(id, ResourceId::Chain(_)))
            .map(|(id, version)| (id, *version))
            .collect();
        let facts = pool::Facts {
            pool,
            verdict,
            versions: &versions,
            workload: self.workloads.get(&id),
            fleet: &fleet,
            now: wall,
        };
        let status = pool::fold(&facts);
        if pool.status.as_ref() == Some(&status) {
            return Look::Fine;
        }
        let events = events::of_pool(&pool.status.clone().unwrap_or_default(), &status);
        let waits = events.is_empty() && pool::unanswered(&facts);
        let mut pool = Arc::clone(pool);
        Arc::make_mut(&mut pool).status = Some(status);
        let object = Object::Pool(pool);
        let draft = Draft { object, events };
        if waits {
            Look::Unanswered(draft)
        } else {
            Look::Changed(draft)
        }
    }

    fn look_at_chain(
        &self,
        chain: &Arc<ProxyChain>,
        verdict: &Verdict,
        now: Instant,
        wall: Timestamp,
    ) -> Look {
        let pool = compile::pool_of(chain);
        let id = compile::chain_id(&chain.metadata);
        let published = pool.as_ref().and_then(|pool| self.published.get(pool));
        let fleet = match &pool {
            Some(pool) => self.fleet(pool, now),
            None => Fleet::new(None, None, true, now),
        };
        let facts = chain::Facts {
            chain,
            verdict,
            version: published.and_then(|versions| versions.get(&ResourceId::Chain(id)).copied()),
            fleet: &fleet,
            mates: &self.mates(chain, now),
            now: wall,
        };
        let status = chain::fold(&facts);
        let old = chain.status.clone().unwrap_or_default();
        if chain.status.as_ref() == Some(&status) {
            return Look::Fine;
        }
        let words = chain.status.is_some()
            && without_words(&old) == without_words(&status)
            && (disputed(&status) || !disputed(&old));
        let events = events::of_chain(&chain.spec, &old, &status);
        let waits = events.is_empty() && chain::unanswered(&facts);
        let mut chain = Arc::clone(chain);
        Arc::make_mut(&mut chain).status = Some(status);
        let object = Object::Chain(chain);
        let draft = Draft { object, events };
        if words {
            Look::Words(draft)
        } else if waits {
            Look::Unanswered(draft)
        } else {
            Look::Changed(draft)
        }
    }

    /// Of what the watch has seen and what a write has returned the newer.
    fn newest(&self, key: &ObjectKey) -> Option<Object> {
        let watched = self.objects.get(key)?;
        Some(self.returned.get(key).unwrap_or(watched).clone())
    }

    /// What proxies report of the other chains of its group.
    fn mates(&self, chain: &ProxyChain, now: Instant) -> Vec<&ChainReport> {
        let own = compile::chain_id(&chain.metadata);
        let mut reports = Vec::new();
        for key in self.groups.of(chain) {
            let Some(Object::Chain(mate)) = self.objects.get(key) else {
                continue;
            };
            let id = compile::chain_id(&mate.metadata);
            let members = compile::pool_of(mate).and_then(|pool| self.proxies.members(&pool));
            let states = members
                .into_iter()
                .flat_map(BTreeMap::values)
                .filter(|_| id != own);
            reports.extend(states.filter_map(|state| state.report(now)?.chain(&id)));
        }
        reports
    }

    fn fleet(&self, pool: &PoolId, now: Instant) -> Fleet<'_> {
        let object = match self.objects.get(&ObjectKey::pool(pool)) {
            Some(Object::Pool(object)) => Some(object.as_ref()),
            _ => None,
        };
        let counted = pool::counted(object, self.workloads.get(pool));
        let settled = self.all_settled || self.settled.contains(pool);
        Fleet::new(self.proxies.members(pool), counted, settled, now)
    }

    fn published(&mut self, pool: &PoolId, versions: &Versions, dirty: &mut Dirty) {
        let before = if versions.is_empty() {
            self.published.remove(pool)
        } else {
            self.published.insert(pool.clone(), Arc::clone(versions))
        };
        let before = before.unwrap_or_default();
        let changed = |(id, version): &(&ResourceId, &Hash)| before.get(*id) != Some(*version);
        let new = versions.iter().filter(changed).map(|(id, _)| id);
        let gone = before.keys().filter(|id| !versions.contains_key(*id));
        let touched = Touched::resources(new.chain(gone));
        self.touch(pool, touched, dirty);
    }

    fn touch(&self, pool: &PoolId, touched: Touched, dirty: &mut Dirty) {
        let Touched {
            pool: itself,
            all_chains,
            chains,
        } = touched;
        if itself {
            dirty.push(ObjectKey::pool(pool));
        }
        if all_chains {
            dirty.extend(self.by_pool.get(pool).into_iter().flatten().cloned());
        }
        dirty.extend(
            chains
                .into_iter()
                .map(|id| ObjectKey::chain(&id))
                .filter(|key| self.objects.contains_key(key)),
        );
    }

    /// Everybody of the pool may have reported: then nothing is waited for any longer.
    fn settle(&mut self, pool: &PoolId, dirty: &mut Dirty) {
        let Some(since) = self.leads_since else { return };
        if self.all_settled || self.settled.contains(pool) || !self.fleet(pool, since).complete() {
            return;
        }
        self.settled.insert(pool.clone());
        self.touch(pool, Touched::everything(), dirty);
    }

    fn unhang(&mut self, key: &ObjectKey) {
        let Some(object) = self.objects.get(key) else {
            return;
        };
        self.groups.unhang(object);
        let Some(pool) = pool_of(object) else {
            return;
        };
        if let Some(chains) = self.by_pool.get_mut(&pool) {
            chains.remove(key);
            if chains.is_empty() {
                self.by_pool.remove(&pool);
            }
        }
    }
}

fn pool_of(object: &Object) -> Option<PoolId> {
    match object {
        Object::Pool(_) => None,
        Object::Chain(chain) => compile::pool_of(chain),
    }
}

/// Whether `one` is a newer version of the same object. Versions of one kind may be compared as numbers (Kubernetes API
/// concepts, "Resource versions"); one that is none is taken to be older, and the API server says so if it is not.
fn newer(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    let number = |meta: &ObjectMeta| meta.resource_version.as_ref()?.parse::<u64>().ok();
    one.uid == other.uid && number(one) > number(other)
}

/// Whether proxies see it in different ways. That they do no more is worth a write: whoever waited for them need not any longer.
fn disputed(status: &ProxyChainStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| chain::has_dissent(&condition.message))
}

/// The status but for what is not worth a write of its own.
fn without_words(status: &ProxyChainStatus) -> ProxyChainStatus {
    let mut status = status.clone();
    for EndpointStatus { reason, .. } in &mut status.endpoints {
        reason.clear();
    }
    for condition in &mut status.conditions {
        // A backend that comes back does so at one proxy after the other.
        condition.message = chain::without_dissent(&condition.message);
    }
    if let Some(redirect) = &mut status.redirect {
        redirect.guests = 0;
    }
    status
}

#[cfg(test)]
mod tests;
