//! What is a difference and what is not: tables of both, and that no change of a wanted value goes unseen.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::difference;

const MANAGER: &str = "us";

/// What the operator wants in the cases below.
fn wanted() -> Value {
    json!({
        "metadata": {"name": "a", "labels": {"ours": "1"}, "ownerReferences": [{"uid": "u1", "name": "p"}]},
        "spec": {
            "replicas": 2,
            "paused": false,
            "tolerations": [{"key": "dmz", "operator": "Exists"}],
            "volumes": [{"name": "cache", "emptyDir": {"medium": "Memory", "sizeLimit": "1024Mi"}}, {"name": "x", "emptyDir": {}}],
            "containers": [{
                "name": "proxy", "args": ["run", "--now"],
                "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP", "name": "g"}],
                "resources": {"requests": {"cpu": "1000m"}},
            }],
        },
    })
}

/// The same as the API server tells it: defaults, and things of others.
fn told() -> Value {
    json!({
        "metadata": {
            "name": "a", "uid": "x", "resourceVersion": "7", "labels": {"ours": "1", "theirs": "2"},
            "ownerReferences": [{"uid": "u0", "name": "other"}, {"uid": "u1", "name": "p", "controller": false}],
            "managedFields": [{"manager": "us", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {
                "f:metadata": {"f:labels": {"f:ours": {}}, "f:ownerReferences": {"k:{\"uid\":\"u1\"}": {}}},
                "f:spec": {
                    "f:replicas": {}, "f:paused": {}, "f:tolerations": {},
                    "f:volumes": {"k:{\"name\":\"cache\"}": {".": {}, "f:name": {}, "f:emptyDir": {"f:medium": {}, "f:sizeLimit": {}}}},
                    "f:containers": {"k:{\"name\":\"proxy\"}": {".": {}, "f:args": {}, "f:ports": {
                        "k:{\"containerPort\":80,\"protocol\":\"UDP\"}": {".": {}, "f:name": {}}}}},
                },
            }}, {"manager": "others", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:theirs": {}}}}}],
        },
        "spec": {
            "replicas": 2,
            "tolerations": [{"key": "dmz", "operator": "Exists"}],
            "volumes": [{"name": "token"}, {"name": "cache", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}, {"name": "x", "emptyDir": {}}],
            "containers": [{"name": "mesh"}, {
                "name": "proxy", "args": ["run", "--now"], "imagePullPolicy": "Always",
                "ports": [{"containerPort": 80, "protocol": "UDP", "name": "g"}, {"containerPort": 80, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            }],
        },
        "status": {"replicas": 0},
    })
}

fn set(object: &Value, pointer: &str, value: Value) -> Value {
    let mut object = object.clone();
    *object.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    object
}

#[test]
fn defaults_and_what_others_added_are_no_difference() {
    assert_eq!(difference(&wanted(), &told(), MANAGER), None);
}

#[test]
fn each_difference_is_found_and_named() {
    let cases = [
        ("/spec/replicas", json!(3), ".spec.replicas"),
        ("/spec/tolerations", json!([]), ".spec.tolerations"),
        (
            "/spec/tolerations/0/operator",
            json!("Equal"),
            ".spec.tolerations[0].operator",
        ),
        (
            "/spec/tolerations",
            json!([{"key": "dmz", "operator": "Exists"}, {}]),
            ".spec.tolerations",
        ),
        (
            "/spec/containers/1/args",
            json!(["--now", "run"]),
            ".spec.containers[0].args[0]",
        ),
        ("/spec/containers/1/name", json!("another"), ".spec.containers[0]"),
        (
            "/spec/containers/1/ports/0/name",
            json!("h"),
            ".spec.containers[0].ports[1].name",
        ),
        (
            "/spec/containers/1/ports/0/protocol",
            json!("SCTP"),
            ".spec.containers[0].ports[1]",
        ),
        (
            "/spec/containers/1/resources/requests/cpu",
            json!("2"),
            ".spec.containers[0].resources.requests.cpu",
        ),
        (
            "/spec/volumes/1/emptyDir/sizeLimit",
            json!("1G"),
            ".spec.volumes[0].emptyDir.sizeLimit",
        ),
        (
            "/spec/volumes/2/emptyDir",
            json!(null),
            ".spec.volumes[1].emptyDir",
        ),
        (
            "/metadata/labels",
            json!({"theirs": "2"}),
            ".metadata.labels.ours",
        ),
        (
            "/metadata/ownerReferences",
            json!([{"uid": "u0"}]),
            ".metadata.ownerReferences[0]",
        ),
    ];
    for (pointer, value, expected) in cases {
        let live = set(&told(), pointer, value.clone());
        assert_eq!(
            difference(&wanted(), &live, MANAGER).as_deref(),
            Some(expected),
            "{pointer} {value}"
        );
    }
}

#[test]
fn what_we_applied_and_no_longer_want_is_a_difference() {
    let cases = [
        ("/metadata/labels", json!({}), ".metadata.labels.ours"),
        (
            "/metadata/ownerReferences",
            json!([]),
            ".metadata.ownerReferences[{\"uid\":\"u1\"}]",
        ),
        ("/spec/tolerations", json!(null), ".spec.tolerations"),
        (
            "/spec/volumes",
            json!([{"name": "x", "emptyDir": {}}]),
            ".spec.volumes[{\"name\":\"cache\"}]",
        ),
        (
            "/spec/volumes/0/emptyDir",
            json!({"medium": "Memory"}),
            ".spec.volumes[{\"name\":\"cache\"}].emptyDir.sizeLimit",
        ),
        (
            "/spec/containers/0/ports",
            json!([{"containerPort": 80, "protocol": "TCP"}]),
            ".spec.containers[{\"name\":\"proxy\"}].ports[{\"containerPort\":80,\"protocol\":\"UDP\"}]",
        ),
    ];
    for (pointer, value, expected) in cases {
        let mut wanted = set(&wanted(), pointer, value.clone());
        if value.is_null() {
            wanted["spec"].as_object_mut().unwrap().remove("tolerations");
        }
        assert_eq!(
            difference(&wanted, &told(), MANAGER).as_deref(),
            Some(expected),
            "{pointer}"
        );
        assert_eq!(
            difference(&wanted, &told(), "another manager"),
            None,
            "{pointer}: not ours to take away"
        );
    }
}

#[test]
fn only_what_was_applied_counts_as_ours() {
    for (field, value) in [("operation", "Update"), ("subresource", "status")] {
        let mut live = told();
        live["metadata"]["managedFields"][0][field] = json!(value);
        let wanted = set(&wanted(), "/metadata/labels", json!({}));
        assert_eq!(difference(&wanted, &live, MANAGER), None, "{field} {value}");
    }
}

/// Pointers to every scalar.
fn leaves(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| leaves(value, &format!("{pointer}/{name}"), found)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(i, value)| leaves(value, &format!("{pointer}/{i}"), found)),
        _ => found.push(pointer.to_owned()),
    }
}

/// An object of any shape, with lists of both sorts.
fn any_object() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (1_i32..9).prop_map(Value::from),
        "[a-z]{1,3}".prop_map(Value::from),
    ];
    let tree = scalar.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner.clone(), 0..4).prop_map(|map| json!(map)),
            prop::collection::vec(inner, 1..4).prop_map(|values| {
                let items = values
                    .iter()
                    .enumerate()
                    .map(|(i, value)| json!({"name": i.to_string(), "x": value}));
                json!({"containers": items.collect::<Vec<_>>()})
            }),
        ]
    });
    prop::collection::btree_map("[a-d]", tree, 1..4).prop_map(|map| json!(map))
}

proptest! {
    #[test]
    fn an_object_does_not_differ_from_itself_and_every_changed_value_is_seen(object in any_object(), which in any::<prop::sample::Index>()) {
        prop_assert_eq!(difference(&object, &object, MANAGER), None);
        let mut pointers = Vec::new();
        leaves(&object, "", &mut pointers);
        if !pointers.is_empty() {
            let changed = set(&object, which.get::<String>(&pointers), json!("changed by somebody"));
            prop_assert!(difference(&object, &changed, MANAGER).is_some());
        }
    }
}
