use serde_json::{Value, json};

use super::*;

fn id(name: &str) -> ServiceId {
    ServiceId {
        namespace: "edge".into(),
        name: name.into(),
    }
}

fn definition(spec: &Value) -> Definition {
    let service = json!({"metadata": {"name": "cms", "namespace": "edge"}, "spec": spec});
    Definition::of(&serde_json::from_value(service).unwrap())
}

/// A slice of `cms` with these ports, and endpoints with these conditions.
fn slice(ports: &Value, endpoints: &[(&str, Value)]) -> Slice {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(address, conditions)| json!({"addresses": [address, "192.0.2.99"], "conditions": conditions}))
        .collect();
    let slice = json!({
        "metadata": {"name": "cms-x", "namespace": "edge", "labels": {"kubernetes.io/service-name": "cms"}},
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    });
    let (service, slice) = Slice::of(&serde_json::from_value(slice).unwrap()).unwrap();
    assert_eq!(service, id("cms"));
    slice
}

fn of(definition: Definition, slices: Vec<Slice>) -> Services {
    let mut services = Services::default();
    services.define(&id("cms"), Some(definition));
    for (n, slice) in slices.into_iter().enumerate() {
        services.slice(&id("cms"), &n.to_string(), Some(slice));
    }
    services
}

fn words(found: Result<Vec<SocketAddr>, NoEndpoints>) -> Vec<String> {
    found.unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn conditions_decide_who_takes_connections() {
    let one_port = || definition(&json!({"ports": [{"port": 80, "targetPort": "http"}]}));
    let port = || json!([{"port": 8080}]);
    let nothing = json!({});
    let ready = json!({"ready": true, "serving": true, "terminating": false});
    let starting = json!({"ready": false, "serving": false, "terminating": false});
    let leaving = json!({"ready": false, "serving": true, "terminating": true});
    let leaving_old = json!({"ready": false, "terminating": true});
    let broken = json!({"ready": false, "serving": false, "terminating": true});
    // a Service that publishes addresses that are not ready calls them ready
    let published = json!({"ready": true, "serving": false, "terminating": true});
    for (conditions, expected) in [
        (vec![&nothing], vec!["10.0.0.0:8080"]),
        (vec![&ready, &starting], vec!["10.0.0.0:8080"]),
        (vec![&starting], vec![]),
        (vec![&leaving, &ready], vec!["10.0.0.1:8080"]),
        (vec![&leaving, &starting], vec!["10.0.0.0:8080"]),
        (vec![&leaving_old], vec!["10.0.0.0:8080"]),
        (vec![&broken], vec![]),
        (vec![&published], vec!["10.0.0.0:8080"]),
    ] {
        let addresses: Vec<String> = (0..conditions.len()).map(|n| format!("10.0.0.{n}")).collect();
        let endpoints: Vec<(&str, Value)> = addresses
            .iter()
            .map(String::as_str)
            .zip(conditions.iter().map(|c| (*c).clone()))
            .collect();
        let services = of(one_port(), vec![slice(&port(), &endpoints)]);
        assert_eq!(
            words(services.endpoints(&id("cms"), 80)),
            expected,
            "{conditions:?}"
        );
    }
}

#[test]
fn a_port_is_found_by_its_name_in_each_slice_and_only_tcp_counts() {
    let two = definition(&json!({"ports": [
        {"name": "sync", "port": 1650}, {"name": "web", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"},
    ]}));
    let old = slice(
        &json!([{"name": "sync", "port": 1650}, {"name": "web", "port": 8080}]),
        &[("10.0.0.2", json!({})), ("10.0.0.1", json!({}))],
    );
    // pods of a newer release listen elsewhere; both slices list 10.0.0.1
    let new = slice(
        &json!([{"name": "web", "port": 8081}, {"name": "dns", "port": 53, "protocol": "UDP"}]),
        &[("10.0.0.3", json!({})), ("10.0.0.1", json!({}))],
    );
    let services = of(two, vec![old.clone(), new, old]);
    assert_eq!(
        words(services.endpoints(&id("cms"), 1650)),
        ["10.0.0.1:1650", "10.0.0.2:1650"]
    );
    assert_eq!(
        words(services.endpoints(&id("cms"), 80)),
        ["10.0.0.1:8080", "10.0.0.1:8081", "10.0.0.2:8080", "10.0.0.3:8081"]
    );
    assert_eq!(
        services.endpoints(&id("cms"), 53),
        Err(NoEndpoints::NoSuchPort(vec![80, 1650]))
    );
}

#[test]
fn what_is_not_there_or_has_no_endpoints_is_told_apart() {
    let services = of(
        definition(
            &json!({"type": "ExternalName", "externalName": "cms.example.com", "ports": [{"port": 80}]}),
        ),
        vec![],
    );
    assert_eq!(
        services.endpoints(&id("cms"), 80),
        Err(NoEndpoints::External("cms.example.com".into()))
    );
    assert_eq!(services.endpoints(&id("gone"), 80), Err(NoEndpoints::Missing));
    let mut orphaned = Services::default();
    orphaned.slice(
        &id("cms"),
        "a",
        Some(slice(&json!([{"port": 80}]), &[("10.0.0.1", json!({}))])),
    );
    assert_eq!(orphaned.endpoints(&id("cms"), 80), Err(NoEndpoints::Missing));
}

#[test]
fn only_a_difference_is_a_change_and_what_is_gone_is_forgotten() {
    let mut services = Services::default();
    let cms = id("cms");
    let one = || Some(slice(&json!([{"port": 80}]), &[("10.0.0.1", json!({}))]));
    let definition = || Some(definition(&json!({"ports": [{"port": 80}]})));
    assert!(services.define(&cms, definition()));
    assert!(!services.define(&cms, definition()));
    assert!(services.slice(&cms, "a", one()));
    assert!(!services.slice(&cms, "a", one()));
    assert!(services.slice(&cms, "a", None));
    assert!(!services.slice(&cms, "a", None));
    assert!(services.define(&cms, None));
    assert!(services.is_empty());
    assert!(!services.define(&cms, None));
    assert!(services.is_empty());
}

#[test]
fn a_slice_of_nobody_or_of_names_is_left_out() {
    let nobody =
        json!({"metadata": {"name": "a", "namespace": "edge"}, "addressType": "IPv4", "endpoints": []});
    assert!(Slice::of(&serde_json::from_value(nobody).unwrap()).is_none());
    let names = slice(&json!([{"port": 80}]), &[("host.example", json!({}))]);
    assert_eq!(names.ready, Vec::<IpAddr>::new());
}
