//! From changes to what proxies run. In: changes of objects. Out: snapshots at the publisher, of those pools only that a
//! change touches; and what became of each object, for its status.
//!
//! Changes that are there together are taken in together, then each pool that they touch is compiled once. Nothing is
//! compiled before every watch has seen everything, nor before the Secrets that it names have been fetched: what is not known
//! yet would be taken for gone.

mod fresh;
mod metrics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use switchyard_crds::ProxyPool;
use switchyard_discovery::server::Publisher;
use switchyard_snapshot::{PoolId, Snapshot};
use tokio::sync::{mpsc, watch};

use crate::compile::{Compiled, ObjectKey, Profile, Refusal, compile};
use crate::index::{Change, Dirty, Index, Sizes, Unit};
use crate::sidecar::Sidecar;
use crate::status::{Board, Object};
use crate::verdicts::Verdicts;
use crate::watch::Message;

use fresh::Fresh;
pub use metrics::Metrics;

/// Messages taken in before anything is compiled, if so many are there.
const TOGETHER: usize = 4096;

/// Messages under way between the watches and here.
pub const QUEUE: usize = 1024;

/// Who is told what came of the changes.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// What proxies shall run.
    pub publisher: Publisher,
    /// The objects themselves, and what is published.
    pub board: Board,
    /// What is wrong with objects.
    pub verdicts: Verdicts,
}

/// The task that keeps the index and compiles.
pub struct Supply {
    index: Arc<Mutex<Index>>,
    fresh: Fresh,
    dirty: Dirty,
    publisher: Publisher,
    board: Board,
    verdicts: Verdicts,
    /// Watches that have not seen everything yet.
    waiting_for: usize,
    synced: watch::Sender<bool>,
    metrics: Metrics,
}

impl Supply {
    /// Nothing is known; `watches` of them will tell once they have seen everything.
    pub fn new(index: Index, watches: usize, outlets: Outlets, metrics: Metrics) -> Self {
        let Outlets {
            publisher,
            board,
            verdicts,
        } = outlets;
        Self {
            index: Arc::new(Mutex::new(index)),
            fresh: Fresh::default(),
            dirty: Dirty::new(),
            publisher,
            board,
            verdicts,
            waiting_for: watches,
            synced: watch::Sender::new(false),
            metrics,
        }
    }

    /// Whether everything that was there has been seen and compiled.
    pub fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// For whoever wants to look at it.
    pub fn view(&self) -> View {
        View(Arc::clone(&self.index))
    }

    /// Works until nobody tells it anything any more.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(TOGETHER);
        loop {
            let again = self.fresh.next();
            let due = async {
                match again {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                count = inbox.recv_many(&mut messages, TOGETHER) => {
                    if count == 0 {
                        return;
                    }
                }
                () = due => {}
            }
            let began = Instant::now();
            for message in messages.drain(..) {
                self.take(message);
            }
            for change in self.fresh.due(began) {
                lock(&self.index).apply(change, &mut self.dirty);
            }
            if self.waiting_for > 0 {
                continue;
            }
            self.settle(began).await;
            if !lock(&self.index).any_waits() {
                self.synced
                    .send_if_modified(|synced| !std::mem::replace(synced, true));
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Change(change) => {
                self.post(&change);
                let change = self.fresh.take(change, Timestamp::now(), Instant::now());
                lock(&self.index).apply(change, &mut self.dirty);
            }
            Message::Synced => self.waiting_for = self.waiting_for.saturating_sub(1),
        }
    }

    /// Tells the status task of the object itself.
    fn post(&mut self, change: &Change) {
        let object = match change {
            Change::Pool(pool) => Object::Pool(Arc::clone(pool)),
            Change::Chain(chain) => Object::Chain(Arc::clone(chain)),
            Change::PoolGone(id) | Change::PoolUnreadable(id) => {
                return self.gone(ObjectKey::pool(id));
            }
            Change::ChainGone(id) => return self.gone(ObjectKey::chain(id)),
            Change::Service(..)
            | Change::Slice { .. }
            | Change::Secret(..)
            | Change::Fetched(..)
            | Change::Serves { .. }
            | Change::Pod { .. } => return,
        };
        self.board.object(object.key(), Some(object));
    }

    fn gone(&mut self, key: ObjectKey) {
        self.verdicts.gone(&key);
        self.board.object(key, None);
    }

    /// Compiles what must be, unit by unit, so that other tasks get their turn in between.
    async fn settle(&mut self, began: Instant) {
        let units = std::mem::take(&mut self.dirty);
        if units.is_empty() {
            return;
        }
        let mut compiled = 0;
        for unit in &units {
            // it comes back once its Secrets are there
            if lock(&self.index).waits(unit) {
                continue;
            }
            compiled += 1;
            self.compile(unit);
            tokio::task::yield_now().await;
        }
        self.metrics.settled(compiled, began.elapsed(), self.sizes());
        tracing::debug!(units = compiled, took = ?began.elapsed(), "compiled");
    }

    fn sizes(&self) -> Sizes {
        lock(&self.index).sizes()
    }

    fn compile(&mut self, unit: &Unit) {
        let index = Arc::clone(&self.index);
        let index = lock(&index);
        let compiled = compile(&index.resources(unit), Profile::Cluster);
        let Compiled {
            mut snapshots,
            refused,
            notes: _, // what has no effect outside a cluster
        } = compiled;
        if let Unit::Pool(id) = unit {
            self.publish(id, snapshots.remove(id), index.has_pool(id));
        }
        let mut refused_by: BTreeMap<ObjectKey, Vec<Refusal>> = BTreeMap::new();
        for refusal in refused {
            refused_by
                .entry(refusal.object.clone())
                .or_default()
                .push(refusal);
        }
        for member in index.members(unit) {
            let refusals = refused_by.remove(&member.key).unwrap_or_default();
            self.verdicts.compiled(member.key, member.meta, refusals);
        }
    }

    /// None: the pool cannot be used; if it is there, its proxies go on with what they have.
    fn publish(&self, id: &PoolId, snapshot: Option<Snapshot>, there: bool) {
        match snapshot {
            Some(snapshot) => match self.publisher.publish(id.clone(), snapshot) {
                Ok(true) => self.metrics.published(),
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(pool = %id, %error, "a snapshot cannot be published; its proxies go on with the one before");
                    return;
                }
            },
            None if there => return,
            None => self.publisher.withdraw(id),
        }
        self.board.published(id.clone(), self.publisher.versions(id));
    }
}

/// What is known, for people: everything is computed anew when they ask.
#[derive(Clone, Debug)]
pub struct View(Arc<Mutex<Index>>);

impl View {
    /// How much is known.
    pub fn sizes(&self) -> Sizes {
        lock(&self.0).sizes()
    }

    /// A pool, if it is there and can be read.
    pub fn pool(&self, id: &PoolId) -> Option<Arc<ProxyPool>> {
        lock(&self.0).pool(id)
    }

    /// The Sidecar pools of a namespace, the oldest first.
    pub fn sidecars(&self, namespace: &str) -> Vec<Sidecar> {
        lock(&self.0).sidecars(namespace)
    }

    /// What each pool's proxies shall run, and what is refused.
    pub fn compiled(&self) -> Compiled {
        let units = lock(&self.0).units();
        let mut all = Compiled::default();
        for unit in units {
            // one lock per unit: the task that compiles in earnest does not wait for all of them
            let (resources, members) = {
                let index = lock(&self.0);
                let members: BTreeSet<ObjectKey> = index
                    .members(&unit)
                    .into_iter()
                    .map(|member| member.key)
                    .collect();
                (index.resources(&unit), members)
            };
            let mut compiled = compile(&resources, Profile::Cluster);
            if let Unit::Pool(id) = &unit {
                all.snapshots.extend(compiled.snapshots.remove_entry(id));
            }
            all.refused.extend(
                compiled
                    .refused
                    .into_iter()
                    .filter(|refusal| members.contains(&refusal.object)),
            );
        }
        all
    }
}

fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
