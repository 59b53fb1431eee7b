//! How clients are sent to another chain of the group, and back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::health::Monitor;
use crate::common::{Duration, schema};

/// How clients are sent to another chain of the group, and back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Redirect {
    /// Native redirects that this chain's clients follow. Empty: they are relayed.
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub dialects: Vec<Dialect>,

    /// What happens to a client that follows none of them.
    pub fallback: RedirectFallback,

    /// When guests go back. Absent: Scheduled where there is a schedule, else WhenHealthy.
    #[serde(rename = "return", skip_serializing_if = "Option::is_none")]
    pub return_: Option<RedirectReturn>,

    /// A guest stays at least so long.
    pub min_stay: Duration,

    /// Sessions still there so long after the return began are closed, paced.
    pub grace: Duration,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            dialects: Vec::new(),
            fallback: RedirectFallback::Relay,
            return_: None,
            min_stay: Duration::from_secs(300),
            grace: Duration::from_secs(3600),
        }
    }
}

/// A redirect in a client's own protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Dialect {
    /// 307 Temporary Redirect.
    HTTP,
    /// A redirect of the opening handshake.
    WebSocket,
    /// see-other-host.
    XMPP,
    /// Server reference of MQTT 5.
    MQTT,
}

/// What happens to a client that follows no native redirect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RedirectFallback {
    /// It is relayed through a live proxy of the group.
    #[default]
    Relay,
    /// It is refused, in its own protocol.
    Refuse,
}

/// When guests go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RedirectReturn {
    /// At the next start of the schedule.
    Scheduled,
    /// Once the chain has been healthy for failover.delay.
    WhenHealthy,
    /// When told.
    OnDemand,
}

/// A chain outside this cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Remote {
    /// Where clients reach it, as `host:port`.
    #[schemars(schema_with = "schema::remote_addresses")]
    pub addresses: Vec<String>,

    /// All of them must pass. Empty: one TCP connect.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub monitors: Vec<Monitor>,
}
