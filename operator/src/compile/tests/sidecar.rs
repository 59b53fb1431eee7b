//! Pools whose proxies run in their clients' pods.

use super::*;

fn cluster(documents: &[Value]) -> Compiled {
    let mut resources = Resources::default();
    for document in documents {
        add(&mut resources, document);
    }
    compile(&resources, Profile::Cluster)
}

fn side(listeners: Value) -> Value {
    pool(
        "dmz",
        json!({"workload": {"kind": "Sidecar"}, "listeners": listeners}),
    )
}

fn of(compiled: &Compiled, pool: &str) -> Snapshot {
    let key = PoolId {
        namespace: "edge".into(),
        name: pool.into(),
    };
    compiled.snapshots[&key].clone()
}

#[test]
fn sidecars_listen_to_their_own_pod_and_to_no_guest() {
    let listeners = json!([
        {"name": "a", "port": 25},
        {"name": "b", "port": 5432, "addresses": ["127.0.0.7", "::1"]},
        // no room for a direct port, and none is wanted
        {"name": "c", "port": 60000},
    ]);
    let compiled = cluster(&[
        side(listeners),
        to_dmz(
            "one",
            json!({"poolRef": {"name": "dmz", "listener": "a"}, "group": "g"}),
        ),
    ]);
    assert_eq!(compiled.refused, []);
    let snapshot = of(&compiled, "dmz");
    let bound: Vec<(String, u16, Option<u16>, u32)> = snapshot
        .listeners
        .iter()
        .map(|it| {
            (
                format!("{:?}", it.addresses),
                it.port,
                it.direct_port,
                it.max_guests,
            )
        })
        .collect();
    assert_eq!(
        bound,
        [
            ("[127.0.0.1]".to_owned(), 8025, None, 0),
            ("[127.0.0.7, ::1]".to_owned(), 5432, None, 0),
            ("[127.0.0.1]".to_owned(), 60000, None, 0),
        ]
    );
    assert_eq!(
        (snapshot.pool.gossip.clone(), snapshot.validate().1),
        (None, vec![])
    );
}

#[test]
fn what_others_would_reach_or_takes_a_privilege_is_refused() {
    let compiled = cluster(&[side(json!([
        {"name": "a", "port": 5432, "addresses": ["127.0.0.1", "0.0.0.0"]},
        {"name": "b", "port": 25, "bindPort": 25},
        {"name": "c", "port": 5433},
    ]))]);
    let told = refused(&compiled);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("spec.listeners[0].addresses") && told[0].contains("0.0.0.0"),
        "{told:?}"
    );
    assert!(told[1].contains("spec.listeners[1].bindPort"), "{told:?}");
    assert_eq!(of(&compiled, "dmz").listeners.len(), 1, "the others are served");
}

#[test]
fn nobody_is_sent_to_a_sidecar() {
    let mut far = to_dmz("far", json!({"group": "g"}));
    far["spec"]["poolRef"] = json!({"name": "far"});
    let mut other = to_dmz("other", json!({"group": "g"}));
    other["spec"]["poolRef"] = json!({"name": "other"});
    let compiled = cluster(&[
        side(json!([{"name": "a", "port": 8443}])),
        pool(
            "other",
            json!({"workload": {"kind": "Sidecar"}, "listeners": [{"name": "a", "port": 8443}]}),
        ),
        pool("far", json!({"listeners": [{"name": "a", "port": 8443}]})),
        to_dmz("near", json!({"group": "g"})),
        other,
        far,
    ]);
    assert_eq!(compiled.refused, []);
    let members = |pool: &str| -> Vec<String> {
        let chain = of(&compiled, pool).chains[0].clone();
        chain
            .group
            .unwrap()
            .members
            .into_iter()
            .map(|member| member.chain.name)
            .collect()
    };
    assert_eq!(members("far"), ["far"]);
    assert_eq!(members("dmz"), ["far", "near"]);
    assert_eq!(members("other"), ["far", "other"]);
}
