//! What runs the pods: Deployment, `DaemonSet` or `StatefulSet`.
//!
//! A rollout brings a new proxy before it takes an old one, except where both would need the same ports of a node.

use serde_json::{Value, json};
use switchyard_crds::proxypool::WorkloadKind;

use super::super::names;
use super::super::validate::Valid;
use super::{Surroundings, metadata, pod};
use crate::apply::{Child, ChildKind};

/// The workload; a sidecar pool has none.
pub fn workload(pool: &Valid<'_>, surroundings: &Surroundings) -> Option<Child> {
    let name = &pool.owner.pool.name;
    let replicas = pool.spec.replicas;
    let node_ports = pool.spec.workload.host_network || pool.host_ports;
    let mut spec = json!({
        "selector": {"matchLabels": names::pod_selector(name)},
        "template": pod::template(pool, surroundings),
    });
    let kind = match pool.spec.workload.kind {
        WorkloadKind::Deployment => {
            spec["replicas"] = json!(replicas);
            spec["strategy"] = rolling(if node_ports { (0, 1) } else { (1, 0) });
            ChildKind::Deployment
        }
        WorkloadKind::DaemonSet => {
            spec["updateStrategy"] = rolling(if node_ports { (0, 1) } else { (1, 0) });
            ChildKind::DaemonSet
        }
        WorkloadKind::StatefulSet => {
            spec["replicas"] = json!(replicas);
            spec["serviceName"] = json!(names::peers(name));
            // Proxies do not wait for each other: each serves by itself.
            spec["podManagementPolicy"] = json!("Parallel");
            spec["updateStrategy"] = json!({"type": "RollingUpdate"});
            ChildKind::StatefulSet
        }
        WorkloadKind::Sidecar => return None,
    };
    let workload = json!({"metadata": metadata(pool, name), "spec": spec});
    Some(Child::new(kind, workload))
}

fn rolling((surge, unavailable): (u32, u32)) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}
