//! Pools whose proxies run in other people's pods. In: a pool, the labels of a pod. Out: whether the pod gets a proxy of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::core::{Selector, SelectorExt};
use switchyard_crds::proxypool::WorkloadKind;
use switchyard_crds::{ProxyChain, ProxyPool};

/// Label: with the value `true`, the pod wants a proxy beside its containers.
pub const INJECT_LABEL: &str = "switchyard.dev/inject";

/// A Sidecar pool with its chains.
#[derive(Clone, Debug)]
pub struct Sidecar {
    /// The pool.
    pub pool: Arc<ProxyPool>,
    /// The oldest first.
    pub chains: Vec<Arc<ProxyChain>>,
}

/// Whether the pod wants a proxy.
pub fn wanted(labels: &BTreeMap<String, String>) -> bool {
    labels.get(INJECT_LABEL).is_some_and(|value| value == "true")
}

/// Whether the pool's proxies run in pods with these labels. A selector that Kubernetes would refuse selects nothing.
pub fn selects(pool: &ProxyPool, labels: &BTreeMap<String, String>) -> bool {
    let workload = &pool.spec.workload;
    if workload.kind != WorkloadKind::Sidecar || !wanted(labels) {
        return false;
    }
    let Some(inject) = &workload.inject else {
        return true;
    };
    Selector::try_from(inject.pod_selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pool(workload: &Value) -> ProxyPool {
        let listeners = json!([{"name": "sync", "port": 8443}]);
        let object = json!({
            "apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyPool", "metadata": {"name": "side"},
            "spec": {"workload": workload, "listeners": listeners},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_pod_is_selected_by_both_its_wish_and_the_pool() {
        let mail = json!({"kind": "Sidecar", "inject": {"podSelector": {"matchLabels": {"app": "mail"}}}});
        let expressions = |operator: &str, values: &Value| {
            let mut expression = json!({"key": "app", "operator": operator});
            if !values.is_null() {
                expression["values"] = values.clone();
            }
            json!({"kind": "Sidecar", "inject": {"podSelector": {"matchExpressions": [expression]}}})
        };
        let none = Value::Null;
        let everything = json!({"kind": "Sidecar", "inject": {"podSelector": {}}});
        for (what, workload, app, wish, expected) in [
            ("no selector", json!({"kind": "Sidecar"}), "mail", "true", true),
            ("an empty selector", everything.clone(), "mail", "true", true),
            ("no wish", everything.clone(), "mail", "", false),
            ("the wish not to", everything, "mail", "false", false),
            ("its app", mail.clone(), "mail", "true", true),
            ("another app", mail.clone(), "web", "true", false),
            ("its app without the wish", mail, "mail", "", false),
            (
                "one of",
                expressions("In", &json!(["mail", "web"])),
                "web",
                "true",
                true,
            ),
            (
                "none of",
                expressions("NotIn", &json!(["mail", "web"])),
                "web",
                "true",
                false,
            ),
            ("any", expressions("Exists", &none), "web", "true", true),
            (
                "no such label",
                expressions("DoesNotExist", &none),
                "web",
                "true",
                false,
            ),
            (
                "an operator of tomorrow",
                expressions("Like", &json!(["m"])),
                "mail",
                "true",
                false,
            ),
            (
                "a pool with pods of its own",
                json!({"kind": "Deployment"}),
                "mail",
                "true",
                false,
            ),
        ] {
            let mut labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
            if !wish.is_empty() {
                labels.insert(INJECT_LABEL.to_owned(), wish.to_owned());
            }
            assert_eq!(selects(&pool(&workload), &labels), expected, "{what}");
        }
    }
}
