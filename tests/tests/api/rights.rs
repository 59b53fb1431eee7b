//! What operators of these tests may do: the one role file that the chart
//! uses too, and nothing more. In: a namespace and a name. Out: a service
//! account that is bound to it.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::authorization::v1::ResourceAttributes;
use serde_json::{Value, json};
use switchyard_crds::fixtures::yaml;
use switchyard_tests::apiserver::User;

use crate::shared::Space;

/// Three documents: what the operator needs where it watches, what it needs in
/// its own namespace, and what its webhook needs.
fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("charts/switchyard/files/role.yaml")
}

/// The rules of the first two documents: all that an operator without a webhook needs.
pub fn rules() -> (Value, Value) {
    let [watched, own, _] = all_rules();
    (watched, own)
}

/// The rules of all documents.
pub fn all_rules() -> [Value; 3] {
    let text = fs::read_to_string(file()).unwrap_or_else(|e| panic!("{}: {e}", file().display()));
    let documents: Vec<Value> = text.split("\n---\n").map(yaml).collect();
    let kinds: Vec<&Value> = documents.iter().map(|document| &document["kind"]).collect();
    assert_eq!(kinds, ["ClusterRole", "Role", "ClusterRole"]);
    let rules: Vec<Value> = documents
        .iter()
        .map(|document| document["rules"].clone())
        .collect();
    rules.try_into().expect("three documents")
}

/// An operator's service account that watches its own namespace alone: all of
/// its rights are Roles of that namespace.
pub fn operator(space: &Space, name: &str) -> User {
    let (watched, own) = rules();
    let role = |suffix: &str, rules: &Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": format!("operator-{suffix}")}, "rules": rules,
        })
    };
    let bind = |suffix: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": format!("{name}-{suffix}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": format!("operator-{suffix}")},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": space.namespace}],
        })
    };
    let user = apply(
        space,
        &[
            account(name),
            role("watched", &watched),
            role("own", &own),
            bind("watched"),
            bind("own"),
        ],
    );
    for rules in [&watched, &own] {
        await_rules(space, &user, Some(&space.namespace), rules);
    }
    user
}

/// An operator's service account that watches all namespaces, and has its own
/// objects in this one.
pub fn operator_everywhere(space: &Space, name: &str) -> User {
    let (watched, own) = rules();
    let wide = format!("{name}-of-{}", space.namespace);
    let subjects = json!([{"kind": "ServiceAccount", "name": name, "namespace": space.namespace}]);
    let group = "rbac.authorization.k8s.io";
    let objects = [
        account(name),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": wide}, "rules": watched}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": wide},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": wide}, "subjects": subjects}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "operator-own"}, "rules": own}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": format!("{name}-own")},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "operator-own"}, "subjects": subjects}),
    ];
    let user = apply(space, &objects);
    await_rules(space, &user, None, &watched);
    await_rules(space, &user, Some(&space.namespace), &own);
    user
}

/// Lets an operator's service account keep the CA bundle of this configuration.
pub fn webhook(space: &Space, name: &str, configuration: &str) {
    let [_, _, mut rules] = all_rules();
    for rule in rules.as_array_mut().expect("a list of rules") {
        assert_eq!(rule["resourceNames"], json!(["switchyard-operator"]), "{rule}");
        rule["resourceNames"] = json!([configuration]);
    }
    let wide = format!("{name}-webhook-of-{}", space.namespace);
    let subjects = json!([{"kind": "ServiceAccount", "name": name, "namespace": space.namespace}]);
    let group = "rbac.authorization.k8s.io";
    let items = json!([
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": wide}, "rules": rules},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": wide},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": wide}, "subjects": subjects},
    ]);
    space.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    await_rules(
        space,
        &User::service_account(&space.namespace, name),
        None,
        &rules,
    );
}

/// Awaits that a user may what these rules say, in this namespace or in all: one verb of each rule, since a role and its binding
/// are heard of as a whole.
#[track_caller]
pub fn await_rules(space: &Space, user: &User, namespace: Option<&str>, rules: &Value) {
    for rule in rules.as_array().expect("a list of rules") {
        let first = |list: &str| rule[list][0].as_str().map(str::to_owned);
        let resource = first("resources").expect("a resource");
        let (resource, subresource) = match resource.split_once('/') {
            Some((resource, sub)) => (resource.to_owned(), Some(sub.to_owned())),
            None => (resource, None),
        };
        let right = ResourceAttributes {
            group: first("apiGroups"),
            name: first("resourceNames"),
            namespace: namespace.map(str::to_owned),
            resource: Some(resource),
            subresource,
            verb: first("verbs"),
            ..ResourceAttributes::default()
        };
        space.await_right(user, &right);
    }
}

fn account(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
}

fn apply(space: &Space, objects: &[Value]) -> User {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    space.apply(&list.to_string());
    let name = objects[0]["metadata"]["name"]
        .as_str()
        .expect("the account comes first");
    User::service_account(&space.namespace, name)
}
