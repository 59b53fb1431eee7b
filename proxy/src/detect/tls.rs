//! The server name in a TLS `ClientHello` (RFC 8446 §4.1.2, RFC 6066 §3). In: the first bytes of a connection, which may be
//! cut anywhere, also into several records. Out: the name.
//!
//! Nothing else is checked: versions, ciphers and extensions are between client and backend.

use std::borrow::Cow;

use super::{LIMIT, Look, host_name};

/// Content type of handshake records (RFC 8446 §5.1), the first byte of a TLS connection.
pub(crate) const HANDSHAKE: u8 = 22;
/// RFC 8446 §4: a type, then a length of three bytes.
const CLIENT_HELLO: u8 = 1;
const HEADER: usize = 4;
/// RFC 8446 §5.1: 2^14.
const MAX_RECORD: usize = 1 << 14;
/// RFC 6066 §3.
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Looks for the server name.
pub fn look(bytes: &[u8]) -> Look {
    let message = match assemble(bytes) {
        Ok(message) => message,
        Err(look) => return look,
    };
    match body_length(&message) {
        Ok(Some(length)) => match message.get(HEADER..HEADER + length) {
            Some(hello) => server_name(Reader(hello)).unwrap_or(Look::Bad("a malformed ClientHello")),
            None => Look::More,
        },
        Ok(None) => Look::More,
        Err(look) => look,
    }
}

/// What the header of the handshake message announces; none: it is not complete yet.
fn body_length(message: &[u8]) -> Result<Option<usize>, Look> {
    let length = match message {
        [CLIENT_HELLO, a, b, c, ..] => u32::from_be_bytes([0, *a, *b, *c]) as usize,
        [CLIENT_HELLO, ..] | [] => return Ok(None),
        _ => {
            return Err(Look::Bad(
                "a TLS handshake that does not begin with a ClientHello",
            ));
        }
    };
    if length > LIMIT {
        return Err(Look::Bad("a ClientHello of more than 16 KiB"));
    }
    Ok(Some(length))
}

/// The handshake bytes of all records so far, one after the other, until the `ClientHello` is complete: what follows it
/// (early data, say) is no business of ours.
fn assemble(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Look> {
    let mut message = Cow::Borrowed(&[][..]);
    let mut rest = bytes;
    while let [kind, after @ ..] = rest {
        if body_length(&message)?.is_some_and(|length| message.len() >= HEADER + length) {
            break;
        }
        if *kind != HANDSHAKE {
            return Err(Look::Bad("no TLS handshake"));
        }
        // Every version so far has major version 3 on the record layer (RFC 8446 §5.1).
        match after {
            [] => break,
            [3, ..] => {}
            _ => return Err(Look::Bad("no TLS version")),
        }
        let [_, _, high, low, body @ ..] = after else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length == 0 || length > MAX_RECORD {
            return Err(Look::Bad("a TLS record of impossible length"));
        }
        let (body, next) = body.split_at(length.min(body.len()));
        if message.is_empty() {
            message = Cow::Borrowed(body);
        } else {
            message.to_mut().extend_from_slice(body);
        }
        rest = next;
    }
    Ok(message)
}

/// None: malformed.
fn server_name(mut hello: Reader<'_>) -> Option<Look> {
    const LEGACY_VERSION_AND_RANDOM: usize = 2 + 32;
    hello.take(LEGACY_VERSION_AND_RANDOM)?;
    let _session_id = hello.vector8()?;
    let _cipher_suites = hello.vector16()?;
    let _compression_methods = hello.vector8()?;
    if hello.0.is_empty() {
        // Before TLS 1.2 there need not be extensions.
        return Some(Look::Tls(None));
    }
    let mut extensions = Reader(hello.vector16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let data = extensions.vector16()?;
        if kind == SERVER_NAME {
            let mut names = Reader(Reader(data).vector16()?);
            while !names.0.is_empty() {
                let kind = names.u8()?;
                let name = names.vector16()?;
                if kind == HOST_NAME {
                    return host_name(name).map(|name| Look::Tls(Some(name)));
                }
            }
            return Some(Look::Tls(None));
        }
    }
    Some(Look::Tls(None))
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}
