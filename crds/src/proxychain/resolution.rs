//! How backends' names become addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use crate::common::{Duration, rules::positive_duration, schema};

/// How names become addresses, and what happens when that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::resolution()))]
pub struct Resolution {
    /// An answer with a shorter TTL is kept so long.
    #[serde(rename = "minTTL")]
    #[schemars(extend("x-kubernetes-validations" = positive_duration()))]
    pub min_ttl: Duration,

    /// An answer with a longer TTL is kept so long.
    #[serde(rename = "maxTTL")]
    #[schemars(extend("x-kubernetes-validations" = positive_duration()))]
    pub max_ttl: Duration,

    /// How long an address must be missing from answers before it counts as vanished.
    pub missing_for: Duration,

    /// How long an endpoint that no monitor watches outlives a failing resolver.
    pub stale_for: Duration,

    /// What an answer "no such name" does.
    #[serde(rename = "onNXDOMAIN")]
    pub on_nxdomain: WithoutAnswer,

    /// What an answer without addresses does.
    pub on_empty: WithoutAnswer,

    /// Name servers, as `ip` or `ip:port`. Empty: the system's.
    #[schemars(schema_with = "schema::name_servers")]
    pub nameservers: Vec<String>,

    /// Which addresses are asked for and used.
    pub families: AddressFamilies,
}

impl Default for Resolution {
    fn default() -> Self {
        Self {
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(30),
            missing_for: Duration::ZERO,
            stale_for: Duration::from_secs(3600),
            on_nxdomain: WithoutAnswer::Stale,
            on_empty: WithoutAnswer::Stale,
            nameservers: Vec::new(),
            families: AddressFamilies::Any,
        }
    }
}

/// What an answer without addresses does to the endpoints that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WithoutAnswer {
    /// They stay, as if the resolver had failed.
    #[default]
    Stale,
    /// They go, after three such answers in a row.
    Remove,
}

/// Which addresses are asked for and used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AddressFamilies {
    /// IPv4 and IPv6 alike.
    #[default]
    Any,
    /// IPv4 only.
    IPv4,
    /// IPv6 only.
    IPv6,
    /// IPv4, and IPv6 where there is none.
    PreferIPv4,
    /// IPv6, and IPv4 where there is none.
    PreferIPv6,
}
