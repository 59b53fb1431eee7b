//! What is listed for each kind of direct address.

use serde_json::{Value, json};

use super::*;
use crate::endpoints::Definition;
use crate::pods::POOL_LABEL;

const POOL: &str = "dmz";

fn pool_key() -> PoolId {
    PoolId {
        namespace: "edge".into(),
        name: POOL.into(),
    }
}

fn spec(addresses: &Value) -> ProxyPoolSpec {
    let spec = json!({
        "workload": {"kind": "StatefulSet"}, "directAddress": addresses,
        "listeners": [{"name": "sync", "port": 8443}, {"name": "chat", "port": 5222, "directPort": 30500}],
    });
    serde_json::from_value(spec).unwrap()
}

fn service(type_: &str, pool: &str, ingress: &Value, node_ports: (Option<u16>, Option<u16>)) -> Services {
    let object = json!({
        "metadata": {"labels": {POOL_LABEL: pool}},
        "spec": {"type": type_, "ports": [
            {"name": "sync", "port": 18443, "nodePort": node_ports.0},
            {"name": "chat", "port": 25222, "nodePort": node_ports.1},
        ]},
        "status": {"loadBalancer": {"ingress": ingress}},
    });
    let id = ServiceId {
        namespace: "edge".into(),
        name: "dmz-0".into(),
    };
    let mut services = Services::default();
    services.define(
        &id,
        Some(Definition::of(&serde_json::from_value(object).unwrap())),
    );
    services
}

fn place(node_ip: Option<&str>, ready: bool) -> Place {
    Place {
        ip: "10.0.0.1".parse().unwrap(),
        node: "n1".into(),
        node_ip: node_ip.map(|ip| ip.parse().unwrap()),
        ready,
    }
}

fn listed_of(addresses: &Value, services: &Services, node_ip: Option<&str>) -> Vec<Option<String>> {
    let mut roster = Roster::default();
    assert!(roster.set(&pool_key(), "dmz-0", Some(place(node_ip, true))));
    let proxies = roster.proxies(&pool_key(), &spec(addresses), services);
    assert_eq!(
        (proxies[0].name.as_str(), proxies[0].node.as_str()),
        ("dmz-0", "n1")
    );
    let words = |it: &ListedAddress| {
        let ports = it.ports.iter().map(|(name, port)| format!(" {name}={port}"));
        format!("{}{}", it.host, ports.collect::<String>())
    };
    let listed = proxies[0].listed.iter();
    listed.map(|it| it.as_ref().map(words)).collect()
}

/// What it is, the pool's addresses, Services, the node's address, what is listed.
type Case<'a> = (
    &'a str,
    Value,
    &'a Services,
    Option<&'a str>,
    Vec<Option<&'a str>>,
);

#[test]
fn each_kind_of_address_is_listed_as_clients_reach_it() {
    let ports = (Some(30001), Some(30500));
    let balanced = service("LoadBalancer", POOL, &json!([{"ip": "198.51.100.7"}]), ports);
    let nodes = service("NodePort", POOL, &json!(null), ports);
    let node = Some("192.0.2.1");
    let none = Services::default();
    let table: Vec<Case<'_>> = vec![
        ("none", json!([]), &none, node, vec![]),
        (
            "what the proxies make of the pod's address and name is not listed",
            json!([{"type": "PodIP"}, {"type": "Hostname", "template": "{proxy}.example"}]),
            &balanced,
            node,
            vec![],
        ),
        (
            "a node's",
            json!([{"type": "NodeIP"}]),
            &none,
            node,
            vec![Some("192.0.2.1")],
        ),
        (
            "no node yet",
            json!([{"type": "NodeIP"}]),
            &none,
            None,
            vec![None],
        ),
        (
            "a load balancer's; a port that is not the direct port is told",
            json!([{"type": "LoadBalancer"}]),
            &balanced,
            node,
            vec![Some("198.51.100.7 chat=25222")],
        ),
        (
            "node ports; one that is the direct port need not be told",
            json!([{"type": "NodePort"}]),
            &nodes,
            node,
            vec![Some("192.0.2.1 sync=30001")],
        ),
        (
            "a load balancer's Service has node ports too",
            json!([{"type": "LoadBalancer"}, {"type": "PodIP"}, {"type": "NodePort"}]),
            &balanced,
            node,
            vec![Some("198.51.100.7 chat=25222"), Some("192.0.2.1 sync=30001")],
        ),
        (
            "no Service yet",
            json!([{"type": "NodePort"}, {"type": "NodeIP"}]),
            &none,
            node,
            vec![None, Some("192.0.2.1")],
        ),
    ];
    for (what, addresses, services, node, expected) in table {
        let expected: Vec<_> = expected.into_iter().map(|it| it.map(str::to_owned)).collect();
        assert_eq!(listed_of(&addresses, services, node), expected, "{what}");
    }
}

#[test]
fn a_service_is_believed_once_its_pod_has_been_ready() {
    let services = service("NodePort", POOL, &json!(null), (Some(30001), Some(30500)));
    let spec = spec(&json!([{"type": "NodePort"}, {"type": "NodeIP"}]));
    let mut roster = Roster::default();
    let node = Some("192.0.2.1");
    let mut seen = |place: Place, changed: bool| {
        assert_eq!(roster.set(&pool_key(), "dmz-0", Some(place)), changed);
        let listed = roster.proxies(&pool_key(), &spec, &services).remove(0).listed;
        listed.iter().map(Option::is_some).collect::<Vec<_>>()
    };
    assert_eq!(seen(place(node, false), true), [false, true], "it starts");
    assert_eq!(seen(place(node, true), true), [true, true]);
    assert_eq!(
        seen(place(node, false), false),
        [true, true],
        "not ready for a moment"
    );
    let another = Place {
        ip: "10.0.0.2".parse().unwrap(),
        ..place(node, false)
    };
    assert_eq!(seen(another, true), [false, true], "another pod of the name");
}

#[test]
fn a_service_that_is_not_as_it_shall_be_is_not_believed() {
    let node = Some("192.0.2.1");
    let balancer = json!([{"type": "LoadBalancer"}]);
    let named = service(
        "LoadBalancer",
        POOL,
        &json!([{"hostname": "lb.example"}]),
        (None, None),
    );
    assert_eq!(
        listed_of(&balancer, &named, node),
        [Some("lb.example chat=25222".to_owned())]
    );
    let waiting = service("LoadBalancer", POOL, &json!([]), (None, None));
    assert_eq!(listed_of(&balancer, &waiting, node), [None]);
    let unassigned = service("NodePort", POOL, &json!(null), (Some(30001), None));
    assert_eq!(
        listed_of(&json!([{"type": "NodePort"}]), &unassigned, node),
        [None],
        "guests of the other listener would be sent to a wrong port"
    );
    let others = service(
        "LoadBalancer",
        "lan",
        &json!([{"ip": "198.51.100.7"}]),
        (None, None),
    );
    assert_eq!(listed_of(&balancer, &others, node), [None], "another pool's");
    let inner = service("ClusterIP", POOL, &json!([{"ip": "198.51.100.7"}]), (None, None));
    assert_eq!(listed_of(&balancer, &inner, node), [None], "nobody comes by it");
}
