//! Pools: what holds for the whole pool, and its listeners.

use std::collections::BTreeMap;

use switchyard_crds::proxypool::{Affinity as AffinitySpec, AffinityBy, Drain, Snat, WorkloadKind};
use switchyard_crds::{Kind, ProxyPoolSpec};
use switchyard_snapshot::{Affinity, Listener, PeerPool, Pool, PoolId};

use super::faults::Faults;
use super::tls::Vault;
use super::{FieldPath, ObjectKey, Profile, Refusal, Resources, access, by_age, listener, peers, ports};

/// A pool on which chains can be hung.
pub struct CompiledPool {
    /// What holds for the whole pool.
    pub pool: Pool,
    /// For each listener of the spec, by name: what the proxy binds, or none where it is refused.
    pub listeners: BTreeMap<String, Option<Listener>>,
    /// What others see of it.
    pub peer: PeerPool,
}

/// Every pool; none where it is refused as a whole, so that its chains can be told so.
pub type Pools = BTreeMap<PoolId, Option<CompiledPool>>;

/// Compiles each pool by itself, then settles which of those that share an access point are right.
pub fn compile_pools(resources: &Resources, profile: Profile, refused: &mut Vec<Refusal>) -> Pools {
    let oldest_first = by_age(Kind::ProxyPool, &resources.pools, refused);
    let conflicts = access::conflicts(&oldest_first);
    let mut pools = Pools::new();
    for (key, given) in oldest_first {
        let mut faults = Faults::of(key.clone(), &given.written);
        let compiled = compile_pool(&key, &given.object.spec, profile, resources, &mut faults);
        let conflict = conflicts.get(&key);
        refused.extend(faults.into_refusals());
        refused.extend(conflict.cloned());
        let pool_key = PoolId {
            namespace: key.namespace,
            name: key.name,
        };
        pools.insert(pool_key, compiled.filter(|_| conflict.is_none()));
    }
    pools
}

fn compile_pool(
    key: &ObjectKey,
    spec: &ProxyPoolSpec,
    profile: Profile,
    resources: &Resources,
    faults: &mut Faults<'_>,
) -> Option<CompiledPool> {
    let vault = Vault {
        namespace: &key.namespace,
        secrets: &resources.secrets,
    };
    let id = PoolId {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    };
    let https_port = listener::https_port(&spec.listeners);
    let path = FieldPath::spec();
    let ProxyPoolSpec {
        site,
        replicas: _,       // how many proxies run this, not what they run
        workload,          // `supported::CLUSTER_ONLY`, but for its kind
        access_point: _,   // `access`; `supported::CLUSTER_ONLY`
        direct_address: _, // `peers`
        listeners,
        affinity,
        dns: _, // `supported::NOT_BUILT_OF_POOLS`
        snat: Snat { addresses: snat },
        guests,
        peers: _, // `peers`
        drain: Drain {
            timeout: drain_timeout,
        },
    } = spec;
    let snat = faults.parse_all(&path.key("snat").key("addresses"), snat, "IP address");
    let path = path.key("listeners");
    // Standalone there are no pods to be beside.
    let sidecar = profile == Profile::Cluster && workload.kind == WorkloadKind::Sidecar;
    ports::check(listeners, &path, (profile, sidecar), faults);
    let mut compiled = BTreeMap::new();
    for (i, spec) in listeners.iter().enumerate() {
        let path = path.index(i);
        if compiled.contains_key(&spec.name) {
            let words = format!("another listener of this pool is named {:?}", spec.name);
            faults.invalid(path.key("name"), words);
            continue;
        }
        let surroundings = listener::Surroundings {
            profile,
            vault,
            https_port,
            guests: guests.max,
            sidecar,
        };
        let listener = listener::compile(spec, &path, surroundings, faults);
        compiled.insert(spec.name.clone(), listener);
    }
    let terminates = compiled.values().flatten().any(|listener| listener.tls.is_some());
    let ticket_keys = terminates.then(|| vault.ticket_keys(&key.name, faults));
    let pool = Pool {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        site: site.clone(),
        snat,
        affinity: affinity.as_ref().map(compile_affinity),
        drain_timeout: drain_timeout.get(),
        ticket_keys: ticket_keys.unwrap_or_default(),
        gossip: peers::gossip(spec, profile, vault, faults),
        relay_keys: peers::relay_keys(spec, vault, faults),
    };
    let peer = peers::peer_pool(&id, spec, profile, resources, faults);
    let usable = !faults.concern_more_than(&path);
    usable.then_some(CompiledPool {
        pool,
        listeners: compiled,
        peer,
    })
}

fn compile_affinity(spec: &AffinitySpec) -> Affinity {
    let AffinitySpec {
        by: AffinityBy::SourceIP,
        ttl,
        prefix_v4,
        prefix_v6,
    } = spec;
    Affinity {
        ttl: ttl.get(),
        prefix_v4: *prefix_v4,
        prefix_v6: *prefix_v6,
    }
}
