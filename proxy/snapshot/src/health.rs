//! How endpoints are watched: monitors that ask, and what live traffic tells.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::listener::is_default;

/// All monitors must pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Health {
    /// From the start of one probe to the start of the next.
    #[serde(with = "duration::text")]
    pub interval: Duration,
    /// For one probe, connect included.
    #[serde(with = "duration::text")]
    pub timeout: Duration,
    /// Passes in a row that bring a failed endpoint back.
    pub rise: u32,
    /// Failures in a row that take an endpoint out.
    pub fall: u32,
    /// At least one; the compile step adds a plain TCP connect to the endpoint's port where the user names none.
    pub monitors: Vec<Monitor>,
    /// What live connections tell; none: only the monitors count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive: Option<Passive>,
}

/// One health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Monitor {
    /// A connect; then, if asked for, bytes out and bytes expected back.
    #[serde(rename_all = "camelCase")]
    Tcp {
        /// None: the endpoint's own port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// Written once connected.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        send: Option<String>,
        /// Must appear in the first 16 KiB of what comes back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect: Option<String>,
    },
    /// GET over HTTP/1.1.
    #[serde(rename_all = "camelCase")]
    Http {
        /// None: the endpoint's own port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// Begins with a slash.
        path: String,
        /// The Host header; none: the backend's host and port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Status codes that pass.
        expect: Vec<u16>,
        /// Over TLS; the certificate is not verified (a probe asks whether it lives, not who it is).
        #[serde(default, skip_serializing_if = "is_default")]
        tls: bool,
    },
    /// A TLS handshake; the certificate is not verified.
    #[serde(rename_all = "camelCase")]
    Tls {
        /// None: the endpoint's own port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
    /// grpc.health.v1.Health/Check over cleartext HTTP/2; SERVING passes.
    #[serde(rename_all = "camelCase")]
    Grpc {
        /// None: the endpoint's own port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// The service asked for; empty: the server as a whole.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        service: String,
    },
}

/// Ejection by live traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Passive {
    /// Failed connections in a row that eject.
    pub consecutive_failures: u32,
    /// For how long the first time; each further ejection in a row adds as much again.
    #[serde(with = "duration::text")]
    pub eject_for: Duration,
}
