//! Where a chain's connections go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use crate::common::{SecretRef, schema};

/// One backend: a name that stands for one or more endpoints, all of one tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::backend()))]
pub struct Backend {
    /// Name of the backend, unique in the chain.
    #[schemars(schema_with = "schema::label")]
    pub name: String,

    /// A DNS name or an IP address; it needs port. A backend has exactly one of host, srv, service and dialIn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::host")]
    pub host: Option<String>,

    /// The port of host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::port")]
    pub port: Option<u16>,

    /// The name of an SRV record. Its weights and ports are used; its priorities order endpoints within the tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::srv")]
    pub srv: Option<String>,

    /// A Service of this namespace; its endpoints come from EndpointSlices, not from DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,

    /// The backend's connector dials the proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial_in: Option<DialIn>,

    /// Rank: 0 is the primary tier, 1 the first backup, and so on.
    #[serde(default)]
    #[schemars(range(max = 63))]
    pub tier: u32,

    /// Share of connections among endpoints of the tier.
    #[serde(default = "default_weight")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,

    /// HTTP version towards the backend, where the listener speaks HTTP.
    #[serde(default)]
    pub protocol: BackendProtocol,

    /// Connections per proxy and endpoint; more wait, up to connect.timeout. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections: Option<u32>,

    /// TLS towards the backend. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,

    /// Whether connections begin with a PROXY protocol header.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocolOut,
}

const fn default_weight() -> u32 {
    1
}

/// Where a backend's endpoints come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendTarget<'a> {
    /// A DNS name or an IP address, and a port.
    Host {
        /// DNS name or IP address.
        host: &'a str,
        /// Its port.
        port: u16,
    },
    /// The name of an SRV record.
    Srv(&'a str),
    /// A Service of the same namespace.
    Service(&'a ServiceRef),
    /// Connectors that dial in.
    DialIn(&'a DialIn),
}

impl Backend {
    /// Where its endpoints come from. None where it breaks the rule of exactly one, which the API server enforces.
    pub fn target(&self) -> Option<BackendTarget<'_>> {
        match (&self.host, self.port, &self.srv, &self.service, &self.dial_in) {
            (Some(host), Some(port), None, None, None) => Some(BackendTarget::Host { host, port }),
            (None, None, Some(srv), None, None) => Some(BackendTarget::Srv(srv)),
            (None, None, None, Some(service), None) => Some(BackendTarget::Service(service)),
            (None, None, None, None, Some(dial_in)) => Some(BackendTarget::DialIn(dial_in)),
            _ => None,
        }
    }
}

/// A Service of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// Name of the Service.
    #[schemars(schema_with = "schema::label")]
    pub name: String,

    /// One of its ports.
    #[schemars(schema_with = "schema::port")]
    pub port: u16,
}

/// Connectors that run beside the backend and dial the proxies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DialIn {
    /// The pool's listener that connectors dial.
    #[schemars(schema_with = "schema::port_name")]
    pub listener: String,
}

/// HTTP version towards a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum BackendProtocol {
    /// HTTP/1.1.
    #[default]
    HTTP1,
    /// HTTP/2.
    HTTP2,
}

/// TLS towards a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTls {
    /// The name asked for and verified. Absent: the backend's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::host")]
    pub server_name: Option<String>,

    /// Secret with `ca.crt`, which must have signed the backend's certificate. Absent: the public CAs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<SecretRef>,

    /// Secret with the certificate and key shown to the backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretRef>,
}

/// PROXY protocol towards a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ProxyProtocolOut {
    /// No header.
    #[default]
    None,
    /// The text header.
    V1,
    /// The binary header.
    V2,
}
