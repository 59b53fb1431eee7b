//! Where the other tasks leave what they know. In: news, the newest of each kind per object. Out: all of it at once, to the one
//! task that folds.
//!
//! Nobody waits here: news of one object replace older ones, so there is never more of it than there are objects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::core::ObjectMeta;
use switchyard_crds::{Kind, ProxyChain, ProxyPool};
use switchyard_discovery::Hash;
use switchyard_snapshot::{PoolId, ResourceId};
use tokio::sync::Notify;

use super::Workload;
use crate::compile::{ObjectKey, Refusal};

/// What is published for a pool.
pub type Versions = Arc<BTreeMap<ResourceId, Hash>>;

/// An object that has a status.
#[derive(Clone, Debug)]
pub enum Object {
    /// A pool.
    Pool(Arc<ProxyPool>),
    /// A chain.
    Chain(Arc<ProxyChain>),
}

impl Object {
    /// Its metadata.
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Pool(pool) => &pool.metadata,
            Self::Chain(chain) => &chain.metadata,
        }
    }

    /// Its identity.
    pub fn key(&self) -> ObjectKey {
        let kind = match self {
            Self::Pool(_) => Kind::ProxyPool,
            Self::Chain(_) => Kind::ProxyChain,
        };
        ObjectKey::of(kind, self.meta())
    }
}

/// What the compile step said of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Which object: one that was deleted and made again is another.
    pub uid: String,
    /// The generation that was compiled: what follows is about that one and no other.
    pub generation: i64,
    /// What could not be used.
    pub refusals: Vec<Refusal>,
}

impl Verdict {
    /// Of the object with this metadata, as it was compiled.
    pub fn of(compiled: &ObjectMeta, refusals: Vec<Refusal>) -> Self {
        Self {
            uid: compiled.uid.clone().unwrap_or_default(),
            generation: compiled.generation.unwrap_or_default(),
            refusals,
        }
    }
}

/// The mailbox of the status task. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Board {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    news: Mutex<News>,
    posted: Notify,
}

/// Everything that was posted since it was last taken.
#[derive(Debug, Default)]
pub struct News {
    /// None: deleted.
    pub objects: BTreeMap<ObjectKey, Option<Object>>,
    /// What was compiled.
    pub verdicts: BTreeMap<ObjectKey, Verdict>,
    /// What was published.
    pub published: BTreeMap<PoolId, Versions>,
    /// None: there is none any more.
    pub workloads: BTreeMap<PoolId, Option<Workload>>,
}

impl Board {
    /// The watch has seen the object: new, changed in any way (its status too), or, with none, deleted.
    pub fn object(&self, key: ObjectKey, object: Option<Object>) {
        self.news().objects.insert(key, object);
        self.shared.posted.notify_one();
    }

    /// The compile step has looked at the object. Post it after [`Board::published`], so that no chain is called accepted
    /// while what stands for it is not known.
    pub fn verdict(&self, key: ObjectKey, verdict: Verdict) {
        self.news().verdicts.insert(key, verdict);
        self.shared.posted.notify_one();
    }

    /// This is what the proxies of the pool shall run now; empty: nothing is published for it.
    pub fn published(&self, pool: PoolId, versions: Versions) {
        self.news().published.insert(pool, versions);
        self.shared.posted.notify_one();
    }

    /// This is how the pool's workload and Service are now.
    pub fn workload(&self, pool: PoolId, workload: Option<Workload>) {
        self.news().workloads.insert(pool, workload);
        self.shared.posted.notify_one();
    }

    /// Waits until something is posted. Nothing is lost if the wait is given up.
    pub async fn posted(&self) {
        self.shared.posted.notified().await;
    }

    /// Takes everything.
    pub(super) fn take(&self) -> News {
        std::mem::take(&mut *self.news())
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.shared.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
