//! What the chart makes of its values. Needs helm and no cluster.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use switchyard_tests::helm::{self, Helm};
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;

use super::{NAMESPACE, everything};
use crate::rights;

pub fn add(suite: &mut Suite) {
    for (name, body) in [
        ("chart::lint_finds_nothing", lint as fn(&Lab)),
        ("chart::wrong_values_are_refused_in_words", refusals),
        ("chart::every_value_reaches_something", reach),
        ("chart::rights_are_those_of_the_role", roles),
        ("chart::definitions_are_those_of_the_types", definitions),
        (
            "chart::its_own_pods_and_those_of_others_start_without_the_webhook",
            exclusions,
        ),
        ("chart::notes_say_what_to_do_next", notes),
    ] {
        suite.test(name, body);
    }
}

fn lint(_: &Lab) {
    let helm = Helm::offline();
    let chart = helm::chart().display().to_string();
    for values in [json!({}), everything(), json!({"certManager": {"enabled": true}})] {
        let file = helm.values(&values);
        let said = helm.run(&[
            "lint",
            "--strict",
            "--values",
            &file.path().to_string_lossy(),
            &chart,
        ]);
        assert!(said.contains("0 chart(s) failed"), "{said}");
        assert!(!said.contains("WARNING"), "{said}");
    }
}

fn refusals(_: &Lab) {
    let helm = Helm::offline();
    for (values, words) in [
        (
            json!({"replica": 3}),
            "additional properties 'replica' not allowed",
        ),
        (
            json!({"webhook": {"failurepolicy": "Fail"}}),
            "at '/webhook': additional properties 'failurepolicy' not allowed",
        ),
        (
            json!({"webhook": {"failurePolicy": "fail"}}),
            "at '/webhook/failurePolicy': value must be one of 'Ignore', 'Fail'",
        ),
        (
            json!({"webhook": {"timeoutSeconds": 31}}),
            "at '/webhook/timeoutSeconds'",
        ),
        (json!({"replicas": 0}), "at '/replicas'"),
        (json!({"replicas": "two"}), "got string, want integer"),
        (json!({"watchNamespaces": "edge"}), "got string, want array"),
        (json!({"watchNamespaces": ["Edge"]}), "at '/watchNamespaces/0'"),
        (json!({"lease": {"duration": "15"}}), "at '/lease/duration'"),
        (json!({"image": {"tag": "a b"}}), "at '/image/tag'"),
        (
            json!({"podLabels": {"a": 1}}),
            "at '/podLabels/a': got number, want string",
        ),
    ] {
        let refused = helm.render(NAMESPACE, &values).unwrap_err();
        assert!(refused.contains(words), "{values}: {refused}");
    }
    // What helm itself adds where this chart is another's part.
    helm.render(NAMESPACE, &json!({"global": {"imageRegistry": "x"}}))
        .unwrap();
}

/// Setting a value changes what is rendered: none is dead.
fn reach(lab: &Lab) {
    let helm = Helm::offline();
    let text = fs::read_to_string(helm::chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    // Where a switch is off, what depends on it can have no effect.
    let mut base = json!({
        "certManager": {"enabled": true},
        "metrics": {"serviceMonitor": {"enabled": true}, "podMonitor": {"enabled": true}, "dashboards": {"enabled": true}},
    });
    let before = helm.render(NAMESPACE, &base).unwrap();
    let mut examples = Vec::new();
    collect(&schema, &schema, &mut Vec::new(), &mut examples);
    for (path, alternatives) in &examples {
        let reached = alternatives.iter().any(|alternative| {
            let kept = base.clone();
            set(&mut base, path, alternative.clone());
            let after = helm
                .render(NAMESPACE, &base)
                .unwrap_or_else(|why| panic!("{path:?}: {why}"));
            base = kept;
            after != before
        });
        assert!(reached, "{} changes nothing", path.join("."));
    }
    lab.say(format!(
        "{} values, each of which changes what is rendered",
        examples.len()
    ));
    assert!(examples.len() > 30);
}

/// Path and examples of every value.
fn collect(root: &Value, schema: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, Vec<Value>)>) {
    if let Some(examples) = schema["examples"].as_array() {
        found.push((path.clone(), examples.clone()));
        return;
    }
    if let Some(to) = schema["$ref"].as_str() {
        collect(
            root,
            &root["$defs"][to.trim_start_matches("#/$defs/")],
            path,
            found,
        );
        return;
    }
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        path.push(key.clone());
        collect(root, schema, path, found);
        path.pop();
    }
}

fn set(values: &mut Value, path: &[String], to: Value) {
    let mut at = values;
    for key in path {
        at = &mut at[key.as_str()];
    }
    *at = to;
}

/// Rules, and where they hold: (kind, namespace, rules) of every role.
fn granted(objects: &[Value]) -> Vec<(String, Option<String>, Value)> {
    let roles = objects
        .iter()
        .filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("Role")));
    roles
        .map(|role| {
            let bound: Vec<_> = objects
                .iter()
                .filter(|binding| {
                    binding["roleRef"]["name"] == role["metadata"]["name"]
                        && binding["roleRef"]["kind"] == role["kind"]
                        && binding["metadata"]["namespace"] == role["metadata"]["namespace"]
                })
                .collect();
            assert_eq!(bound.len(), 1, "{role}");
            assert_eq!(
                bound[0]["subjects"],
                json!([{"kind": "ServiceAccount", "name": "switchyard-operator", "namespace": NAMESPACE}])
            );
            let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
            (
                role["kind"].as_str().unwrap().to_owned(),
                namespace,
                role["rules"].clone(),
            )
        })
        .collect()
}

fn roles(_: &Lab) {
    let helm = Helm::offline();
    let [watched, own, webhook] = rights::all_rules();
    let text = webhook
        .to_string()
        .replace("\"switchyard-operator\"", "\"switchyard-operator-switchyard\"");
    let webhook: Value = serde_json::from_str(&text).unwrap();
    let of = |kind: &str, namespace: Option<&str>, rules: &Value| {
        (kind.to_owned(), namespace.map(str::to_owned), rules.clone())
    };
    let own = of("Role", Some(NAMESPACE), &own);
    let webhook = of("ClusterRole", None, &webhook);
    let seen = |values: Value| granted(&helm.render(NAMESPACE, &values).unwrap());
    let same = |values: Value, wanted: &[&(String, Option<String>, Value)]| {
        let seen = seen(values.clone());
        assert_eq!(seen.len(), wanted.len(), "{values}: {seen:#?}");
        for one in wanted {
            assert!(seen.contains(one), "{values}: no {one:#?} in {seen:#?}");
        }
    };
    let everywhere = of("ClusterRole", None, &watched);
    same(json!({}), &[&everywhere, &own, &webhook]);
    same(json!({"webhook": {"enabled": false}}), &[&everywhere, &own]);
    let here = of("Role", Some("edge"), &watched);
    let there = of("Role", Some(NAMESPACE), &watched);
    let named = json!(["edge", NAMESPACE]);
    same(
        json!({"watchNamespaces": named}),
        &[&here, &there, &own, &webhook],
    );
    same(
        json!({"watchNamespaces": named, "webhook": {"enabled": false}}),
        &[&here, &there, &own],
    );
    same(json!({"rbac": {"create": false}}), &[]);
}

fn definitions(_: &Lab) {
    let objects = Helm::offline().render(NAMESPACE, &json!({})).unwrap();
    for plural in ["proxypools", "proxychains"] {
        let name = format!("{plural}.switchyard.dev");
        let mut rendered = helm::find(&objects, "CustomResourceDefinition", &name).clone();
        let file = switchyard_tests::apiserver::definitions().join(format!("{plural}.yaml"));
        let own = switchyard_crds::fixtures::yaml(&fs::read_to_string(file).unwrap());
        assert_eq!(
            rendered["metadata"]["annotations"],
            json!({"helm.sh/resource-policy": "keep"})
        );
        let metadata = rendered["metadata"].as_object_mut().unwrap();
        metadata.remove("annotations");
        metadata.remove("labels").unwrap();
        assert!(rendered == own, "{plural} is another");
    }
    let gone = Helm::offline()
        .render(NAMESPACE, &json!({"crds": {"keep": false}}))
        .unwrap();
    let pools = helm::find(&gone, "CustomResourceDefinition", "proxypools.switchyard.dev");
    assert_eq!(pools["metadata"]["annotations"], Value::Null);
}

fn exclusions(_: &Lab) {
    let helm = Helm::offline();
    let selector = |values: Value| {
        let objects = helm.render(NAMESPACE, &values).unwrap();
        let configuration = helm::find(
            &objects,
            "MutatingWebhookConfiguration",
            "switchyard-operator-switchyard",
        );
        configuration["webhooks"][0]["namespaceSelector"]["matchExpressions"].clone()
    };
    let not_in = |all: &Value| -> BTreeSet<String> {
        assert_eq!(all[0]["operator"], "NotIn");
        serde_json::from_value(all[0]["values"].clone()).unwrap()
    };
    let plain = selector(json!({}));
    let wanted = ["kube-node-lease", "kube-public", "kube-system", NAMESPACE].map(str::to_owned);
    assert_eq!(not_in(&plain), BTreeSet::from(wanted));
    assert_eq!(plain.as_array().unwrap().len(), 1);
    let named = selector(
        json!({"watchNamespaces": ["edge"], "webhook": {"excludedNamespaces": ["edge-2", NAMESPACE]}}),
    );
    assert_eq!(
        not_in(&named),
        BTreeSet::from(["edge-2", NAMESPACE].map(str::to_owned))
    );
    assert_eq!(
        named[1],
        json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["edge"]})
    );
}

fn notes(_: &Lab) {
    let helm = Helm::offline();
    let chart = helm::chart().display().to_string();
    let told = |values: Value| {
        let file = helm.values(&values);
        helm.run(&[
            "install",
            "switchyard",
            &chart,
            "--namespace",
            NAMESPACE,
            "--dry-run=client",
            "--values",
            &file.path().to_string_lossy(),
        ])
    };
    let plain = told(json!({}));
    for words in [
        "helm -n switchyard test switchyard",
        "kubectl wait --for=condition=Ready pp/sync pch/sync",
        "all namespaces",
    ] {
        assert!(plain.contains(words), "{words}: {plain}");
    }
    for words in [
        "The webhook is off",
        "One replica",
        "No roles were made",
        "were left as they are",
    ] {
        assert!(!plain.contains(words), "{words}: {plain}");
    }
    let other = told(
        json!({"webhook": {"enabled": false}, "replicas": 1, "rbac": {"create": false}, "crds": {"install": false}, "watchNamespaces": ["edge"]}),
    );
    for words in [
        "The webhook is off",
        "One replica",
        "No roles were made",
        "were left as they are",
        "kubectl -n edge apply",
    ] {
        assert!(other.contains(words), "{words}: {other}");
    }
    assert!(told(json!({"crds": {"keep": false}})).contains("deletes every ProxyPool"));
}
