use serde_json::{Value, json};
use switchyard_crds::Kind;
use switchyard_crds::proxypool::{AddressType, PoolAddress};
use switchyard_discovery::server::What;
use switchyard_snapshot::Report;

use super::*;
use crate::status::fixture::*;
use crate::status::{Object, Reach, reach};

fn scene(spec: &Value) -> Scene {
    let mut scene = Scene::serving(&["a", "b"]);
    scene.put(Object::Pool(std::sync::Arc::new(pool(spec))));
    scene
}

fn write(mut scene: Scene) -> Scene {
    scene.write();
    scene
}

#[test]
fn a_pool_that_is_up() {
    let scene = Scene::serving(&["a", "b"]);
    let status = scene.pool();
    let types: Vec<&str> = status.conditions.iter().map(|it| it.type_.as_str()).collect();
    assert_eq!(types, ["Accepted", "ResolvedRefs", "Programmed", "Ready"]);
    assert_eq!(scene.pool_condition("Accepted"), "True/Accepted @1");
    assert_eq!(
        scene.pool_condition("Programmed"),
        "True/Programmed @1: 2 of 2 programmed"
    );
    assert_eq!(
        scene.pool_condition("Ready"),
        "True/Ready @1: 2 of 2 proxies are ready"
    );
    assert_eq!(
        (status.replicas, status.ready_replicas, status.observed_generation),
        (2, 2, Some(1))
    );
    assert_eq!(
        (status.ready.as_deref(), status.programmed.as_deref()),
        (Some("2/2"), Some("2/2"))
    );
    assert_eq!(status.selector.as_deref(), Some("switchyard.dev/pool=dmz"));
}

#[test]
fn one_of_two_is_enough_for_clients_and_is_said() {
    let mut scene = Scene::serving(&["a", "b"]);
    scene.workload(workload(2, 1));
    scene.write();
    assert_eq!(
        scene.pool_condition("Ready"),
        "True/Ready @1: 1 of 2 proxies are ready"
    );
    assert_eq!(scene.pool().ready.as_deref(), Some("1/2"));
    scene.workload(workload(2, 0));
    scene.write();
    assert_eq!(
        scene.pool_condition("Ready"),
        "False/NoReadyProxies @1: no proxy is up"
    );
}

#[test]
fn what_runs_may_be_of_an_older_generation() {
    let mut pool = pool(&json!({"replicas": 3}));
    pool.metadata.generation = Some(2);
    let mut scene = Scene::serving(&["a", "b"]);
    pool.status = Some(scene.pool());
    scene.put(Object::Pool(std::sync::Arc::new(pool)));
    scene.compile(&key(Kind::ProxyPool, "dmz"), Vec::new());
    scene.write();
    assert_eq!(scene.pool().observed_generation, Some(2));
    assert_eq!(
        scene.pool_condition("Programmed"),
        "True/Programmed @2: 2 of 2 programmed"
    );
    assert_eq!(
        scene.pool_condition("Ready"),
        "True/Ready @1: 2 of 2 proxies are ready"
    );
    scene.workload(Workload {
        generation: 2,
        ..workload(3, 2)
    });
    scene.write();
    assert_eq!(
        scene.pool_condition("Ready"),
        "True/Ready @2: 2 of 3 proxies are ready"
    );
    assert_eq!(
        scene.pool_condition("Programmed"),
        "False/PartiallyProgrammed @2: 2 of 3 programmed; 1 not connected"
    );
}

#[test]
fn a_refused_listener_and_a_port_that_is_taken_are_rejected_configurations() {
    let mut scene = Scene::serving(&["a", "b"]);
    scene.refuses(
        "a",
        ResourceId::Listener("sync".into()),
        "sync 1",
        "no such protocol",
    );
    scene.write();
    assert_eq!(
        scene.pool_condition("Programmed"),
        "False/ConfigRejected @1: 1 of 2 programmed; a: no such protocol"
    );
    assert_eq!(
        scene.condition("Programmed"),
        "True/Programmed @1: 2 of 2 programmed"
    );
    assert_eq!(
        scene.happened(),
        ["ConfigRejected: 1 of 2 programmed; a: no such protocol"]
    );
    scene.runs("a", &[]);
    let report = Report {
        listen_errors: vec!["sync: 0.0.0.0:8443: address in use".into()],
        ..report(vec![well()])
    };
    scene.does("b", What::Reported(report));
    scene.write();
    let words =
        "False/ConfigRejected @1: 1 of 2 programmed; b cannot listen: sync: 0.0.0.0:8443: address in use";
    assert_eq!(scene.pool_condition("Programmed"), words);
}

#[test]
fn a_load_balancer_without_an_address() {
    let mut scene = Scene::serving(&["a"]);
    let mut waiting = workload(1, 1);
    waiting.reach.pending = true;
    scene.workload(waiting);
    scene.write();
    let programmed = "False/AddressNotAssigned @1: 1 of 1 programmed; the load balancer has no address yet";
    assert_eq!(scene.pool_condition("Programmed"), programmed);
    let ready = "False/AddressNotAssigned @1: the proxies are up, but the load balancer has no address yet";
    assert_eq!(scene.pool_condition("Ready"), ready);
    let mut found = workload(1, 1);
    found.reach.addresses = vec![PoolAddress {
        type_: AddressType::IPAddress,
        value: "192.0.2.7".into(),
    }];
    scene.workload(found.clone());
    scene.write();
    assert_eq!(scene.pool().addresses, found.reach.addresses);
    assert!(scene.pool_condition("Ready").starts_with("True/Ready"));
}

#[test]
fn refusals_of_the_compile_step() {
    let pool = key(Kind::ProxyPool, "dmz");
    let mut scene = Scene::new(0);
    let many = (0..7).map(|i| refusal(&pool, &format!("f{i}"), Reason::Invalid, "no"));
    scene.compile(&pool, many.collect());
    scene.publish(&[]);
    scene.write();
    assert_eq!(
        scene.pool_condition("Accepted"),
        "False/Invalid @1: spec.f0: no; spec.f1: no; spec.f2: no; spec.f3: no; spec.f4: no; and 2 more"
    );
    assert_eq!(
        scene.pool_condition("Programmed"),
        "False/Invalid @1: it cannot be used as it is"
    );
    assert_eq!(
        scene.pool_condition("Ready"),
        "False/Invalid @1: it is not accepted: nobody is served"
    );
}

#[test]
fn sidecars_are_counted_by_their_connections() {
    let mut scene = write(scene(&json!({"workload": {"kind": "Sidecar"}, "replicas": 2})));
    assert_eq!(
        scene.pool_condition("Ready"),
        "True/Ready @1: 2 of 2 proxies are ready"
    );
    scene.does("a", What::Disconnected);
    scene.pass(5);
    scene.write();
    assert_eq!(
        (scene.pool().replicas, scene.pool().ready.as_deref()),
        (1, Some("1/1"))
    );
    scene.does(
        "b",
        What::Reported(Report {
            draining: true,
            ..report(vec![well()])
        }),
    );
    scene.write();
    assert_eq!(
        scene.pool_condition("Ready"),
        "False/NoReadyProxies @1: no proxy is up"
    );
}

#[test]
fn fields_without_effect_are_said() {
    for (kind, replicas, said) in [
        ("Deployment", 5, "True/Accepted @1"),
        ("StatefulSet", 5, "True/Accepted @1"),
        // what the schema fills in is nobody's wish
        ("DaemonSet", 2, "True/Accepted @1"),
        (
            "DaemonSet",
            5,
            "True/FieldIgnored @1: spec.replicas has no effect: a DaemonSet runs one proxy on each node",
        ),
        (
            "Sidecar",
            5,
            "True/FieldIgnored @1: spec.replicas has no effect: sidecars run in the clients' pods",
        ),
    ] {
        let scene = write(scene(&json!({"workload": {"kind": kind}, "replicas": replicas})));
        assert_eq!(scene.pool_condition("Accepted"), said, "{kind}");
    }
}

#[test]
fn a_hidden_client_address_matters_where_a_field_needs_it() {
    let spec = |service: Value, listener: Value, affinity: bool| {
        let mut sync = json!({"name": "sync", "port": 8443});
        for (field, value) in listener.as_object().unwrap() {
            sync[field] = value.clone();
        }
        let mut spec = json!({"accessPoint": {"service": service}, "listeners": [sync]});
        if affinity {
            spec["affinity"] = json!({"by": "SourceIP"});
        }
        spec
    };
    let cluster = |type_: &str| json!({"type": type_, "externalTrafficPolicy": "Cluster"});
    let allowed = || json!({"allowedSources": ["10.0.0.0/8"]});
    let trusted = json!({"allowedSources": ["10.0.0.0/8"], "proxyProtocol": "Require", "trustedSources": ["10.0.0.0/8"]});
    for (spec, fields) in [
        (
            spec(cluster("LoadBalancer"), allowed(), false),
            "spec.listeners[0].allowedSources",
        ),
        (
            spec(
                cluster("NodePort"),
                json!({"monitorSources": ["10.0.0.0/8"]}),
                false,
            ),
            "spec.listeners[0].monitorSources",
        ),
        (
            spec(cluster("NodePort"), allowed(), true),
            "spec.affinity, spec.listeners[0].allowedSources",
        ),
        (spec(cluster("NodePort"), json!({}), false), ""),
        (spec(cluster("NodePort"), trusted, true), ""),
        (spec(cluster("ClusterIP"), allowed(), true), ""),
        (
            spec(
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}),
                allowed(),
                true,
            ),
            "",
        ),
    ] {
        let said = write(scene(&spec)).pool_condition("Accepted");
        if fields.is_empty() {
            assert_eq!(said, "True/Accepted @1", "{spec}");
        } else {
            assert!(
                said.starts_with(&format!("True/ClientAddressHidden @1: {fields} cannot work")),
                "{said}"
            );
        }
    }
}

#[test]
fn what_needs_a_privileged_namespace_says_so_where_it_is_not_one() {
    let host = json!({"workload": {"hostNetwork": true}});
    let node = json!({"directAddress": [{"type": "NodeIP"}]});
    let refused = "pods \"dmz-x\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces";
    for (spec, level, pods_refused, expected) in [
        (
            &host,
            Some("restricted"),
            None,
            "True/PrivilegedNamespaceRequired @1: spec.workload.hostNetwork needs a privileged namespace, and this one enforces restricted",
        ),
        (
            &node,
            Some("baseline"),
            None,
            "True/PrivilegedNamespaceRequired @1: spec.directAddress of type NodeIP needs a privileged namespace, and this one enforces baseline",
        ),
        (
            &host,
            None,
            Some(refused),
            "True/PrivilegedNamespaceRequired @1: spec.workload.hostNetwork needs a privileged namespace: pods",
        ),
        (&host, Some("privileged"), None, "True/Accepted @1"),
        (&host, None, None, "True/Accepted @1"),
        (&json!({}), Some("restricted"), Some(refused), "True/Accepted @1"),
    ] {
        let mut scene = scene(spec);
        scene.workload(Workload {
            pod_security: level.map(str::to_owned),
            pods_refused: pods_refused.map(str::to_owned),
            ..workload(2, 0)
        });
        scene.write();
        let said = scene.pool_condition("Accepted");
        assert!(said.starts_with(expected), "{said}");
        let ready = scene.pool_condition("Ready");
        let strict = expected.contains("Privileged");
        assert_eq!(
            ready.starts_with("False/PrivilegedNamespaceRequired"),
            strict,
            "{ready}"
        );
        if pods_refused.is_some() && !strict {
            assert!(
                ready.starts_with("False/NoReadyProxies @1: no proxy is up; pods cannot be made: pods"),
                "{ready}"
            );
        }
    }
}

#[test]
fn addresses_the_best_first() {
    let service = serde_json::from_value(json!({
        "metadata": {"name": "sync", "namespace": "edge"},
        "spec": {"clusterIPs": ["10.96.0.7", "None"]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}, {"hostname": "lb.example"}]}},
    }))
    .unwrap();
    let values =
        |reach: &Reach| -> Vec<String> { reach.addresses.iter().map(|it| it.value.clone()).collect() };
    let balanced =
        pool(&json!({"accessPoint": {"host": "sync.example", "service": {"type": "LoadBalancer"}}}));
    let all = reach(&balanced, Some(&service));
    assert_eq!(
        values(&all),
        [
            "sync.example",
            "192.0.2.7",
            "lb.example",
            "sync.edge.svc",
            "10.96.0.7"
        ]
    );
    assert_eq!(all.addresses[1].type_, AddressType::IPAddress);
    assert_eq!(all.addresses[2].type_, AddressType::Hostname);
    assert!(!all.pending);
    let none = reach(&balanced, None);
    assert!(none.pending);
    assert_eq!(values(&none), ["sync.example"]);
    assert_eq!(
        reach(&pool(&json!({"workload": {"kind": "Sidecar"}})), None),
        Reach::default()
    );
}
