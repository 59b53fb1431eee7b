//! Where a client is sent. In: a host and a port. Out: the same, known to be fit for any protocol's text.

use std::fmt;
use std::net::Ipv6Addr;

/// Longest name (RFC 1035 §2.3.4, as text).
const LONGEST_NAME: usize = 253;

/// A host and a port, written `host:port`, with brackets around an IPv6 address (RFC 3986 §3.2.2): so HTTP, XMPP (RFC 6120
/// §4.9.3.19) and MQTT (§4.11) want it. No byte of it means anything else to any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: u16,
    is_v6: bool,
}

impl Place {
    /// None: `host` is neither an address nor a DNS name in ASCII, or there is no such port.
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let host = match host_of(host)? {
            Host::V6(address) => address.to_string(),
            Host::Plain(host) => host.to_owned(),
        };
        let is_v6 = host.contains(':');
        (port != 0).then_some(Self { host, port, is_v6 })
    }

    /// Whether [`Place::new`] makes one of it; costs no memory.
    pub fn is_fit(host: &str, port: u16) -> bool {
        port != 0 && host_of(host).is_some()
    }

    /// The name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP, at least 1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port, without a port that is `usual` where it is used.
    pub fn authority(&self, usual: u16) -> String {
        if self.port != usual {
            self.to_string()
        } else if self.is_v6 {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_v6 {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

enum Host<'a> {
    V6(Ipv6Addr),
    Plain(&'a str),
}

fn host_of(host: &str) -> Option<Host<'_>> {
    let inside = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = inside.parse() {
        return Some(Host::V6(address));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let fit = !host.is_empty() && host.len() <= LONGEST_NAME && host.bytes().all(plain);
    fit.then_some(Host::Plain(host))
}
