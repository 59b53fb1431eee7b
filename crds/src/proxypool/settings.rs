//! What a pool does with its clients besides listening: affinity, DNS, source addresses, guests, gossip, leaving.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::rules;
use crate::common::{
    Duration, SecretRef, form,
    rules::{dns_ttl, positive_duration},
    schema,
};

/// Keeps a client on the endpoint it had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    /// What identifies a client.
    pub by: AffinityBy,

    /// How long an exception is remembered after the client's last connection.
    #[schemars(extend("x-kubernetes-validations" = positive_duration()))]
    pub ttl: Duration,

    /// How many leading bits of an IPv4 address make one client.
    #[schemars(range(min = 1, max = 32))]
    pub prefix_v4: u8,

    /// How many leading bits of an IPv6 address make one client.
    #[schemars(range(min = 1, max = 128))]
    pub prefix_v6: u8,
}

impl Default for Affinity {
    fn default() -> Self {
        Self {
            by: AffinityBy::SourceIP,
            ttl: Duration::from_secs(3600),
            prefix_v4: 32,
            prefix_v6: 64,
        }
    }
}

/// What identifies a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AffinityBy {
    /// Its source address.
    #[default]
    SourceIP,
}

/// What the agent's DNS answers for the access point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dns {
    /// TTL of the answers, in whole seconds.
    #[schemars(extend("x-kubernetes-validations" = dns_ttl()))]
    pub ttl: Duration,

    /// Addresses in one answer.
    #[schemars(range(min = 1, max = 64))]
    pub max_answers: u32,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(1),
            max_answers: 8,
        }
    }
}

/// Source addresses towards the backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Snat {
    /// Local addresses that connections to backends come from, in turn: each adds some 60,000 ports. Empty: the system's choice.
    #[schemars(schema_with = "schema::ips")]
    pub addresses: Vec<String>,
}

/// How many clients of other chains this pool takes in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Guests {
    /// Their share of each listener's maxConnections.
    pub max: Percent,
}

impl Default for Guests {
    fn default() -> Self {
        Self { max: Percent(50) }
    }
}

/// A share from `0%` to `100%`, in whole percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u8);

impl Percent {
    /// The share of `whole`, rounded down.
    pub const fn of(self, whole: u32) -> u32 {
        (whole as u64 * self.0 as u64 / 100) as u32
    }

    /// 0 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_suffix('%')
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|percent| *percent <= 100)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a share: {}", form::PERCENT.says))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": form::PERCENT.pattern, "maxLength": 4})
    }
}

/// How the proxies gossip with each other, and with those of other clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::peers()))]
pub struct Peers {
    /// The UDP port of gossip.
    #[schemars(schema_with = "schema::port")]
    pub port: u16,

    /// The local address of gossip. Absent: the pod's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::ip")]
    pub bind_address: Option<String>,

    /// What this cluster is called among those that gossip with each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label")]
    pub cluster: Option<String>,

    /// Secret with the key that proxies of several clusters share. Absent: the operator's key of this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_ref: Option<SecretRef>,

    /// Proxies of other clusters to begin with, as `host:port`. They need keyRef.
    #[schemars(schema_with = "schema::host_ports")]
    pub seeds: Vec<String>,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            port: 17946,
            bind_address: None,
            cluster: None,
            key_ref: None,
            seeds: Vec::new(),
        }
    }
}

/// How a proxy leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Drain {
    /// How long sessions may take to leave. It sets the pod's grace period.
    pub timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(300),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Percent;

    #[test]
    fn shares_are_read_printed_and_taken() {
        for (text, of_10000) in [("0%", 0), ("1%", 100), ("50%", 5_000), ("100%", 10_000)] {
            let percent: Percent = text.parse().unwrap();
            assert_eq!(percent.to_string(), text);
            assert_eq!(percent.of(10_000), of_10000);
        }
        assert_eq!("33%".parse::<Percent>().unwrap().of(10), 3);
        assert_eq!("100%".parse::<Percent>().unwrap().of(u32::MAX), u32::MAX);
        for text in ["", "%", "50", "101%", "-1%", "+1%", "1.5%", "50 %"] {
            assert!(text.parse::<Percent>().is_err(), "{text:?}");
        }
    }
}
