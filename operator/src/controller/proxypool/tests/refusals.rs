//! What is refused before anything is written, and what pools that share an access point make of it together.

use serde_json::{Value, json};
use switchyard_crds::fixtures::set;
use switchyard_crds::{ProxyPool, Reason};

use super::super::access_point::settle;
use super::super::owner::Owner;
use super::super::validate::validate;
use super::pools;

/// A pool of this name, made in that month, with changes at JSON pointers.
fn pool(name: &str, month: u32, changes: &[(&str, Value)]) -> ProxyPool {
    let mut value = json!({
        "apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyPool",
        "metadata": {"name": name, "namespace": "edge", "creationTimestamp": format!("2026-{month:02}-01T00:00:00Z")},
        "spec": {"listeners": [{"name": "sync", "port": 8443}]},
    });
    for (pointer, new) in changes {
        set(&mut value, pointer, new.clone());
    }
    pools(&value.to_string()).remove(0)
}

fn refused(pool: &ProxyPool, neighbours: &[&ProxyPool]) -> Vec<(String, Reason)> {
    let refusals = validate(pool, Owner::of(pool).unwrap(), neighbours)
        .err()
        .unwrap_or_default();
    refusals
        .into_iter()
        .map(|refusal| {
            assert!(refusal.message.len() > 20, "{refusal:?}");
            (refusal.field.to_string(), refusal.reason)
        })
        .collect()
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn each_mistake_is_refused_with_its_field() {
    let stateful = ("/spec/workload/kind", json!("StatefulSet"));
    let two = ("/spec/listeners/-", json!({"name": "web", "port": 8080}));
    let balanced = |port: u32| json!({"type": "LoadBalancer", "port": port});
    let cases = [
        (vec![], vec![]),
        (
            vec![("/spec/listeners/0/name", json!("proxy-health"))],
            vec!["spec.listeners[0].name"],
        ),
        (
            vec![("/spec/listeners/0/name", json!("proxy-gossip"))],
            vec!["spec.listeners[0].name"],
        ),
        (
            vec![
                ("/spec/listeners/0/addresses", json!(["192.0.2.1"])),
                (
                    "/spec/listeners/-",
                    json!({"name": "b", "port": 8443, "addresses": ["192.0.2.2"]}),
                ),
            ],
            vec!["spec.listeners[1].port"],
        ),
        (
            vec![
                ("/spec/listeners/0/addresses", json!(["192.0.2.1"])),
                (
                    "/spec/listeners/-",
                    json!({"name": "b", "port": 8443, "addresses": ["192.0.2.2"]}),
                ),
                ("/spec/accessPoint", json!({"service": {"type": "None"}})),
            ],
            vec![],
        ),
        (vec![("/spec/listeners/0/bindPort", json!(443))], vec![]),
        (
            vec![
                ("/spec/listeners/0/bindPort", json!(443)),
                ("/spec/workload/hostNetwork", json!(true)),
            ],
            vec!["spec.listeners[0].bindPort"],
        ),
        (
            vec![(
                "/spec/workload/podLabels",
                json!({"switchyard.dev/pool": "other", "app.kubernetes.io/name": "x", "team": "a"}),
            )],
            vec![
                "spec.workload.podLabels[\"app.kubernetes.io/name\"]",
                "spec.workload.podLabels[\"switchyard.dev/pool\"]",
            ],
        ),
        (
            vec![("/spec/workload/podAnnotations", json!({"switchyard.dev/x": "y"}))],
            vec!["spec.workload.podAnnotations[\"switchyard.dev/x\"]"],
        ),
        (
            vec![stateful.clone(), ("/spec/directAddress", json!([balanced(443)]))],
            vec![],
        ),
        (
            vec![
                stateful.clone(),
                two.clone(),
                ("/spec/directAddress", json!([balanced(443)])),
            ],
            vec!["spec.directAddress[0].port"],
        ),
        (
            vec![
                stateful.clone(),
                two,
                ("/spec/directAddress", json!([{"type": "LoadBalancer"}])),
            ],
            vec![],
        ),
        (
            vec![
                stateful.clone(),
                ("/spec/directAddress", json!([balanced(1), balanced(2)])),
            ],
            vec!["spec.directAddress[1].port"],
        ),
        (
            vec![
                stateful.clone(),
                (
                    "/spec/directAddress",
                    json!([{"type": "NodePort", "port": 30000}]),
                ),
            ],
            vec!["spec.directAddress[0].port"],
        ),
        (
            vec![
                stateful,
                ("/spec/replicas", json!(1)),
                (
                    "/spec/directAddress",
                    json!([{"type": "NodePort", "port": 30000}]),
                ),
            ],
            vec![],
        ),
    ];
    for (changes, expected) in cases {
        let pool = pool("a", 1, &changes);
        let fields: Vec<_> = refused(&pool, &[&pool])
            .into_iter()
            .map(|(field, reason)| {
                assert_eq!(reason, Reason::Invalid);
                field
            })
            .collect();
        assert_eq!(fields, expected, "{changes:?}");
    }
}

#[test]
fn pools_that_share_an_access_point_must_agree_with_the_oldest() {
    let name = ("/spec/accessPoint", json!({"name": "sync"}));
    let right = pool(
        "b",
        2,
        &[
            name.clone(),
            ("/spec/listeners/-", json!({"name": "web", "port": 8080})),
        ],
    );
    let younger = |changes: &[(&str, Value)]| pool("a", 3, &[std::slice::from_ref(&name), changes].concat());
    let cases = [
        ("agrees", younger(&[]), None),
        (
            "binds another port",
            younger(&[("/spec/listeners/0/bindPort", json!(9000))]),
            None,
        ),
        (
            "adds a port",
            younger(&[("/spec/listeners/-", json!({"name": "mqtt", "port": 1883}))]),
            None,
        ),
        (
            "another host",
            younger(&[("/spec/accessPoint/host", json!("x.example"))]),
            Some("spec.accessPoint.host"),
        ),
        (
            "another Service",
            younger(&[("/spec/accessPoint/service", json!({"type": "NodePort"}))]),
            Some("spec.accessPoint.service"),
        ),
        (
            "the listener with another port",
            younger(&[("/spec/listeners/0/port", json!(443))]),
            Some("spec.listeners[0].port"),
        ),
        (
            "the port by another name",
            younger(&[("/spec/listeners/0/name", json!("tls"))]),
            Some("spec.listeners[0].port"),
        ),
    ];
    for (what, younger, expected) in cases {
        let pools = [&younger, &right];
        assert_eq!(refused(&right, &pools), [], "{what}: the oldest is right");
        let expected: Vec<_> = expected
            .into_iter()
            .map(|field| (field.to_owned(), Reason::Conflicted))
            .collect();
        assert_eq!(refused(&younger, &pools), expected, "{what}");
        let access_point = settle("sync", pools).access_point.unwrap();
        let owners: Vec<_> = access_point
            .owners
            .iter()
            .map(|owner| owner.pool.name.as_str())
            .collect();
        let both = expected.is_empty();
        assert_eq!(owners, if both { vec!["b", "a"] } else { vec!["b"] }, "{what}");
        assert_eq!(
            settle("sync", [&right, &younger]),
            settle("sync", pools),
            "{what}: the order decides nothing"
        );
    }
    assert_eq!(settle("another", [&right]).access_point, None);
}

#[test]
fn of_pools_made_in_the_same_second_the_name_decides() {
    let one = pool(
        "a",
        1,
        &[(
            "/spec/accessPoint",
            json!({"name": "sync", "host": "one.example"}),
        )],
    );
    let other = pool(
        "b",
        1,
        &[(
            "/spec/accessPoint",
            json!({"name": "sync", "host": "other.example"}),
        )],
    );
    assert!(settle("sync", [&other, &one]).refused.contains_key("b"));
    assert!(settle("sync", [&one, &other]).refused.contains_key("b"));
}
