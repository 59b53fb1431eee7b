//! When an endpoint is up: monitors, all of which must pass, and what live traffic says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use crate::common::{Duration, rules::positive_duration, schema};

/// When an endpoint is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Health {
    /// Time between probes, with jitter.
    #[schemars(extend("x-kubernetes-validations" = positive_duration()))]
    pub interval: Duration,

    /// How long a probe may take.
    #[schemars(extend("x-kubernetes-validations" = positive_duration()))]
    pub timeout: Duration,

    /// Passes in a row that bring an endpoint up.
    #[schemars(range(min = 1, max = 100))]
    pub rise: u32,

    /// Failures in a row that take it down.
    #[schemars(range(min = 1, max = 100))]
    pub fall: u32,

    /// All of them must pass. Empty: one TCP connect to the endpoint's port.
    #[schemars(length(max = 8))]
    pub monitors: Vec<Monitor>,

    /// What live traffic says about an endpoint.
    pub passive: Passive,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 2,
            monitors: Vec::new(),
            passive: Passive::default(),
        }
    }
}

/// One health check: exactly one of tcp, http, tls and grpc.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::monitor()))]
pub struct Monitor {
    /// A TCP connection, and what is said on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpMonitor>,

    /// An HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpMonitor>,

    /// A TLS handshake; the certificate is not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsMonitor>,

    /// A request of the gRPC health checking protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcMonitor>,
}

/// What a monitor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonitorKind<'a> {
    /// A TCP connection.
    Tcp(&'a TcpMonitor),
    /// An HTTP request.
    Http(&'a HttpMonitor),
    /// A TLS handshake.
    Tls(&'a TlsMonitor),
    /// A gRPC health check.
    Grpc(&'a GrpcMonitor),
}

impl Monitor {
    /// What it does. None where it breaks the rule of exactly one, which the API server enforces.
    pub fn kind(&self) -> Option<MonitorKind<'_>> {
        match (&self.tcp, &self.http, &self.tls, &self.grpc) {
            (Some(tcp), None, None, None) => Some(MonitorKind::Tcp(tcp)),
            (None, Some(http), None, None) => Some(MonitorKind::Http(http)),
            (None, None, Some(tls), None) => Some(MonitorKind::Tls(tls)),
            (None, None, None, Some(grpc)) => Some(MonitorKind::Grpc(grpc)),
            _ => None,
        }
    }
}

/// A TCP connection, and what is said on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpMonitor {
    /// Absent: the endpoint's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::port")]
    pub port: Option<u16>,

    /// Sent once connected. Absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub send: Option<String>,

    /// Must occur in what the server says. Absent: being connected is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub expect: Option<String>,
}

/// An HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMonitor {
    /// Absent: the endpoint's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::port")]
    pub port: Option<u16>,

    /// What is asked for with GET.
    #[schemars(schema_with = "schema::http_path")]
    pub path: String,

    /// The Host header, and SNI with tls. Absent: the backend's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::host")]
    pub host: Option<String>,

    /// Status codes that pass.
    #[schemars(length(min = 1, max = 32), inner(range(min = 100, max = 599)))]
    pub expect: Vec<u16>,

    /// Ask over TLS; the certificate is not verified.
    pub tls: bool,
}

impl Default for HttpMonitor {
    fn default() -> Self {
        Self {
            port: None,
            path: "/".to_owned(),
            host: None,
            expect: vec![200, 204],
            tls: false,
        }
    }
}

/// A TLS handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsMonitor {
    /// Absent: the endpoint's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::port")]
    pub port: Option<u16>,
}

/// A request of the gRPC health checking protocol; SERVING passes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcMonitor {
    /// Absent: the endpoint's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::port")]
    pub port: Option<u16>,

    /// The service asked about. Absent: the server as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service: Option<String>,
}

/// What live traffic says about an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Passive {
    /// Connections in a row that fail before the endpoint is ejected.
    #[schemars(range(min = 1, max = 1000))]
    pub consecutive_failures: u32,

    /// How long the first ejection lasts; it grows with each ejection in a row.
    #[schemars(extend("x-kubernetes-validations" = positive_duration()))]
    pub eject_for: Duration,
}

impl Default for Passive {
    fn default() -> Self {
        Self {
            consecutive_failures: 3,
            eject_for: Duration::from_secs(10),
        }
    }
}
