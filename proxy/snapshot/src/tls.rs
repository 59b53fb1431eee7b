//! TLS towards clients and towards backends: certificates with their keys, as PEM text.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Snapshot;
use crate::listener::is_default;

/// Text that nobody may read by accident: printing it shows its length only. It is written out where a snapshot is stored
/// or sent.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Private(String);

impl Private {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever has use for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes hidden>", self.0.len())
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// Name of the Secret it comes from, for messages.
    pub name: String,
    /// The certificate first, then those that signed it, as PEM.
    pub chain: String,
    /// PKCS#8, PKCS#1 or SEC1, as PEM.
    pub key: Private,
}

/// TLS that ends at a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// The client's SNI chooses one; none of that name: the first. Empty: no handshake succeeds (its Secrets are missing).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// The oldest version that is spoken.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_version: TlsVersion,
    /// Application protocols (RFC 7301), best first; none: the extension is not answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// Clients must show a certificate signed by one of these CAs, as PEM; none: none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

/// TLS towards a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendTls {
    /// The name (or IP address) that is asked for and verified.
    pub server_name: String,
    /// CAs of which one must have signed, as PEM; none: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// What is shown to a backend that asks for a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// A key for session tickets (RFC 5077 §4, RFC 8446 §4.6.1), shared by all proxies of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TicketKey {
    /// Stands in front of each ticket, so that its key is found: 16 bytes in hex.
    pub id: String,
    /// 32 random bytes in hex.
    pub key: Private,
}

impl Snapshot {
    /// The same for people to read: every private key and ticket key is replaced by a word. It is of no use to a proxy.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        let hidden = || Private::new("hidden");
        for listener in &mut self.listeners {
            for certificate in listener.tls.iter_mut().flat_map(|tls| &mut tls.certificates) {
                certificate.key = hidden();
            }
        }
        let backends = self.chains.iter_mut().flat_map(|chain| &mut chain.backends);
        for tls in backends.filter_map(|backend| backend.tls.as_mut()) {
            if let Some(certificate) = &mut tls.certificate {
                certificate.key = hidden();
            }
        }
        for key in &mut self.pool.ticket_keys {
            key.key = hidden();
        }
        let gossip = self.pool.gossip.iter_mut().flat_map(|gossip| &mut gossip.keys);
        for key in gossip.chain(&mut self.pool.relay_keys) {
            key.key = hidden();
        }
        self
    }
}
