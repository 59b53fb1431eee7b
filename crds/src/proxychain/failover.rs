//! How connections are made, which tier serves, and what happens to sessions when that changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use crate::common::{Duration, rules::positive_duration, schema};

/// How connections to endpoints are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Connect {
    /// How long one attempt may take.
    #[schemars(extend("x-kubernetes-validations" = positive_duration()))]
    pub timeout: Duration,

    /// Attempts for one client, each at a different endpoint.
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,

    /// How long an attempt may be silent before the next address is tried beside it (RFC 8305).
    #[schemars(extend("x-kubernetes-validations" = positive_duration()))]
    pub happy_eyeballs_delay: Duration,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(3),
            attempts: 3,
            happy_eyeballs_delay: Duration::from_millis(250),
        }
    }
}

/// Which tier serves, and when that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::failover()))]
pub struct Failover {
    /// Who decides which tier serves.
    pub mode: FailoverMode,

    /// Manual: the tier of this backend serves. Absent: the lowest tier. Automatic ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label")]
    pub active: Option<String>,

    /// A tier with fewer serving endpoints is down.
    #[schemars(range(min = 1, max = 1000))]
    pub min_healthy: u32,

    /// When a recovered tier takes back.
    pub failback: Failback,

    /// Delayed: how long a tier must be up before it takes back.
    pub delay: Duration,

    /// What happens to sessions on an endpoint that is marked down.
    pub on_down: OnDown,

    /// Sessions moved per second, chain and proxy. Moving a TCP session closes it with FIN.
    #[schemars(range(min = 1, max = 100_000))]
    pub pace: u32,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            mode: FailoverMode::Automatic,
            active: None,
            min_healthy: 1,
            failback: Failback::Sticky,
            delay: Duration::from_secs(60),
            on_down: OnDown::Keep,
            pace: 50,
        }
    }
}

/// Who decides which tier serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FailoverMode {
    /// The proxies, by the health of the tiers.
    #[default]
    Automatic,
    /// The spec alone.
    Manual,
}

/// When a recovered tier takes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Failback {
    /// Not before the backup itself fails.
    #[default]
    Sticky,
    /// At once.
    Immediate,
    /// After delay.
    Delayed,
    /// At the next start of the schedule.
    Scheduled,
}

/// What happens to sessions on an endpoint that is marked down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnDown {
    /// They stay as long as they work.
    #[default]
    Keep,
    /// They are closed, paced.
    Close,
}

/// What happens to sessions whose address left DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DrainVanished {
    /// How long after it vanished an address's sessions are moved, paced.
    pub after: Duration,
}

impl Default for DrainVanished {
    fn default() -> Self {
        Self {
            after: Duration::from_secs(30),
        }
    }
}
