//! Whose an object is that stands where one of ours should: nothing is taken from anybody.
//!
//! In: the object as it should be, and the one that is there, by their owner references and labels. Out: whether it may be
//! written.

use serde_json::Value;
use switchyard_crds::{GROUP, Kind};

use super::MANAGED_BY;
use crate::FIELD_MANAGER;

/// Whether an object may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is ours, or was left to us.
    Ours,
    /// It is going away by itself: it is being deleted, or its pool was, and the garbage collector is not there yet.
    Leaving,
    /// It is somebody else's.
    Taken,
}

/// Looks at the object that is there.
pub fn claim(desired: &Value, live: &Value) -> Claim {
    if !live["metadata"]["deletionTimestamp"].is_null() {
        return Claim::Leaving;
    }
    let wanted = owners(desired);
    let there = owners(live);
    if there
        .iter()
        .any(|owner| wanted.iter().any(|wanted| wanted["uid"] == owner["uid"]))
    {
        return Claim::Ours;
    }
    let controlled = there.iter().any(|owner| owner["controller"] == true);
    let shared = !wanted.iter().any(|owner| owner["controller"] == true);
    let of_pools = |owner: &&Value| {
        let version = owner["apiVersion"].as_str().unwrap_or_default();
        owner["kind"] == Kind::ProxyPool.as_str() && version.split('/').next() == Some(GROUP)
    };
    let pools: Vec<_> = there.iter().filter(of_pools).collect();
    if pools.is_empty() {
        // A pool that was deleted with `--cascade=orphan` leaves its children, without owners, to the next of its name.
        return if !controlled && same_labels(desired, live) {
            Claim::Ours
        } else {
            Claim::Taken
        };
    }
    let namesake = |owner: &&Value| wanted.iter().any(|wanted| wanted["name"] == owner["name"]);
    match (shared, controlled) {
        // Pools that share it come and go.
        (true, false) => Claim::Ours,
        (false, true) if pools.iter().any(namesake) => Claim::Leaving,
        _ => Claim::Taken,
    }
}

fn owners(object: &Value) -> &[Value] {
    object["metadata"]["ownerReferences"]
        .as_array()
        .map_or(&[], Vec::as_slice)
}

/// Whether the labels say that an operator of ours made it for the same purpose.
fn same_labels(desired: &Value, live: &Value) -> bool {
    let (desired, live) = (&desired["metadata"]["labels"], &live["metadata"]["labels"]);
    let equal = |label: &str| desired[label] == live[label];
    live[MANAGED_BY] == FIELD_MANAGER
        && [
            "app.kubernetes.io/instance",
            "switchyard.dev/pool",
            "switchyard.dev/access-point",
        ]
        .iter()
        .all(|label| equal(label))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Claim, claim};

    fn pool(name: &str, uid: &str, controller: bool) -> Value {
        json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyPool", "name": name, "uid": uid, "controller": controller})
    }

    fn object(owners: &[Value], labels: &Value) -> Value {
        json!({"metadata": {"labels": labels, "ownerReferences": owners}})
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "one table")]
    fn nothing_is_taken_from_anybody() {
        let ours = json!({"app.kubernetes.io/managed-by": "switchyard-operator", "switchyard.dev/pool": "a"});
        let helm = json!({"app.kubernetes.io/managed-by": "Helm", "switchyard.dev/pool": "a"});
        let other_pool =
            json!({"app.kubernetes.io/managed-by": "switchyard-operator", "switchyard.dev/pool": "b"});
        let replica_set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a", "uid": "r", "controller": true});
        let impostor = json!({"apiVersion": "other.dev/v1", "kind": "ProxyPool", "name": "a", "uid": "9", "controller": true});
        let own = [pool("a", "1", true)];
        let shared = [pool("a", "1", false), pool("b", "2", false)];
        let none = json!({});
        let cases = [
            ("its own", &own[..], &own[..], &none, Claim::Ours),
            ("a user's", &own, &[], &none, Claim::Taken),
            ("Helm's, with our label", &own, &[], &helm, Claim::Taken),
            ("left to us", &own, &[], &ours, Claim::Ours),
            ("left by another pool", &own, &[], &other_pool, Claim::Taken),
            (
                "of an earlier pool of the name",
                &own,
                &[pool("a", "0", true)],
                &ours,
                Claim::Leaving,
            ),
            (
                "of another pool",
                &own,
                &[pool("b", "2", true)],
                &ours,
                Claim::Taken,
            ),
            (
                "of a controller",
                &own,
                std::slice::from_ref(&replica_set),
                &ours,
                Claim::Taken,
            ),
            (
                "of another group's ProxyPool",
                &own,
                &[impostor],
                &ours,
                Claim::Taken,
            ),
            (
                "an access point of one of ours",
                &shared,
                &[pool("b", "2", false)],
                &none,
                Claim::Ours,
            ),
            (
                "an access point of pools that left",
                &shared,
                &[pool("c", "3", false)],
                &none,
                Claim::Ours,
            ),
            (
                "a pool's own Service",
                &shared,
                &[pool("c", "3", true)],
                &none,
                Claim::Taken,
            ),
            (
                "an access point, wanted for one pool alone",
                &own,
                &[pool("c", "3", false)],
                &none,
                Claim::Taken,
            ),
        ];
        for (what, wanted, there, labels, expected) in cases {
            assert_eq!(
                claim(&object(wanted, &ours), &object(there, labels)),
                expected,
                "{what}"
            );
        }
        let mut leaving = object(&own, &ours);
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(claim(&object(&own, &ours), &leaving), Claim::Leaving);
    }
}
