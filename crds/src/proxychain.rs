//! `ProxyChain`: one way through, from a pool's listener to ordered backends.

#![allow(
    clippy::duplicated_attributes,
    reason = "the columns of the derive look like duplicates to it"
)]

mod backend;
mod failover;
mod headers;
mod health;
mod redirect;
mod resolution;
mod rules;
mod schedule;
mod status;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{schema, structural};

pub use backend::{
    Backend, BackendProtocol, BackendTarget, BackendTls, DialIn, ProxyProtocolOut, ServiceRef,
};
pub use failover::{Connect, DrainVanished, Failback, Failover, FailoverMode, OnDown};
pub use headers::{HeaderChanges, HeaderField, Headers};
pub use health::{GrpcMonitor, Health, HttpMonitor, Monitor, MonitorKind, Passive, TcpMonitor, TlsMonitor};
pub use redirect::{Dialect, Redirect, RedirectFallback, RedirectReturn, Remote};
pub use resolution::{AddressFamilies, Resolution, WithoutAnswer};
pub use schedule::{Schedule, Start, Weekday};
pub use status::{ActiveTier, EndpointState, EndpointStatus, ProxyChainStatus, RedirectStatus, Transition};

/// What a chain is: who comes through it, to which backends, and what happens when they fail.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "switchyard.dev",
    version = "v1alpha1",
    kind = "ProxyChain",
    namespaced,
    status = "ProxyChainStatus",
    derive = "PartialEq",
    shortname = "pch",
    category = "switchyard",
    doc = "A ProxyChain is one way through: from a pool's listener to backends in tiers, with their health, failover and redirection.",
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.poolRef.name"),
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.group"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.active.backend"),
    printcolumn(name = "Healthy", type_ = "string", json_path = ".status.healthy"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Redirect", type_ = "string", json_path = ".status.redirect.to"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::chain()), transform = structural::structural)]
pub struct ProxyChainSpec {
    /// The pool, and its listener, that clients come in by. A chain has either poolRef or remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<PoolRef>,

    /// What clients ask for, by SNI, Host, or as destination of a SOCKS or CONNECT request; `*.x` stands for every name below x.
    /// Exact names win over wildcards, longer wildcards over shorter. Empty: the listener's default chain.
    #[schemars(schema_with = "schema::hostnames")]
    pub hostnames: Vec<String>,

    /// The server speaks first: on an Auto listener a silent client gets this chain at once. Only for a default chain.
    pub server_first: bool,

    /// Where connections go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub backends: Vec<Backend>,

    /// How backends' names become addresses.
    pub resolution: Resolution,

    /// How an endpoint of the active tier is picked.
    pub balance: Balance,

    /// How long a new or recovered endpoint takes to get its full share.
    pub slow_start: crate::Duration,

    /// When an endpoint is up.
    pub health: Health,

    /// How connections to endpoints are made.
    pub connect: Connect,

    /// Which tier serves, and when that changes.
    pub failover: Failover,

    /// Prime time: when clients go back, for failback Scheduled and for the return of guests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,

    /// Chains of one group, in this namespace, stand in for each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label")]
    pub group: Option<String>,

    /// Order within the group, lower first.
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,

    /// How clients are sent to another chain of the group, and back.
    pub redirect: Redirect,

    /// What happens to sessions whose address left DNS. Absent: they stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_vanished: Option<DrainVanished>,

    /// What is changed in headers, where the listener reads HTTP. Absent: nothing but what the protocol asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers>,

    /// Administratively down: its clients are redirected.
    pub suspend: bool,

    /// A chain outside this cluster: a target for redirects. A chain has either poolRef or remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<Remote>,
}

/// A pool of the same namespace, and one of its listeners.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolRef {
    /// Name of the ProxyPool.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,

    /// Name of its listener. It may be absent where the pool has one listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::port_name")]
    pub listener: Option<String>,
}

/// How an endpoint of the active tier is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The one with the fewest connections for its weight.
    LeastConnections,
    /// By chance, by weight.
    Random,
    /// By the client's address, always the same while it serves.
    SourceHash,
}

impl ProxyChainSpec {
    /// The backend of this name.
    pub fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.name == name)
    }

    /// The tiers that have backends, lowest first.
    pub fn tiers(&self) -> Vec<u32> {
        let mut tiers: Vec<u32> = self.backends.iter().map(|backend| backend.tier).collect();
        tiers.sort_unstable();
        tiers.dedup();
        tiers
    }

    /// When guests of other chains' clients come back: as said, else by the schedule where there is one, else once the chain is
    /// healthy.
    pub fn redirect_return(&self) -> RedirectReturn {
        match (self.redirect.return_, &self.schedule) {
            (Some(said), _) => said,
            (None, Some(_)) => RedirectReturn::Scheduled,
            (None, None) => RedirectReturn::WhenHealthy,
        }
    }
}

#[cfg(test)]
mod tests;
