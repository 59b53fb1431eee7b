//! What a client speaks, and to whom, from its first bytes. In: bytes as they come. Out: a name (SNI or Host), or that
//! there is none, or that more bytes are needed.

pub mod http;
pub(crate) mod opening;
pub mod tls;

use switchyard_snapshot::Protocol;

/// The longest first message that is looked at; who says more before its name is known is refused.
pub const LIMIT: usize = 16 * 1024;

/// What the first bytes of a client say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Too early to tell.
    More,
    /// TLS, with the name it asks for.
    Tls(Option<String>),
    /// HTTP/1 in the clear, with the host it asks for.
    Http(Option<String>),
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
        (Protocol::Http, _) => http::look(bytes),
        (Protocol::Auto, []) => Look::More,
        (Protocol::Auto, [tls::HANDSHAKE, ..]) => match tls::look(bytes) {
            // A binary protocol may begin with the same byte.
            Look::Bad(_) => Look::Opaque,
            look => look,
        },
        (Protocol::Auto, _) => http::look(bytes),
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
