//! What a proxy listens on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use crate::common::{Duration, SecretRef, rules::positive_duration, schema};

/// One port that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::listener()))]
pub struct Listener {
    /// Name of the listener: at most 15 characters, since the Service's target port is named by it.
    #[schemars(schema_with = "schema::port_name")]
    pub name: String,

    /// What clients connect to. A standalone proxy binds it.
    #[schemars(schema_with = "schema::port")]
    pub port: u16,

    /// Local addresses to bind, with hostNetwork and standalone. Empty: all.
    #[serde(default)]
    #[schemars(schema_with = "schema::ips")]
    pub addresses: Vec<String>,

    /// What the pod binds. Absent: port where that is at least 1024, else port + 8000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_port")]
    pub bind_port: Option<u16>,

    /// Where guests arrive. Absent: bindPort + 10000. It must be unique among the pool's ports and none of Switchyard's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_port")]
    pub direct_port: Option<u16>,

    /// What clients speak.
    #[serde(default)]
    pub protocol: ListenerProtocol,

    /// TLS towards the clients. Absent: nothing is terminated; TLS and Auto listeners find the chain by SNI and pass TLS through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,

    /// Answer every request with 308 to https. HTTP listeners only.
    #[serde(default)]
    pub https_redirect: bool,

    /// What is taken of HTTP. Only where requests are read: HTTP, HTTPS, Auto and HTTPProxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,

    /// Whether clients' connections begin with a PROXY protocol header. Accept and Require need trustedSources; others that send a
    /// header are closed.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocolIn,

    /// Networks (CIDR) whose PROXY protocol headers count.
    #[serde(default)]
    #[schemars(schema_with = "schema::cidrs")]
    pub trusted_sources: Vec<String>,

    /// Networks (CIDR) that may connect. Empty: all.
    #[serde(default)]
    #[schemars(schema_with = "schema::cidrs")]
    pub allowed_sources: Vec<String>,

    /// Networks (CIDR) of load balancers' probes: told the truth, never redirected, never counted.
    #[serde(default)]
    #[schemars(schema_with = "schema::cidrs")]
    pub monitor_sources: Vec<String>,

    /// Close a connection on which nothing moved for so long.
    #[serde(default = "default_idle_timeout")]
    #[schemars(extend("x-kubernetes-validations" = positive_duration()))]
    pub idle_timeout: Duration,

    /// How long a client may take until its TLS handshake, HTTP head or PROXY header is complete.
    #[serde(default = "default_handshake_timeout")]
    #[schemars(extend("x-kubernetes-validations" = positive_duration()))]
    pub handshake_timeout: Duration,

    /// Connections that one proxy holds on this listener.
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections: u32,

    /// What a SOCKS or HTTPProxy listener lets its clients reach, and who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
}

const fn default_idle_timeout() -> Duration {
    Duration::from_secs(600)
}

const fn default_handshake_timeout() -> Duration {
    Duration::from_secs(10)
}

const fn default_max_connections() -> u32 {
    10_000
}

impl Listener {
    /// What the pod binds: as said, else `port`, moved by 8000 where binding it would need a privilege.
    pub const fn bind_port(&self) -> u16 {
        match self.bind_port {
            Some(port) => port,
            None if self.port >= 1024 => self.port,
            None => self.port + 8000,
        }
    }

    /// Where guests arrive: as said, else `bindPort` + 10000. None where that exceeds 65535: then it must be said.
    pub const fn direct_port(&self) -> Option<u16> {
        match self.direct_port {
            Some(port) => Some(port),
            None => self.bind_port().checked_add(10_000),
        }
    }
}

/// What clients of a listener speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ListenerProtocol {
    /// Anything; the listener has one chain.
    TCP,
    /// TLS; the chain is found by SNI.
    TLS,
    /// HTTP; the chain is found by Host.
    HTTP,
    /// HTTP over TLS that is terminated here.
    HTTPS,
    /// Found out per connection: TLS by SNI, HTTP by Host, anything else goes to the default chain.
    #[default]
    Auto,
    /// SOCKS4, 4a and 5; the destination names the chain.
    SOCKS,
    /// An HTTP forward proxy; the destination names the chain.
    HTTPProxy,
}

/// What is taken of HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Http {
    /// Bytes of a request's first line and headers together. Larger ones are refused with 431, or 414 if it is the first line.
    #[schemars(range(min = 1024, max = 1_048_576))]
    pub max_head_bytes: u32,

    /// Bytes of a request's body. Larger ones are refused with 413. Absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_125_899_906_842_624_u64))]
    pub max_body_bytes: Option<u64>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            max_head_bytes: 65_536,
            max_body_bytes: None,
        }
    }
}

/// TLS towards the clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::listener_tls()))]
pub struct ListenerTls {
    /// What happens to TLS here.
    pub mode: TlsMode,

    /// Secrets with a certificate and its key; of several, the client's SNI chooses. Terminate needs at least one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub certificate_refs: Vec<SecretRef>,

    /// The oldest version of TLS that is accepted.
    pub min_version: TlsVersion,

    /// Application protocols offered, best first. Absent: h2 and http/1.1 where requests are read; none on a TLS listener, which
    /// does not look into what it opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 255)))]
    pub alpn: Option<Vec<String>>,

    /// Require client certificates that this CA has signed: a Secret with `ca.crt`.
    #[serde(rename = "clientCARef", skip_serializing_if = "Option::is_none")]
    pub client_ca_ref: Option<SecretRef>,
}

impl Default for ListenerTls {
    fn default() -> Self {
        Self {
            mode: TlsMode::Terminate,
            certificate_refs: Vec::new(),
            min_version: TlsVersion::V1_2,
            alpn: None,
            client_ca_ref: None,
        }
    }
}

/// What happens to TLS at the listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// It ends here.
    #[default]
    Terminate,
    /// It goes through to the backend unopened.
    Passthrough,
}

/// Versions of TLS. Quote them in YAML: a bare 1.2 is a number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum TlsVersion {
    #[serde(rename = "1.2")]
    /// TLS 1.2, RFC 5246.
    #[default]
    V1_2,
    #[serde(rename = "1.3")]
    /// TLS 1.3, RFC 8446.
    V1_3,
}

/// PROXY protocol from the clients' side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ProxyProtocolIn {
    /// No header is expected.
    #[default]
    None,
    /// A header of version 1 or 2 is read where there is one.
    Accept,
    /// A connection without a header is closed.
    Require,
}

/// What a forward-proxy listener lets its clients reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Forward {
    /// Destinations beyond this pool's chains, as `host:port`: `*.corp.example:443`, `10.1.0.0/16:*`. Empty: chains only.
    #[schemars(schema_with = "schema::destinations")]
    pub allow: Vec<String>,

    /// Secret that maps each user to a password hash. Absent: no authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<SecretRef>,
}

#[cfg(test)]
mod tests {
    use super::Listener;

    fn listener(fields: &str) -> Listener {
        serde_saphyr::from_str(&format!("{{name: a, {fields}}}")).unwrap()
    }

    #[test]
    fn ports_that_are_not_said_follow_from_those_that_are() {
        for (fields, bind, direct) in [
            ("port: 8443", 8443, Some(18443)),
            ("port: 1024", 1024, Some(11024)),
            ("port: 1023", 9023, Some(19023)),
            ("port: 443", 8443, Some(18443)),
            ("port: 443, bindPort: 443", 443, Some(10443)),
            ("port: 55535", 55535, Some(65535)),
            ("port: 55536", 55536, None),
            ("port: 55536, directPort: 2000", 55536, Some(2000)),
        ] {
            let listener = listener(fields);
            assert_eq!(
                (listener.bind_port(), listener.direct_port()),
                (bind, direct),
                "{fields}"
            );
        }
    }
}
