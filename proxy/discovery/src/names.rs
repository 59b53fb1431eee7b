//! Resources by name, as they stand on the wire: `pool`, `listener/NAME`, `chain/NAMESPACE/NAME`, `peers/NAMESPACE/NAME`.
//! Names of Kubernetes hold no slash.

use switchyard_snapshot::{ChainId, PoolId, ResourceId};

pub(crate) fn name_of(id: &ResourceId) -> String {
    match id {
        ResourceId::Pool => "pool".to_owned(),
        ResourceId::Listener(name) => format!("listener/{name}"),
        ResourceId::Chain(ChainId { namespace, name }) => format!("chain/{namespace}/{name}"),
        ResourceId::Peers(PoolId { namespace, name }) => format!("peers/{namespace}/{name}"),
    }
}

/// None: no resource of this release has such a name.
pub(crate) fn id_of(name: &str) -> Option<ResourceId> {
    let plain = |part: &str| !part.is_empty() && !part.contains('/');
    match name.split_once('/') {
        None if name == "pool" => Some(ResourceId::Pool),
        Some(("listener", name)) if plain(name) => Some(ResourceId::Listener(name.to_owned())),
        Some((kind @ ("chain" | "peers"), rest)) => {
            let (namespace, name) = rest.split_once('/')?;
            if !plain(namespace) || !plain(name) {
                return None;
            }
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            Some(match kind {
                "chain" => ResourceId::Chain(ChainId { namespace, name }),
                _ => ResourceId::Peers(PoolId { namespace, name }),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_what_they_name() {
        let chain = ResourceId::Chain(ChainId {
            namespace: "edge".into(),
            name: "msuite-1".into(),
        });
        let peers = ResourceId::Peers(PoolId {
            namespace: "edge".into(),
            name: "dmz-a".into(),
        });
        for (id, name) in [
            (peers, "peers/edge/dmz-a"),
            (ResourceId::Pool, "pool"),
            (ResourceId::Listener("tls".into()), "listener/tls"),
            (chain, "chain/edge/msuite-1"),
        ] {
            assert_eq!(name_of(&id), name);
            assert_eq!(id_of(name), Some(id));
        }
        for nonsense in [
            "",
            "pool/",
            "pool/a",
            "listener",
            "listener/",
            "listener/a/b",
            "chain/a",
            "chain//a",
            "chain/a/",
            "chain/a/b/c",
            "peers/a",
            "route/a",
        ] {
            assert_eq!(id_of(nonsense), None, "{nonsense:?}");
        }
    }
}
