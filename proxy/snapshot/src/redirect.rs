//! What a chain's clients are told when it cannot serve them, who stands in for it, and when they come back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::listener::is_default;
use crate::{ChainId, PoolId, Schedule, duration};

/// How a chain's clients are sent to another chain of its group, and how its guests are sent back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    /// Native redirects that this chain's clients follow; none: they are relayed. Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dialects: Vec<Dialect>,
    /// What becomes of a client that follows none of them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fallback: Fallback,
    /// When guests of this chain go back to where they belong.
    #[serde(rename = "return")]
    pub return_: Return,
    /// A guest stays at least so long.
    #[serde(with = "duration::text")]
    pub min_stay: Duration,
    /// Guests that are still here so long after their return began are closed, paced.
    #[serde(with = "duration::text")]
    pub grace: Duration,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            dialects: Vec::new(),
            fallback: Fallback::Relay,
            return_: Return::WhenHealthy,
            min_stay: Duration::from_mins(5),
            grace: Duration::from_hours(1),
        }
    }
}

/// A redirect in a client's own protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Dialect {
    /// 307 Temporary Redirect (RFC 9110 §15.4.8).
    Http,
    /// The same, of the opening handshake (RFC 6455 §4.1).
    WebSocket,
    /// `see-other-host` (RFC 6120 §4.9.3.19).
    Xmpp,
    /// Server reference (MQTT 5 §4.11).
    Mqtt,
}

/// What becomes of a client that follows no native redirect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fallback {
    /// Its bytes go through a live proxy of the group.
    #[default]
    Relay,
    /// It is refused, in its own protocol.
    Refuse,
}

/// When guests go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Return {
    /// At the next start of the group's schedule.
    Scheduled,
    /// Once their own chain has been live for `failover.delay`.
    WhenHealthy,
    /// When told.
    OnDemand,
}

/// Chains that stand in for each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// Unique within the namespace of its chains.
    pub name: String,
    /// Prime time: that of the oldest chain that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Every chain of the group, this one included, in the order of their `priority`, then by identity.
    pub members: Vec<GroupMember>,
}

/// A chain of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupMember {
    /// Which chain.
    pub chain: ChainId,
    /// Lower goes first; of equals the load decides.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// Where its clients come to.
    pub at: GroupPlace,
    /// Administratively down.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspended: bool,
}

/// Where the clients of a group's chain come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum GroupPlace {
    /// A pool whose proxies gossip with ours: one of [`crate::Snapshot::peers`].
    #[serde(rename_all = "camelCase")]
    Pool {
        /// Which.
        pool: PoolId,
        /// Which listener of it.
        listener: String,
        /// The chain's first hostname, if it has one: what a relayed client asks for, and what the backend sees.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hostname: Option<String>,
    },
    /// Beyond this cluster: only for native redirects, as long as its monitors pass.
    #[serde(rename_all = "camelCase")]
    Remote {
        /// `host:port`, in the order of the resource.
        addresses: Vec<String>,
        /// All of them must pass; none: one TCP connect.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        monitors: Vec<crate::Monitor>,
    },
}
