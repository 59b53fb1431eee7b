//! What sidecars are told, and when.

use super::*;

/// A pool with pods of its own, and a sidecar pool that shares a group with it, with the namespace's keys.
fn near_and_far() -> Index {
    let mut index = index();
    let sidecar = json!({"workload": {"kind": "Sidecar"}, "listeners": [{"name": "a", "port": 8443}]});
    let grouped = |name: &str, pool: &str| {
        let backend = json!({"name": "one", "host": "one.example", "port": 80});
        let redirect = json!({"dialects": ["XMPP"]});
        let spec =
            json!({"poolRef": {"name": pool}, "group": "g", "backends": [backend], "redirect": redirect});
        Change::Chain(object("ProxyChain", name, 1, &spec))
    };
    for change in [
        pool("far", 1, "far"),
        Change::Pool(object("ProxyPool", "side", 1, &sidecar)),
        grouped("there", "far"),
        grouped("here", "side"),
        groups::pod("far-0", "far", "10.0.0.1"),
        secret("switchyard-gossip-keys", Some("1")),
        groups::fetched_keys("switchyard-gossip-keys"),
    ] {
        apply(&mut index, change);
    }
    index
}

fn serves(chains: Option<&[&str]>) -> Change {
    Change::Serves {
        pool: pool_key("far"),
        name: "far-0".into(),
        chains: chains.map(|chains| chains.iter().map(|name| chain_key(name)).collect()),
    }
}

fn snapshot(index: &Index, pool: &str) -> switchyard_snapshot::Snapshot {
    let unit = Unit::Pool(pool_key(pool));
    let compiled = compile(&index.resources(&unit), Profile::Cluster);
    assert_eq!(compiled.refused, []);
    compiled.snapshots[&pool_key(pool)].clone()
}

#[test]
fn sidecars_are_told_who_serves_and_nobody_else_is() {
    let mut index = near_and_far();
    assert_eq!(apply(&mut index, serves(Some(&["there"]))), ["pool side"]);
    let side = snapshot(&index, "side");
    let far = side.peers.iter().find(|pool| pool.id == pool_key("far")).unwrap();
    let told = |pool: &switchyard_snapshot::PeerPool| pool.proxies.as_ref().unwrap()[0].serves.clone();
    assert_eq!(told(far), Some(vec![chain_key("there")]));
    let gossips = snapshot(&index, "far");
    let own = gossips
        .peers
        .iter()
        .find(|pool| pool.id == pool_key("far"))
        .unwrap();
    assert_eq!(told(own), None, "they hear it from each other");
    assert_eq!(apply(&mut index, serves(None)), ["pool side"]);
    let side = snapshot(&index, "side");
    let far = side.peers.iter().find(|pool| pool.id == pool_key("far")).unwrap();
    assert_eq!(told(far), None);
}

#[test]
fn a_sidecar_only_relays_and_has_no_key_of_gossip() {
    let index = near_and_far();
    let (side, far) = (snapshot(&index, "side"), snapshot(&index, "far"));
    let keys = far.pool.gossip.unwrap().keys;
    assert_eq!(
        (side.pool.gossip.is_none(), side.pool.relay_keys.len()),
        (true, 1)
    );
    assert!(!keys.contains(&side.pool.relay_keys[0]));
    assert_eq!(far.pool.relay_keys, []);
    assert_eq!(side.chains[0].redirect.dialects, []);
    assert_eq!(far.chains[0].redirect.dialects.len(), 1);
}
