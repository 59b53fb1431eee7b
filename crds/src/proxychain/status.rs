//! What the operator reports about a chain: the majority's view of its proxies.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{schema, structural};

/// What the proxies of the chain report, folded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = structural::structural)]
pub struct ProxyChainStatus {
    /// The generation this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Accepted, ResolvedRefs, Programmed, PrimaryActive, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// The tier that serves, by the majority of the proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveTier>,

    /// Endpoints that serve, of those known: `4/4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub healthy: Option<String>,

    /// Proxies that run this generation, of those there are: `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub programmed: Option<String>,

    /// The first 32 endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub endpoints: Vec<EndpointStatus>,

    /// Whether clients are redirected, and where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<RedirectStatus>,

    /// The last 10 changes of the active tier, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub transitions: Vec<Transition>,
}

/// The tier that serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveTier {
    /// A backend of the tier.
    #[schemars(length(max = 63))]
    pub backend: String,
    /// The tier.
    pub tier: u32,
    /// Since when it serves.
    pub since: Time,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// The backend it belongs to.
    #[schemars(length(max = 63))]
    pub backend: String,
    /// Its address and port.
    #[schemars(length(max = 261))]
    pub address: String,
    /// Whether it gets connections.
    pub state: EndpointState,
    /// Why, in words; says so where the proxies differ.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Since when.
    pub since: Time,
}

/// Whether an endpoint gets connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EndpointState {
    /// It does.
    Serving,
    /// It does, although the resolver no longer answers for it.
    Stale,
    /// It does not: it fails.
    Ejected,
    /// It gets no new ones: it left DNS or is being taken out.
    Draining,
}

/// Whether clients are redirected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedirectStatus {
    /// Whether they are, now.
    pub active: bool,
    /// The chain they are sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub to: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// How many of its clients are guests elsewhere; written at most every 30 seconds.
    #[serde(default)]
    pub guests: u32,
    /// When they go back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_at: Option<Time>,
}

/// One change of the active tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// When.
    pub at: Time,
    /// The backend that served before.
    #[schemars(length(max = 63))]
    pub from: String,
    /// The backend that serves since.
    #[schemars(length(max = 63))]
    pub to: String,
    /// Why.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub reason: String,
}
