//! The pods of pools. In: what the watch sees. Out: whether a pod of this name and UID is there and whose it is; kept when
//! the API server is gone.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use kube::core::ObjectMeta;
use switchyard_snapshot::PoolId;

/// The label by which a pod belongs to a pool of its namespace.
pub const POOL_LABEL: &str = "switchyard.dev/pool";

/// One pod of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Of this very pod; another of the same name has another.
    pub uid: String,
    /// The pool that its label names.
    pub pool: PoolId,
    /// It was told to end.
    pub terminating: bool,
}

/// Every pod of every pool. Clones are the same cache.
#[derive(Clone, Debug, Default)]
pub struct Pods(Arc<RwLock<HashMap<(String, String), Member>>>);

impl Pods {
    /// A pod, if it is there and belongs to a pool.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Member> {
        let pods = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pods.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pod as it is now.
    pub fn set(&self, metadata: &ObjectMeta) {
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
            return;
        };
        let pool = metadata.labels.as_ref().and_then(|labels| labels.get(POOL_LABEL));
        let mut pods = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.clone(), name.clone());
        match pool {
            Some(pool) => {
                let member = Member {
                    uid: metadata.uid.clone().unwrap_or_default(),
                    pool: PoolId {
                        namespace: namespace.clone(),
                        name: pool.clone(),
                    },
                    terminating: metadata.deletion_timestamp.is_some(),
                };
                pods.insert(key, member);
            }
            None => {
                pods.remove(&key);
            }
        }
    }

    /// The pod is gone.
    pub fn gone(&self, namespace: &str, name: &str) {
        let mut pods = self.0.write().unwrap_or_else(PoisonError::into_inner);
        pods.remove(&(namespace.to_owned(), name.to_owned()));
    }
}
