//! The objects that the operator makes, as plain JSON with their kind: one way through for all of them.

use std::fmt;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ApiResource;
use serde_json::Value;

/// A kind of object that the operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// The pods' identity.
    ServiceAccount,
    /// Bootstrap.
    ConfigMap,
    /// Keys.
    Secret,
    /// Access points, peers, single proxies.
    Service,
    /// Who may reach the pods.
    NetworkPolicy,
    /// Proxies anywhere.
    Deployment,
    /// A proxy on each node.
    DaemonSet,
    /// Proxies with names of their own.
    StatefulSet,
    /// How many proxies may be evicted at once.
    PodDisruptionBudget,
}

impl ChildKind {
    /// All of them, in the order in which they are applied: what pods need comes before the pods.
    pub const ALL: [Self; 9] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::NetworkPolicy,
        Self::Deployment,
        Self::DaemonSet,
        Self::StatefulSet,
        Self::PodDisruptionBudget,
    ];

    /// How the API server serves the kind.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
        }
    }

    /// As manifests write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Deployment => "Deployment",
            Self::DaemonSet => "DaemonSet",
            Self::StatefulSet => "StatefulSet",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
        }
    }
}

impl fmt::Display for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object as it should be: exactly the fields that the operator means to own.
#[derive(Clone, PartialEq)]
pub struct Child {
    /// Its kind.
    pub kind: ChildKind,
    /// It, without nulls.
    pub object: Value,
}

impl Child {
    /// Takes the manifest of an object; a null stands for a field that is left out.
    pub fn new(kind: ChildKind, mut object: Value) -> Self {
        let resource = kind.resource();
        object["apiVersion"] = Value::String(resource.api_version);
        object["kind"] = Value::String(resource.kind);
        leave_out_nulls(&mut object);
        Self { kind, object }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        text(&self.object, "name")
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        text(&self.object, "namespace")
    }
}

/// Kind and name; never the content, which may be a key.
impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace(), self.name())
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn leave_out_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(leave_out_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_nulls),
        _ => {}
    }
}
