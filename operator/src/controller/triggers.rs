//! Which pools a change concerns. Pure.
//!
//! In: watch events of pools. Out: the pools to look at: the one that changed (not for a mere status), and those that share an
//! access point with it or did before; and the pools that are gone.

use std::collections::{BTreeMap, BTreeSet};

use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use switchyard_crds::ProxyPool;
use switchyard_snapshot::PoolId;

use crate::compile;

/// What a pool was like when it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    uid: Option<String>,
    generation: Option<i64>,
    deleting: bool,
    access_point: Option<String>,
}

/// What a change asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concerned {
    /// Pools to look at.
    pub look_at: BTreeSet<PoolId>,
    /// Pools that are gone.
    pub gone: BTreeSet<PoolId>,
}

/// The pools of one watch.
#[derive(Debug, Default)]
pub struct Triggers {
    pools: BTreeMap<PoolId, Seen>,
    /// While the watch starts anew: everything there is.
    fresh: Option<BTreeMap<PoolId, Seen>>,
}

impl Triggers {
    /// Takes note of an event. While a watch starts, nothing is asked for until everything is known.
    pub fn event(&mut self, event: &Event<DeserializeGuard<ProxyPool>>) -> Concerned {
        match event {
            Event::Init => {
                self.fresh = Some(BTreeMap::new());
                Concerned::default()
            }
            Event::InitApply(pool) => {
                let (id, seen) = seen(pool);
                self.fresh.get_or_insert_default().insert(id, seen);
                Concerned::default()
            }
            Event::InitDone => self.replace(),
            Event::Apply(pool) => {
                let (id, seen) = seen(pool);
                let mut concerned = Concerned::default();
                self.change(&id, Some(seen), &mut concerned);
                concerned
            }
            Event::Delete(pool) => {
                let mut concerned = Concerned::default();
                self.change(&seen(pool).0, None, &mut concerned);
                concerned
            }
        }
    }

    fn replace(&mut self) -> Concerned {
        let fresh = self.fresh.take().unwrap_or_default();
        let gone: Vec<_> = self
            .pools
            .keys()
            .filter(|id| !fresh.contains_key(id))
            .cloned()
            .collect();
        let mut concerned = Concerned::default();
        for id in gone {
            self.change(&id, None, &mut concerned);
        }
        for (id, seen) in fresh {
            self.change(&id, Some(seen), &mut concerned);
        }
        concerned
    }

    fn change(&mut self, id: &PoolId, now: Option<Seen>, concerned: &mut Concerned) {
        let before = match &now {
            Some(seen) => self.pools.insert(id.clone(), seen.clone()),
            None => self.pools.remove(id),
        };
        if before == now {
            return;
        }
        if now.is_some() {
            concerned.look_at.insert(id.clone());
        } else {
            concerned.look_at.remove(id);
            concerned.gone.insert(id.clone());
        }
        for access_point in [before, now]
            .into_iter()
            .flatten()
            .filter_map(|seen| seen.access_point)
        {
            let sharing = self.pools.iter().filter(|(other, seen)| {
                other.namespace == id.namespace && seen.access_point.as_ref() == Some(&access_point)
            });
            concerned.look_at.extend(sharing.map(|(other, _)| other.clone()));
        }
    }
}

fn seen(pool: &DeserializeGuard<ProxyPool>) -> (PoolId, Seen) {
    let meta = pool.meta();
    let seen = Seen {
        uid: meta.uid.clone(),
        generation: meta.generation,
        deleting: meta.deletion_timestamp.is_some(),
        access_point: pool
            .0
            .as_ref()
            .ok()
            .and_then(|pool| pool.access_point_name().map(str::to_owned)),
    };
    (compile::pool_id(meta), seen)
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};
    use switchyard_crds::ProxyPool;
    use switchyard_snapshot::PoolId;

    use super::{Concerned, Triggers};

    fn pool(name: &str, generation: i64, access_point: Option<&str>) -> DeserializeGuard<ProxyPool> {
        let access_point = access_point.map_or(Value::Null, |name| json!({"name": name}));
        let pool = json!({
            "apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyPool",
            "metadata": {"name": name, "namespace": "n", "uid": name, "generation": generation},
            "spec": {"accessPoint": access_point, "listeners": [{"name": "a", "port": 8443}]},
        });
        serde_json::from_value(pool).unwrap()
    }

    fn concerned(look_at: &[&str], gone: &[&str]) -> Concerned {
        let ids = |names: &[&str]| {
            let id = |name: &&str| PoolId {
                namespace: "n".to_owned(),
                name: (*name).to_owned(),
            };
            names.iter().map(id).collect()
        };
        Concerned {
            look_at: ids(look_at),
            gone: ids(gone),
        }
    }

    #[test]
    fn a_change_concerns_the_pool_and_who_shares_its_access_point_before_and_after() {
        let mut triggers = Triggers::default();
        let nobody = Concerned::default();
        assert_eq!(triggers.event(&Event::Init), nobody);
        for name in ["a", "b"] {
            assert_eq!(
                triggers.event(&Event::InitApply(pool(name, 1, Some("x")))),
                nobody
            );
        }
        assert_eq!(triggers.event(&Event::InitApply(pool("c", 1, Some("y")))), nobody);
        assert_eq!(triggers.event(&Event::InitDone), concerned(&["a", "b", "c"], &[]));
        // A status, or the same again.
        assert_eq!(triggers.event(&Event::Apply(pool("a", 1, Some("x")))), nobody);
        // Another generation; another access point; its own name as access point.
        assert_eq!(
            triggers.event(&Event::Apply(pool("a", 2, Some("x")))),
            concerned(&["a", "b"], &[])
        );
        assert_eq!(
            triggers.event(&Event::Apply(pool("a", 3, Some("y")))),
            concerned(&["a", "b", "c"], &[])
        );
        assert_eq!(
            triggers.event(&Event::Apply(pool("d", 1, None))),
            concerned(&["d"], &[])
        );
        assert_eq!(
            triggers.event(&Event::Delete(pool("a", 3, Some("y")))),
            concerned(&["c"], &["a"])
        );
        // A watch that starts anew: `b` is gone, `c` has changed, `d` has not.
        triggers.event(&Event::Init);
        triggers.event(&Event::InitApply(pool("c", 2, Some("y"))));
        triggers.event(&Event::InitApply(pool("d", 1, None)));
        assert_eq!(triggers.event(&Event::InitDone), concerned(&["c"], &["b"]));
    }

    #[test]
    fn a_pool_made_again_under_its_name_is_looked_at() {
        let mut triggers = Triggers::default();
        triggers.event(&Event::Apply(pool("a", 1, None)));
        let mut again = pool("a", 1, None);
        again.0.as_mut().unwrap().metadata.uid = Some("another".to_owned());
        assert_eq!(triggers.event(&Event::Apply(again)), concerned(&["a"], &[]));
    }
}
