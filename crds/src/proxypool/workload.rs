//! What runs a pool's proxies in the cluster.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use crate::common::{schema, structural};

/// What runs the proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::workload()))]
pub struct Workload {
    /// What kind of workload. It cannot be changed later.
    #[schemars(extend("x-kubernetes-validations" = rules::workload_kind()))]
    pub kind: WorkloadKind,

    /// The proxy's image. Absent: the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// CPU and memory of each proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = structural::embedded)]
    pub resources: Option<ResourceRequirements>,

    /// Labels of the nodes that may run proxies.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub node_selector: BTreeMap<String, String>,

    /// Taints that the proxies tolerate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = structural::embedded)]
    pub tolerations: Vec<Toleration>,

    /// Where the scheduler should and must put proxies. Absent: apart from each other, where possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = structural::embedded)]
    pub affinity: Option<Affinity>,

    /// How proxies spread. Absent: over zones and nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = structural::embedded)]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,

    /// The PriorityClass of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub priority_class_name: Option<String>,

    /// More labels for the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub pod_labels: BTreeMap<String, String>,

    /// More annotations for the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub pod_annotations: BTreeMap<String, String>,

    /// Listen in the node's network. It needs a namespace that admits privileged pods.
    pub host_network: bool,

    /// Sidecar only: which pods get the proxy. Absent: every pod of the namespace that has the label
    /// `switchyard.dev/inject: "true"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inject: Option<Inject>,
}

/// Kinds of workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// Replicas anywhere.
    #[default]
    Deployment,
    /// One proxy on each node.
    DaemonSet,
    /// Replicas with stable names, so that each can have an address of its own.
    StatefulSet,
    /// A container in the clients' own pods.
    Sidecar,
}

/// Which pods get a sidecar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inject {
    /// Pods of this namespace that get the proxy; they also need the label `switchyard.dev/inject: "true"`.
    #[schemars(transform = structural::embedded)]
    pub pod_selector: LabelSelector,
}
