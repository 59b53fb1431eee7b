//! One watch's memory. In: events of a watch that may break and list everything anew. Out: changes, each told once; what is
//! missing from a complete new list is gone, what a broken list has not named yet is not.

use std::collections::{HashMap, HashSet};

use kube::runtime::watcher::Event;

use super::{Counters, Watched};
use crate::index::Change;

/// Namespace and name.
type Key = (String, String);

/// What one watch has seen.
#[derive(Debug)]
pub(super) struct Relist<K: Watched> {
    /// Of each object that is there: what it takes to say that it is gone.
    known: HashMap<Key, K::Mark>,
    /// While a list is under way: what was on it so far.
    listed: Option<HashSet<Key>>,
}

impl<K: Watched> Default for Relist<K> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            listed: None,
        }
    }
}

impl<K: Watched> Relist<K> {
    /// Takes an event in.
    pub(super) fn take(&mut self, event: Event<K>, counters: &Counters) -> Vec<Change> {
        match event {
            Event::Init => {
                // an unfinished list before counts for nothing
                self.listed = Some(HashSet::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(key(&object));
                }
                self.set(object, counters)
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let missing: Vec<Key> = self
                    .known
                    .keys()
                    .filter(|key| !listed.contains(*key))
                    .cloned()
                    .collect();
                missing.iter().filter_map(|key| self.gone(key)).collect()
            }
            Event::Apply(object) => self.set(object, counters),
            Event::Delete(object) => self.gone(&key(&object)).into_iter().collect(),
        }
    }

    fn set(&mut self, object: K, counters: &Counters) -> Vec<Change> {
        let key = key(&object);
        let Some((mark, change)) = object.news(counters) else {
            return self.gone(&key).into_iter().collect();
        };
        // it may belong to somebody else than before
        let moved = self.known.get(&key).is_some_and(|before| *before != mark);
        let gone = if moved { self.gone(&key) } else { None };
        self.known.insert(key, mark);
        gone.into_iter().chain([change]).collect()
    }

    fn gone(&mut self, key: &Key) -> Option<Change> {
        self.known.remove(key).map(K::gone)
    }
}

fn key<K: Watched>(object: &K) -> Key {
    let meta = object.meta();
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}
