//! One way through: a listener, the names that lead here, ordered backends and what governs them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::listener::is_default;
use crate::{
    Backend, Balance, Connect, Failover, Group, HeaderRules, Health, Redirect, Resolution, Schedule, duration,
};

/// `namespace/name` of a `ProxyChain`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChainId {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One chain, every default filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Chain {
    /// Which resource this is.
    pub id: ChainId,
    /// `metadata.generation` of the resource this was compiled from; 0 where there is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub generation: i64,
    /// Name of the listener its clients come to.
    pub listener: String,
    /// SNI or Host names in lower case, `*.x` for any name below x; none: the listener's default chain. Conflicts
    /// between chains are already settled: no name stands in two chains of one listener.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// The server speaks first, so on an Auto listener silence means this chain at once.
    #[serde(default, skip_serializing_if = "is_default")]
    pub server_first: bool,
    /// In the order of the resource; names are unique.
    pub backends: Vec<Backend>,
    /// How names become addresses.
    pub resolution: Resolution,
    /// Who gets the next connection.
    pub balance: Balance,
    /// How long an endpoint that (again) serves takes to its full share; zero: at once.
    #[serde(with = "duration::text")]
    pub slow_start: Duration,
    /// How endpoints are watched.
    pub health: Health,
    /// How endpoints are reached.
    pub connect: Connect,
    /// Which tier serves.
    pub failover: Failover,
    /// Prime time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Sessions to an address that vanished from DNS are closed, paced, after this long; none: kept.
    #[serde(
        default,
        with = "duration::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub drain_vanished: Option<Duration>,
    /// Administratively down.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspend: bool,
    /// What is changed in headers, where the listener speaks HTTP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub headers: HeaderRules,
    /// Who stands in for it; none: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// How its clients get there, and its guests back.
    #[serde(default, skip_serializing_if = "is_default")]
    pub redirect: Redirect,
}
