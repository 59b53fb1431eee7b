//! Every rule refuses what it is there to refuse, at the field it is about and in words that help, and accepts the rest.

use serde_json::{Value, json};

use super::{Violation, apply_defaults, to_pointer, validate, validate_update};
use crate::{
    Kind,
    fixtures::{Base, CASES, Case, POOL, set, yaml},
};

#[test]
fn bases_are_valid() {
    for one in Base::ALL {
        let (kind, manifest) = one.manifest();
        assert_eq!(validate(kind, &manifest), [], "{one:?}");
    }
}

#[test]
fn every_case_is_judged_as_it_should_be() {
    let mut wrong = Vec::new();
    for case in CASES {
        let (kind, manifest) = case.manifest();
        let found = validate(kind, &manifest);
        let expected = case.violations;
        let as_expected = found.len() == expected.len()
            && expected.iter().all(|(pointer, fragment)| {
                found
                    .iter()
                    .any(|violation| violation.pointer == *pointer && violation.message.contains(fragment))
            });
        if !as_expected {
            wrong.push(format!(
                "{:?} of {:?}: expected {expected:?}, found {found:#?}",
                case.changes, case.base
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A rule that no case breaks is a rule that nobody has seen work.
#[test]
fn every_rule_is_broken_by_a_case() {
    let broken: Vec<String> = CASES
        .iter()
        .map(Case::manifest)
        .flat_map(|(kind, manifest)| validate(kind, &manifest))
        .map(|violation| violation.message)
        .collect();
    for kind in Kind::ALL {
        let schema = crate::tests::schema(kind);
        for (path, _, node) in crate::tests::nodes(&schema) {
            for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let message = rule["message"].as_str().unwrap();
                let transition = rule["rule"].as_str().unwrap().contains("oldSelf");
                assert!(
                    transition || broken.iter().any(|seen| seen == message),
                    "{kind}{path}: nothing breaks {message:?}"
                );
            }
        }
    }
}

#[test]
fn the_kind_of_workload_cannot_change() {
    let (kind, old) = Base::Pool.manifest();
    let mut new = old.clone();
    set(&mut new, "/spec/workload/kind", json!("DaemonSet"));
    assert_eq!(validate(kind, &new), []);
    let found = validate_update(kind, &old, &new);
    let [violation] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(violation.pointer, "/spec/workload/kind");
    assert!(violation.message.contains("cannot be changed"));
    assert_eq!(validate_update(kind, &new, &new), []);
}

#[test]
fn ten_mistakes_are_ten_violations() {
    let manifest = yaml(
        r#"
apiVersion: switchyard.dev/v1alpha1
kind: ProxyChain
metadata: {name: x}
spec:
  poolRef: {nmae: p}
  balance: Roundrobin
  suspend: "no"
  backends:
  - {name: a, host: 10.0.0.256, port: 70000}
  - {name: a, srv: sync.example}
  resolution: {minTTL: 1m, maxTTL: 1s}
  health: {monitors: [{}]}
  failover: {active: c}
"#,
    );
    let mut found: Vec<String> = validate(Kind::ProxyChain, &manifest)
        .iter()
        .map(Violation::field)
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "spec.backends[0].host",
            "spec.backends[0].port",
            "spec.backends[1].name",
            "spec.backends[1].srv",
            "spec.balance",
            "spec.failover.active",
            "spec.health.monitors[0]",
            "spec.poolRef.name",
            "spec.poolRef.nmae",
            "spec.resolution.minTTL",
            "spec.suspend",
        ]
    );
}

#[test]
fn booleans_of_yaml_1_1_are_named_where_a_text_belongs() {
    // What kubectl makes of a bare `off` and `1.2`.
    let manifest = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyPool", "metadata": {"name": "x"}, "spec": {
        "site": false, "listeners": [{"name": "a", "port": 1, "tls": {"mode": "Passthrough", "minVersion": 1.2}}]}});
    let found = validate(Kind::ProxyPool, &manifest);
    let messages: Vec<_> = found
        .iter()
        .map(|violation| (violation.field(), violation.message.as_str()))
        .collect();
    assert!(
        messages
            .iter()
            .any(|(field, message)| field == "spec.site" && message.contains("put it in quotes")),
        "{messages:?}"
    );
    assert!(
        messages
            .iter()
            .any(|(field, message)| field == "spec.listeners[0].tls.minVersion"
                && message.contains("1.2 or 1.3")),
        "{messages:?}"
    );
}

#[test]
fn a_null_is_an_absent_field() {
    let (kind, mut manifest) = Base::Chain.manifest();
    manifest["spec"]["group"] = Value::Null;
    manifest["spec"]["health"] = json!({"interval": null});
    assert_eq!(validate(kind, &manifest), []);
    apply_defaults(kind, &mut manifest);
    assert_eq!(manifest["spec"]["health"]["interval"], "2s");
    assert!(manifest["spec"].get("group").is_none());
}

#[test]
fn objects_read_from_a_cluster_are_valid() {
    let mut manifest = yaml(POOL);
    for (field, value) in [
        ("uid", json!("2b1c")),
        ("resourceVersion", json!("7")),
        ("generation", json!(3)),
        ("creationTimestamp", json!("2026-01-01T00:00:00Z")),
        ("managedFields", json!([{"manager": "kubectl"}])),
        ("labels", json!({"app.kubernetes.io/name": "x"})),
        ("annotations", json!({"example.com/a": "b"})),
    ] {
        manifest["metadata"][field] = value;
    }
    assert_eq!(validate(Kind::ProxyPool, &manifest), []);
}

#[test]
fn fields_are_written_as_people_write_them() {
    let field = |pointer: &str| {
        Violation {
            pointer: pointer.into(),
            message: String::new(),
        }
        .field()
    };
    assert_eq!(field("/spec/listeners/0/port"), "spec.listeners[0].port");
    assert_eq!(field("/metadata/annotations/a~1b"), "metadata.annotations.a/b");
    assert_eq!(field(""), "");
    assert_eq!(to_pointer("spec.listeners[0].port"), "/spec/listeners/0/port");
    assert_eq!(to_pointer(".metadata.name"), "/metadata/name");
    assert_eq!(to_pointer(""), "");
}
