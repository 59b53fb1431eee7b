//! Fifth step: what statuses are told of a pool's workload. Pure.
//!
//! In: what was refused or failed, and the objects as they are now. Out: one plain value per pool; equal ones are told once.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Service;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::names;
use crate::apply::ChildKind;
use crate::compile::Refusal;

/// What came of one pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Which of those that had this name.
    pub uid: String,
    /// The generation that this is about.
    pub generation: i64,
    /// Why the pool was not built, field by field. What was built before stays as it is.
    pub refused: Vec<Refusal>,
    /// What could not be applied, in words; none: everything is as it should be.
    pub failed: Option<Failure>,
    /// What runs the proxies; none for a sidecar pool, and before the first apply.
    pub workload: Option<WorkloadObject>,
    /// The Service of the access point.
    pub service: Option<Service>,
    /// Labels of the pods, as a selector.
    pub selector: Option<String>,
    /// The Pod Security level that the namespace enforces, where it says one.
    pub pod_security: Option<String>,
}

/// Why children are not as they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened, to what, and what to do.
    pub message: String,
    /// Only a change of the pool, or of what stands in its way, helps; else it is tried again by itself.
    pub refused: bool,
}

/// A workload as the API server has it.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkloadObject {
    /// Proxies anywhere.
    Deployment(Box<Deployment>),
    /// A proxy on each node.
    DaemonSet(Box<DaemonSet>),
    /// Proxies with names of their own.
    StatefulSet(Box<StatefulSet>),
}

impl Outcome {
    /// Nothing is known yet but which pool it is.
    pub fn new(uid: &str, generation: i64) -> Self {
        Self {
            uid: uid.to_owned(),
            generation,
            refused: Vec::new(),
            failed: None,
            workload: None,
            service: None,
            selector: None,
            pod_security: None,
        }
    }

    /// Takes note of one object of the pool.
    pub fn observe(&mut self, kind: ChildKind, object: &Value, pool: &str, access_point: Option<&str>) {
        match kind {
            ChildKind::Deployment => self.workload = read(object).map(WorkloadObject::Deployment),
            ChildKind::DaemonSet => self.workload = read(object).map(WorkloadObject::DaemonSet),
            ChildKind::StatefulSet => self.workload = read(object).map(WorkloadObject::StatefulSet),
            ChildKind::Service if object["metadata"]["name"].as_str() == access_point => {
                self.service = read(object);
            }
            _ => return,
        }
        if self.workload.is_some() {
            self.selector = Some(names::pod_selector_text(pool));
        }
    }
}

/// Without what changes at every write and tells nothing.
fn read<T: DeserializeOwned>(object: &Value) -> Option<T> {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
    }
    serde_json::from_value(object).ok()
}

/// How many proxies a `StatefulSet` has, those that are leaving among them.
pub fn proxies_there(stateful_set: Option<&Value>) -> u32 {
    let replicas = stateful_set.and_then(|set| set["status"]["replicas"].as_u64());
    replicas
        .and_then(|replicas| u32::try_from(replicas).ok())
        .unwrap_or_default()
}
