//! Whether a pod belongs to the pool that its label names. Pure. In: the pod, the pool. Out: yes, or why not.
//!
//! A label alone proves nothing: whoever may label a pod of his could ask for the certificates and keys of any pool of the
//! namespace. Pods of a pool run as the pool's own service account; pods with a sidecar run as whoever they like, and belong
//! only to a Sidecar pool that selects them.

use switchyard_crds::ProxyPool;
use switchyard_crds::proxypool::WorkloadKind;

use super::pods::Membership;
use crate::controller::proxypool::names;
use crate::pods::Member;
use crate::sidecar;

/// Judges a pod; `pool` is the one that its label names, if it is there.
pub fn membership(pod: &Member, pool: Option<&ProxyPool>) -> Membership {
    let name = pod.pool.name.clone();
    let Some(pool) = pool else {
        return Membership::NotThere(name);
    };
    let stranger = |why: String| Membership::Stranger {
        pool: name.clone(),
        why,
    };
    if pool.spec.workload.kind == WorkloadKind::Sidecar {
        return match &pod.wish {
            None => stranger(format!("it has no label {}: \"true\"", sidecar::INJECT_LABEL)),
            Some(labels) if !sidecar::selects(pool, labels) => {
                stranger("the pool's workload.inject.podSelector does not select it".to_owned())
            }
            Some(_) => Membership::Member(name),
        };
    }
    let account = names::account(&name);
    if pod.account == account {
        Membership::Member(name)
    } else {
        stranger(format!(
            "it runs as service account {:?}, and the pool's pods run as {account:?}",
            pod.account
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};
    use switchyard_snapshot::PoolId;

    use super::*;

    fn pool(workload: &Value) -> ProxyPool {
        let object = json!({
            "apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyPool", "metadata": {"name": "dmz"},
            "spec": {"workload": workload, "listeners": [{"name": "sync", "port": 8443}]},
        });
        serde_json::from_value(object).unwrap()
    }

    fn pod(account: &str, labels: &[(&str, &str)]) -> Member {
        let labels: BTreeMap<_, _> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Member {
            uid: "u".to_owned(),
            pool: PoolId {
                namespace: "edge".to_owned(),
                name: "dmz".to_owned(),
            },
            terminating: false,
            account: account.to_owned(),
            wish: sidecar::wanted(&labels).then_some(labels),
        }
    }

    #[test]
    fn a_label_alone_makes_nobody_a_member() {
        let deployment = pool(&json!({"kind": "Deployment"}));
        let side =
            pool(&json!({"kind": "Sidecar", "inject": {"podSelector": {"matchLabels": {"app": "mail"}}}}));
        let wish = (sidecar::INJECT_LABEL, "true");
        let mail = ("app", "mail");
        for (what, pool, pod, why) in [
            ("its own pod", Some(&deployment), pod("dmz-proxy", &[]), None),
            (
                "a stranger",
                Some(&deployment),
                pod("default", &[]),
                Some("service account"),
            ),
            (
                "a stranger with a wish",
                Some(&deployment),
                pod("mail", &[wish]),
                Some("service account"),
            ),
            (
                "a pod with a sidecar",
                Some(&side),
                pod("mail", &[wish, mail]),
                None,
            ),
            (
                "without a wish",
                Some(&side),
                pod("mail", &[mail]),
                Some("switchyard.dev/inject"),
            ),
            (
                "not selected",
                Some(&side),
                pod("mail", &[wish]),
                Some("podSelector"),
            ),
            (
                "the pool's account",
                Some(&side),
                pod("dmz-proxy", &[]),
                Some("switchyard.dev/inject"),
            ),
        ] {
            let told = membership(&pod, pool);
            match (&told, why) {
                (Membership::Member(pool), None) => assert_eq!(pool, "dmz", "{what}"),
                (Membership::Stranger { why, .. }, Some(words)) => {
                    assert!(why.contains(words), "{what}: {why}");
                }
                _ => panic!("{what}: {told:?}"),
            }
        }
        let told = membership(&pod("dmz-proxy", &[]), None);
        assert_eq!(told, Membership::NotThere("dmz".to_owned()));
    }
}
