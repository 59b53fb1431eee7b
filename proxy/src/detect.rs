//! What a client speaks, and to whom, from its first bytes. In: bytes as they come. Out: TLS with the name it asks for,
//! HTTP and its version, anything else, or that more bytes are needed.

pub mod http;
pub(crate) mod opening;
pub mod tls;

use switchyard_snapshot::{HttpVersion, Protocol};

/// The longest first message that is looked at; who says more before it is known what it is, is refused.
pub const LIMIT: usize = 16 * 1024;

/// What the first bytes of a client say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Too early to tell.
    More,
    /// A complete `ClientHello`, with the name it asks for.
    Tls(Option<String>),
    /// HTTP in the clear.
    Http(HttpVersion),
    /// Anything else.
    Opaque,
    /// Nothing that this listener takes, in words.
    Bad(&'static str),
}

/// Looks at the first `bytes` of a client of a listener that speaks `protocol`. Pure; never panics, whatever the bytes.
pub fn look(protocol: Protocol, bytes: &[u8]) -> Look {
    match (protocol, bytes) {
        (Protocol::Tcp, _) => Look::Opaque,
        (Protocol::Tls | Protocol::Https, _) => tls::look(bytes),
        (Protocol::Http, _) => http::expect(bytes),
        (Protocol::Auto, []) => Look::More,
        (Protocol::Auto, [tls::HANDSHAKE, ..]) => match tls::look(bytes) {
            // A binary protocol may begin with the same byte.
            Look::Bad(_) => Look::Opaque,
            look => look,
        },
        (Protocol::Auto, _) => http::look(bytes),
    }
}

/// Looks at the first `bytes` of what is inside TLS that ended here. Pure; never panics, whatever the bytes.
pub fn look_inside(protocol: Protocol, bytes: &[u8]) -> Look {
    match protocol {
        Protocol::Http | Protocol::Https => http::expect(bytes),
        Protocol::Auto => http::look(bytes),
        Protocol::Tcp | Protocol::Tls => Look::Opaque,
    }
}

/// A host name as routes know it: lower case, without a trailing dot; none if it can be no name.
pub(crate) fn host_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let possible = !name.is_empty() && name.len() <= 253 && name.bytes().all(|b| b > b' ' && b != 0x7f);
    possible.then(|| name.to_lowercase())
}

#[cfg(test)]
mod tests;
