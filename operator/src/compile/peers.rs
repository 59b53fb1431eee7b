//! Who gossips with whom. In: pools, and what the cluster knows of their pods. Out: for each pool how its proxies gossip, and
//! how clients and other proxies reach one of them.

use switchyard_crds::ProxyPoolSpec;
use switchyard_crds::proxypool::{
    DirectAddress as Spec, DirectAddressType, Peers as PeersSpec, WorkloadKind,
};
use switchyard_discovery::relay::key_of_sidecars;
use switchyard_snapshot::{DirectAddress, DirectHost, Gossip, GossipKey, PeerListener, PeerPool, PoolId};

use super::faults::Faults;
use super::tls::Vault;
use super::{FieldPath, Profile, Resources};

/// How the pool's proxies gossip; none: they do not. A sidecar never does; in a cluster nobody does before there is a key.
pub fn gossip(
    spec: &ProxyPoolSpec,
    profile: Profile,
    vault: Vault<'_>,
    faults: &mut Faults<'_>,
) -> Option<Gossip> {
    let path = FieldPath::spec().key("peers");
    let PeersSpec {
        port,
        bind_address,
        cluster,
        key_ref,
        seeds,
    } = &spec.peers;
    let bind_address = bind_address
        .as_ref()
        .and_then(|text| faults.parse(path.key("bindAddress"), text, "IP address"));
    if spec.workload.kind == WorkloadKind::Sidecar {
        return None;
    }
    let keys = vault.gossip_keys(key_ref.as_ref(), &path.key("keyRef"), faults);
    // Outside a cluster a process makes a key of its own, which does for the proxies that it runs.
    let speaks = !keys.is_empty() || (profile == Profile::Standalone && key_ref.is_none());
    speaks.then(|| Gossip {
        port: *port,
        bind_address,
        cluster: cluster.clone().unwrap_or_default(),
        keys,
        seeds: seeds.clone(),
    })
}

/// What a sidecar signs with when it relays: what follows from the namespace's keys of gossip. It is given none of these.
pub fn relay_keys(spec: &ProxyPoolSpec, vault: Vault<'_>, faults: &mut Faults<'_>) -> Vec<GossipKey> {
    if spec.workload.kind != WorkloadKind::Sidecar {
        return Vec::new();
    }
    let keys = vault.gossip_keys(None, &FieldPath::spec().key("peers"), faults);
    keys.iter().filter_map(key_of_sidecars).collect()
}

/// The pool as others see it.
pub fn peer_pool(
    id: &PoolId,
    spec: &ProxyPoolSpec,
    profile: Profile,
    resources: &Resources,
    faults: &mut Faults<'_>,
) -> PeerPool {
    let access = spec.access_point.as_ref();
    let named = access.and_then(|access| access.host.clone());
    let service = access
        .and_then(|access| access.name.clone())
        .unwrap_or_else(|| id.name.clone());
    let access_host = named.or_else(|| {
        let in_cluster = profile == Profile::Cluster && spec.workload.kind != WorkloadKind::Sidecar;
        in_cluster.then(|| format!("{service}.{}.svc", id.namespace))
    });
    let listener = |listener: &switchyard_crds::proxypool::Listener| {
        Some(PeerListener {
            name: listener.name.clone(),
            direct_port: listener.direct_port()?,
            access_host: access_host.clone(),
            access_port: listener.port,
        })
    };
    let mut listeners: Vec<PeerListener> = spec.listeners.iter().filter_map(listener).collect();
    listeners.sort_by(|one, other| one.name.cmp(&other.name));
    let path = FieldPath::spec().key("directAddress");
    let addresses = spec.direct_address.iter().enumerate();
    PeerPool {
        id: id.clone(),
        site: spec.site.clone(),
        gossip_port: spec.peers.port,
        proxies: match profile {
            Profile::Cluster => Some(resources.proxies.get(id).cloned().unwrap_or_default()),
            Profile::Standalone => None,
        },
        listeners,
        addresses: addresses
            .filter_map(|(i, spec)| direct_address(spec, profile, &path.index(i), faults))
            .collect(),
    }
}

fn direct_address(
    spec: &Spec,
    profile: Profile,
    path: &FieldPath,
    faults: &mut Faults<'_>,
) -> Option<DirectAddress> {
    let Spec {
        type_,
        networks,
        port,
        template,
    } = spec;
    let host = match type_ {
        DirectAddressType::PodIP => DirectHost::Ip,
        DirectAddressType::Hostname => DirectHost::Template(template.clone().unwrap_or_default()),
        // Outside a cluster there is nobody to list them: `supported` says so.
        _ if profile == Profile::Standalone => return None,
        DirectAddressType::NodeIP | DirectAddressType::LoadBalancer | DirectAddressType::NodePort => {
            DirectHost::Listed
        }
    };
    let networks: Vec<ipnet::IpNet> = faults.parse_all(
        &path.key("networks"),
        networks,
        "network: write one as 10.0.0.0/8 or 2001:db8::/32",
    );
    Some(DirectAddress {
        host,
        networks: networks.iter().map(ipnet::IpNet::trunc).collect(),
        port: *port,
    })
}
