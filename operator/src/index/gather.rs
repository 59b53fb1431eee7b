//! What a unit is compiled from.

use std::collections::BTreeSet;
use std::sync::Arc;

use switchyard_crds::ProxyChain;
use switchyard_snapshot::PoolId;

use super::book::{secrets_of_chain, secrets_of_pool};
use super::names::{access_point, services_of};
use super::{Index, Unit};
use crate::compile::{Fields, Given, ObjectKey, Resources};
use crate::endpoints::ServiceId;
use crate::secrets::SecretId;

impl Index {
    /// What a unit is compiled from: everything that its result depends on, and nothing else.
    pub fn resources(&self, unit: &Unit) -> Resources {
        let mut resources = Resources {
            chains: self.chains_in(unit).cloned().collect(),
            ..Resources::default()
        };
        let mates = self.groups.chains(unit).filter_map(|id| self.chains.get(id));
        resources.group_mates = mates.cloned().collect();
        let peers: BTreeSet<&PoolId> = self
            .groups
            .mates(unit)
            .chain([unit])
            .filter_map(pool_in)
            .collect();
        let sharing = peers.iter().flat_map(|id| self.sharing_with(id));
        // whoever shares an access point with one of them may contradict it
        let pools: BTreeSet<&PoolId> = sharing.chain(peers.iter().copied()).collect();
        resources.pools = pools
            .into_iter()
            .filter_map(|id| self.pools.get(id))
            .cloned()
            .collect();
        for id in peers {
            if let Some(pool) = self.pools.get(id) {
                let proxies = self.roster.proxies(id, &pool.object.spec, &self.services);
                resources.proxies.insert(id.clone(), proxies);
            }
        }
        if let Unit::Pool(id) = unit
            && self.unreadable.contains(id)
        {
            resources
                .unreadable
                .insert(ObjectKey::pool(id), Fields::default());
        }
        let named: BTreeSet<ServiceId> = resources
            .chains
            .iter()
            .flat_map(|chain| services_of(&chain.object))
            .collect();
        resources.services = Some(self.services.only(named.iter()));
        resources.secrets = self.secrets.only(self.secrets_in(unit));
        resources
    }

    /// The pools that share an access point with this one, itself among them if it has one.
    pub(super) fn sharing_with(&self, id: &PoolId) -> impl Iterator<Item = &PoolId> {
        let shared = self.pools.get(id).and_then(|pool| access_point(&pool.object));
        let sharing = shared.and_then(|shared| self.sharing.get(&shared));
        sharing.into_iter().flatten()
    }

    pub(super) fn chains_in<'a>(
        &'a self,
        unit: &Unit,
    ) -> impl Iterator<Item = &'a Arc<Given<ProxyChain>>> + use<'a> {
        let (of_pool, stray) = match unit {
            Unit::Pool(id) => (self.chains_of.get(id), None),
            Unit::Chain(id) => (None, self.chains.get(id)),
        };
        let of_pool = of_pool.into_iter().flatten();
        of_pool.filter_map(|id| self.chains.get(id)).chain(stray)
    }

    pub(super) fn secrets_in<'a>(&'a self, unit: &Unit) -> impl Iterator<Item = SecretId> + use<'a> {
        let pool = match unit {
            Unit::Pool(id) => self.pools.get(id),
            Unit::Chain(_) => None,
        };
        let of_pool = pool.into_iter().flat_map(|pool| secrets_of_pool(&pool.object));
        of_pool.chain(
            self.chains_in(unit)
                .flat_map(|chain| secrets_of_chain(&chain.object)),
        )
    }
}

fn pool_in(unit: &Unit) -> Option<&PoolId> {
    match unit {
        Unit::Pool(id) => Some(id),
        Unit::Chain(_) => None,
    }
}
