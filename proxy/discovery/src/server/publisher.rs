//! What every pool shall run. In: snapshots, from whoever compiles them. Out: the newest publication to whoever
//! subscribes; equal ones wake nobody.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchyard_snapshot::{PoolId, ResourceId, Snapshot};
use tokio::sync::watch;

use super::publication::{Publication, PublishError};
use crate::Hash;

/// The newest snapshot of each pool. Clones are the same publisher.
#[derive(Clone, Debug, Default)]
pub struct Publisher {
    pools: Arc<Mutex<HashMap<PoolId, Topic>>>,
}

/// Shared, so that one that is being published to is seen to be in use.
type Topic = Arc<watch::Sender<Option<Arc<Publication>>>>;

impl Publisher {
    /// Nothing is published yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `snapshot` what the proxies of `pool` shall run. True: something in it is new; false: nothing is, and nobody
    /// is woken. Only pieces that differ from those published before are serialised, hashed and sent.
    ///
    /// Publish nothing before everything that goes into the snapshot is known: a chain that is not in it ends on every
    /// proxy.
    ///
    /// # Errors
    /// A piece cannot be serialised; then what was published before stays.
    pub fn publish(&self, pool: PoolId, snapshot: Snapshot) -> Result<bool, PublishError> {
        let topic = Arc::clone(self.pools().entry(pool).or_default());
        let mut outcome = Ok(false);
        // the pool's lock, not that of all: a large pool that is new holds up nobody else
        topic.send_if_modified(|newest| match Publication::after(newest.as_deref(), snapshot) {
            Ok(Some(publication)) => {
                *newest = Some(Arc::new(publication));
                outcome = Ok(true);
                true
            }
            Ok(None) => false,
            Err(error) => {
                outcome = Err(error);
                false
            }
        });
        outcome
    }

    /// The pool is gone. Its proxies are told nothing: what they run they go on running until they are ended.
    pub fn withdraw(&self, pool: &PoolId) {
        let mut pools = self.pools();
        if let Some(topic) = pools.get(pool) {
            topic.send_if_modified(|newest| {
                *newest = None;
                false
            });
        }
        tidy(&mut pools);
    }

    /// Versions of everything that is published for `pool`; empty if nothing is. A proxy runs a resource as published if
    /// it has acknowledged exactly this version of it.
    pub fn versions(&self, pool: &PoolId) -> Arc<BTreeMap<ResourceId, Hash>> {
        let topic = self.pools().get(pool).cloned();
        topic
            .and_then(|topic| topic.borrow().as_ref().map(|it| Arc::clone(it.versions())))
            .unwrap_or_default()
    }

    /// The newest publication of a pool, now and from now on; none as long as nothing is published.
    pub(super) fn subscribe(&self, pool: PoolId) -> watch::Receiver<Option<Arc<Publication>>> {
        let mut pools = self.pools();
        tidy(&mut pools);
        pools.entry(pool).or_default().subscribe()
    }

    fn pools(&self) -> MutexGuard<'_, HashMap<PoolId, Topic>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets pools of which nothing is published and that nobody listens to.
fn tidy(pools: &mut HashMap<PoolId, Topic>) {
    pools.retain(|_, topic| {
        Arc::strong_count(topic) > 1 || topic.receiver_count() > 0 || topic.borrow().is_some()
    });
}
