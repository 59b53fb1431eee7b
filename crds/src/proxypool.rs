//! `ProxyPool`: identical proxies at one site behind an access point.

#![allow(
    clippy::duplicated_attributes,
    reason = "the columns of the derive look like duplicates to it"
)]

mod access;
mod listener;
mod rules;
mod settings;
mod status;
mod workload;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{schema, structural};

pub use access::{
    AccessPoint, AccessPointService, AccessPointServiceType, DirectAddress, DirectAddressType,
    ExternalTrafficPolicy,
};
pub use listener::{
    Forward, Http, Listener, ListenerProtocol, ListenerTls, ProxyProtocolIn, TlsMode, TlsVersion,
};
pub use settings::{Affinity, AffinityBy, Dns, Drain, Guests, Peers, Percent, Snat};
pub use status::{AddressType, PoolAddress, ProxyPoolStatus};
pub use workload::{Inject, Workload, WorkloadKind};

/// What a pool of proxies is: where it runs, where it listens, how clients reach it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "switchyard.dev",
    version = "v1alpha1",
    kind = "ProxyPool",
    namespaced,
    status = "ProxyPoolStatus",
    derive = "PartialEq",
    shortname = "pp",
    category = "switchyard",
    validation = rules::name(),
    doc = "A ProxyPool is a set of identical proxies at one site, behind an access point that clients are given.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Site", type_ = "string", json_path = ".spec.site"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.workload.kind"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "Programmed", type_ = "string", json_path = ".status.programmed"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.addresses[0].value"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::pool()), transform = structural::structural)]
pub struct ProxyPoolSpec {
    /// Where the pool is. Proxies of one site share monitors and prefer each other.
    #[serde(default = "default_site")]
    #[schemars(schema_with = "schema::label")]
    pub site: String,

    /// How many proxies. A DaemonSet and a Sidecar pool ignore it, and say so in a condition.
    #[serde(default = "default_replicas")]
    #[schemars(range(max = 1000))]
    pub replicas: u32,

    /// What runs the proxies in the cluster.
    #[serde(default)]
    pub workload: Workload,

    /// The load-balanced address that clients are given. Pools of a namespace that name the same access point share its Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_point: Option<AccessPoint>,

    /// How a client reaches ONE proxy of this pool, past the load balancer: the first entry whose networks match the client.
    /// With none, no client is sent here natively; relays still come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub direct_address: Vec<DirectAddress>,

    /// What the proxies listen on.
    #[schemars(
        length(min = 1, max = 32),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            "x-kubernetes-validations" = rules::listeners()
        )
    )]
    pub listeners: Vec<Listener>,

    /// Keeps a client on the endpoint it had. Absent: no affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// What the agent's DNS answers for the access point.
    #[serde(default)]
    pub dns: Dns,

    /// Source addresses towards the backends.
    #[serde(default)]
    pub snat: Snat,

    /// How many clients of other chains this pool takes in.
    #[serde(default)]
    pub guests: Guests,

    /// How the proxies gossip with each other.
    #[serde(default)]
    pub peers: Peers,

    /// How a proxy leaves.
    #[serde(default)]
    pub drain: Drain,
}

fn default_site() -> String {
    "default".to_owned()
}

const fn default_replicas() -> u32 {
    2
}

impl ProxyPoolSpec {
    /// The listener of this name.
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == name)
    }
}

impl ProxyPool {
    /// The name of the access point: its own, or the pool's where it says none. A Sidecar pool has no access point.
    pub fn access_point_name(&self) -> Option<&str> {
        if self.spec.workload.kind == WorkloadKind::Sidecar {
            return None;
        }
        let own = self
            .spec
            .access_point
            .as_ref()
            .and_then(|access_point| access_point.name.as_deref());
        own.or(self.metadata.name.as_deref())
    }
}
