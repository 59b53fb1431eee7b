//! Where a chain leads: backends, how their names are resolved, and how a connection is made.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::listener::is_default;
use crate::{BackendTls, duration};

/// One backend of a chain; it may have many endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// Unique within the chain.
    pub name: String,
    /// Where its endpoints come from.
    pub target: Target,
    /// 0 is primary.
    pub tier: u32,
    /// Share within the tier, 1 or more. An SRV record's weight multiplies it.
    pub weight: u32,
    /// Connections at once per proxy and endpoint; none: no limit. More wait up to the connect timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// The PROXY header sent first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub send_proxy: SendProxy,
    /// What is spoken to it, where the listener speaks HTTP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub http: HttpVersion,
    /// Connections to it are TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
}

/// The HTTP version towards a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.1, RFC 9112.
    #[default]
    Http1,
    /// HTTP/2, RFC 9113; without TLS by prior knowledge.
    Http2,
}

/// Where endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Target {
    /// A name with A and AAAA records, or an address.
    #[serde(rename_all = "camelCase")]
    Host {
        /// A DNS name (a trailing dot is added for the query) or an IP address.
        host: String,
        /// Where it listens.
        port: u16,
    },
    /// An SRV record (RFC 2782): ports and weights are used, priorities order within the tier.
    #[serde(rename_all = "camelCase")]
    Srv {
        /// `_service._proto.name`
        name: String,
    },
    /// A Service of the cluster. Its addresses come with the snapshot, not from DNS; an empty list says that there are none
    /// now, and is believed.
    #[serde(rename_all = "camelCase")]
    Endpoints {
        /// Name of the Service, in the chain's namespace.
        service: String,
        /// The port by which the user names it; endpoints may listen on others.
        port: u16,
        /// Who takes connections now; sorted, without repeats.
        endpoints: Vec<SocketAddr>,
    },
}

impl Target {
    /// Whether both name the same source of endpoints, which may have others now than it had before.
    pub fn same_source(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Endpoints { service, port, .. },
                Self::Endpoints {
                    service: other,
                    port: other_port,
                    ..
                },
            ) => service == other && port == other_port,
            _ => self == other,
        }
    }
}

/// The PROXY header (haproxy's proxy-protocol.txt) sent to a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SendProxy {
    /// No header.
    #[default]
    None,
    /// The text header.
    V1,
    /// The binary header.
    V2,
}

/// How names become addresses, and how long what was learnt is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resolution {
    /// A shorter TTL counts as this.
    #[serde(with = "duration::text")]
    pub min_ttl: Duration,
    /// A longer TTL counts as this.
    #[serde(with = "duration::text")]
    pub max_ttl: Duration,
    /// How long an address must be missing from answers before it counts as vanished.
    #[serde(with = "duration::text")]
    pub missing_for: Duration,
    /// How long an endpoint without a passing monitor outlives a failing resolver.
    #[serde(with = "duration::text")]
    pub stale_for: Duration,
    /// What NXDOMAIN means.
    pub on_nxdomain: OnMissing,
    /// What an answer without addresses means.
    pub on_empty: OnMissing,
    /// Whom to ask; none: the system's resolvers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<SocketAddr>,
    /// Which addresses are wanted.
    pub families: Families,
}

/// What an answer that denies the name, or holds no address, does to the addresses known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnMissing {
    /// Like a failed lookup: the last answer goes on.
    Stale,
    /// After three in a row the addresses are missing.
    Remove,
}

/// Which address families are asked for, and which goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Families {
    /// Both, as equals.
    Any,
    /// A records only.
    #[serde(rename = "IPv4")]
    V4,
    /// AAAA records only.
    #[serde(rename = "IPv6")]
    V6,
    /// Both; IPv6 addresses rank behind while an IPv4 address serves.
    #[serde(rename = "PreferIPv4")]
    PreferV4,
    /// Both; IPv4 addresses rank behind while an IPv6 address serves.
    #[serde(rename = "PreferIPv6")]
    PreferV6,
}

/// Who of the serving endpoints gets the next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// Who has the fewest, by weight.
    LeastConnections,
    /// At random, by weight.
    Random,
    /// By the client's address (rendezvous hashing), by weight.
    SourceHash,
}

/// How a connection to an endpoint is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connect {
    /// For one attempt.
    #[serde(with = "duration::text")]
    pub timeout: Duration,
    /// Attempts per client connection, each at another endpoint while there is one; 1 or more.
    pub attempts: u32,
    /// A pending attempt gets a competitor after this long (RFC 8305 §5).
    #[serde(with = "duration::text")]
    pub happy_eyeballs_delay: Duration,
}
