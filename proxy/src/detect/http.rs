//! HTTP in the clear, and its version. In: the first bytes of a connection, or of what is inside TLS. Out: which version, as
//! soon as that is known: heads are read by whoever serves them.

use switchyard_snapshot::HttpVersion;

use super::{LIMIT, Look, tls};

/// What every HTTP/2 client says first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Methods that tell HTTP/1 from other protocols (the IANA registry's common ones). What begins with another word is
/// opaque.
const METHODS: [&[u8]; 16] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"PROPFIND ",
    b"PROPPATCH ",
    b"MKCOL ",
    b"COPY ",
    b"MOVE ",
    b"REPORT ",
    b"SEARCH ",
];

/// Looks where nothing but HTTP is spoken: whatever may be meant as HTTP/1 is, so that it gets an answer.
pub fn expect(bytes: &[u8]) -> Look {
    match bytes {
        [tls::HANDSHAKE, ..] => Look::Bad("TLS on a port that speaks HTTP in the clear"),
        _ if bytes.starts_with(PREFACE) => Look::Http(HttpVersion::Http2),
        _ if PREFACE.starts_with(bytes) => Look::More,
        // An empty line may come first (RFC 9112 §2.2).
        [b'\r' | b'\n', ..] => Look::Http(HttpVersion::Http1),
        [first, ..] if is_token(*first) => Look::Http(HttpVersion::Http1),
        _ => Look::Bad("neither HTTP/1 nor HTTP/2"),
    }
}

/// Looks where anything may be spoken: HTTP/1 is a common method, and `HTTP/1.` at the end of the line.
pub fn look(bytes: &[u8]) -> Look {
    if bytes.starts_with(PREFACE) {
        return Look::Http(HttpVersion::Http2);
    }
    if PREFACE.starts_with(bytes) {
        return Look::More;
    }
    if !METHODS.iter().any(|method| bytes.starts_with(method)) {
        let may_become = METHODS.iter().any(|method| method.starts_with(bytes));
        return if may_become { Look::More } else { Look::Opaque };
    }
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) if is_request_line(&bytes[..end]) => Look::Http(HttpVersion::Http1),
        Some(_) => Look::Opaque,
        // Nobody else says so much in one line.
        None if bytes.len() >= LIMIT => Look::Http(HttpVersion::Http1),
        None => Look::More,
    }
}

/// `method SP target SP HTTP/1.x` (RFC 9112 §3), with or without CR.
fn is_request_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.split_last_chunk::<9>()
        .is_some_and(|(_, version)| version.starts_with(b" HTTP/1.") && version[8].is_ascii_digit())
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
