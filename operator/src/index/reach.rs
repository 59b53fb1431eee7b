//! How the proxies of pools are reached, as it changes. In: pods, and Services of single proxies. Out: the pools that must know.

use switchyard_crds::proxypool::WorkloadKind;
use switchyard_snapshot::PoolId;

use super::roster::asks_services;
use super::{Dirty, Index, Unit};
use crate::endpoints::{Outside, ServiceId};
use crate::pods::Pod;

impl Index {
    /// A pod is like this now; none: it is gone.
    pub(super) fn set_pod(&mut self, namespace: &str, name: &str, pod: Option<&Pod>, dirty: &mut Dirty) {
        let before = self.pods.set(namespace, name, pod).map(|before| before.pool);
        let after = pod.and_then(|pod| pod.pool.as_ref());
        if let Some(before) = before.filter(|before| Some(before) != after)
            && self.roster.set(&before, name, None)
        {
            self.proxies_changed(&before, dirty);
        }
        if let (Some(pool), Some(pod)) = (after, pod) {
            let place = pod.place.clone().filter(|_| !pod.terminating);
            if self.roster.set(pool, name, place) {
                self.proxies_changed(pool, dirty);
            }
        }
    }

    /// Who the pool's proxies are, or how they are reached, is another.
    fn proxies_changed(&self, id: &PoolId, dirty: &mut Dirty) {
        let pool = self.pools.get(id);
        if pool.is_some_and(|pool| pool.object.spec.workload.kind != WorkloadKind::Sidecar) {
            self.pool_changed(id.clone(), dirty);
        }
    }

    /// What a proxy of the pool serves is another: who gossips hears it; sidecars are told.
    pub(super) fn standing_changed(&self, id: PoolId, dirty: &mut Dirty) {
        let unit = Unit::Pool(id);
        let sidecar = |unit: &&Unit| match unit {
            Unit::Pool(id) => {
                let pool = self.pools.get(id);
                pool.is_some_and(|pool| pool.object.spec.workload.kind == WorkloadKind::Sidecar)
            }
            Unit::Chain(_) => false,
        };
        dirty.extend(self.groups.mates(&unit).filter(sidecar).cloned());
    }

    /// The Service of a single proxy is another, or not there any more.
    pub(super) fn outside_changed(&self, id: &ServiceId, before: Option<&Outside>, dirty: &mut Dirty) {
        let after = self.services.outside(id);
        if before == after {
            return;
        }
        for Outside { pool, .. } in before.into_iter().chain(after) {
            let pool = PoolId {
                namespace: id.namespace.clone(),
                name: pool.clone(),
            };
            let asks = self
                .pools
                .get(&pool)
                .is_some_and(|pool| asks_services(&pool.object.spec));
            if asks && self.roster.has(&pool, &id.name) {
                self.pool_changed(pool, dirty);
            }
        }
    }
}
