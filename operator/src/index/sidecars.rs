//! What the webhook asks: which pools of a namespace have their proxies injected.

use std::sync::Arc;

use kube::core::ObjectMeta;
use switchyard_crds::proxypool::WorkloadKind;
use switchyard_snapshot::PoolId;

use super::Index;
use crate::sidecar::Sidecar;

impl Index {
    /// The Sidecar pools of a namespace with their chains, the oldest first.
    pub fn sidecars(&self, namespace: &str) -> Vec<Sidecar> {
        let first = PoolId {
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        let there = self.pools.range(first..);
        let there = there.take_while(|(id, _)| id.namespace == namespace);
        let sidecar = there.filter(|(_, pool)| pool.object.spec.workload.kind == WorkloadKind::Sidecar);
        let mut all: Vec<Sidecar> = sidecar
            .map(|(id, pool)| {
                let chains = self.chains_of.get(id).into_iter().flatten();
                let chains = chains.filter_map(|chain| self.chains.get(chain));
                let mut chains: Vec<_> = chains.map(|chain| Arc::clone(&chain.object)).collect();
                chains.sort_by(|one, other| age(&one.metadata).cmp(&age(&other.metadata)));
                Sidecar {
                    pool: Arc::clone(&pool.object),
                    chains,
                }
            })
            .collect();
        all.sort_by(|one, other| age(&one.pool.metadata).cmp(&age(&other.pool.metadata)));
        all
    }
}

/// The lower is the older; of two that were made in the same second the one whose name comes first.
fn age(metadata: &ObjectMeta) -> (Option<jiff::Timestamp>, Option<&str>) {
    let made = metadata.creation_timestamp.as_ref().map(|time| time.0);
    (made, metadata.name.as_deref())
}
