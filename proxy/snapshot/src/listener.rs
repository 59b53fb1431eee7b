//! What a proxy binds, whom it lets in there, and how long it waits for them.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{HttpLimits, ListenerTls, duration};

/// One port of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Unique within the pool.
    pub name: String,
    /// The port to bind.
    pub port: u16,
    /// Local addresses to bind; none: all of them (or the one the process was told to bind).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Where guests arrive, on the same addresses; none: nobody is sent here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_port: Option<u16>,
    /// Guests at once on this proxy; they count among `max_connections`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_guests: u32,
    /// What clients speak here.
    pub protocol: Protocol,
    /// Whether clients (or the balancer before us) lead with a PROXY header.
    #[serde(default, skip_serializing_if = "is_default")]
    pub accept_proxy: AcceptProxy,
    /// Who may send a PROXY header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_sources: Vec<IpNet>,
    /// Who may connect; none: everyone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_sources: Vec<IpNet>,
    /// Probes of load balancers: told the truth, never redirected, never counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub monitor_sources: Vec<IpNet>,
    /// A session that moves no byte for this long is closed.
    #[serde(with = "duration::text")]
    pub idle_timeout: Duration,
    /// How long a client may take until its PROXY header and its first message are complete.
    #[serde(with = "duration::text")]
    pub handshake_timeout: Duration,
    /// Sessions at once on this proxy; beyond it, connections wait in the kernel's backlog.
    pub max_connections: u32,
    /// TLS ends here; none: it does not, and TLS that comes all the same is passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Every request is answered with 308 to https at this port; none: it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_redirect: Option<u16>,
    /// What is taken of HTTP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub http: HttpLimits,
}

/// How the chain of a connection is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Opaque bytes: the listener's one chain.
    Tcp,
    /// TLS: the chain by SNI. Passed through, or opened here with what is in it relayed as it is.
    Tls,
    /// HTTP/1.1 and HTTP/2 in the clear: the chain by Host.
    Http,
    /// HTTP/1.1 and HTTP/2 in TLS that ends here.
    Https,
    /// TLS by SNI, HTTP by Host, anything else (or silence) to the default chain.
    Auto,
}

/// Whether a PROXY header (haproxy's proxy-protocol.txt, v1 and v2) comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AcceptProxy {
    /// Nobody is expected to: a header is bytes like any others, and believed by nobody.
    #[default]
    None,
    /// Trusted sources may send one.
    Accept,
    /// Trusted sources must send one.
    Require,
}

/// Clients of one source network stay with one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Affinity {
    /// How long an exception (a client that is not where its hash says) lasts after its last connection.
    #[serde(with = "duration::text")]
    pub ttl: Duration,
    /// Leading bits of an IPv4 address that count, 0 to 32.
    pub prefix_v4: u8,
    /// Leading bits of an IPv6 address that count, 0 to 128.
    pub prefix_v6: u8,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
