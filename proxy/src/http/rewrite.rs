//! Header fields on their way through. In: a header as it came, who sent it, the chain's rules. Out: a header without what
//! belongs to one connection, with what says whom we speak for, changed as the user wants.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::rc::Rc;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use switchyard_snapshot::{HeaderChanges, HeaderField};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const HEX: [u8; 16] = *b"0123456789abcdef";
/// Longest id of a request that is taken over from a client.
const LONGEST_ID: usize = 128;

/// Takes out what belongs to one connection (RFC 9110 §7.6.1), and the length, which is written anew; returns the protocol
/// that is asked for by `Upgrade`.
pub(super) fn strip(headers: &mut HeaderMap) -> Option<HeaderValue> {
    if !headers.keys().any(belongs_to_connection) {
        return None;
    }
    let mut upgrade = None;
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|b| *b == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        if named.contains(&header::UPGRADE) {
            upgrade = headers.remove(header::UPGRADE).filter(is_forwarded_upgrade);
        }
        for name in named {
            // What says whose request it is must not be taken away by whoever sent it.
            if name != header::HOST && name != header::AUTHORIZATION && name != header::COOKIE {
                headers.remove(name);
            }
        }
        headers.remove(header::CONNECTION);
    }
    let trailers = lists(headers, &header::TE, b"trailers");
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        HTTP2_SETTINGS,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::CONTENT_LENGTH,
    ] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    upgrade
}

/// Whether a list (RFC 9110 §5.6.1) of all fields of this name has `token`, in whatever case.
pub(super) fn lists(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    let values = headers.get_all(name).iter();
    values
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .any(|known| known.trim_ascii().eq_ignore_ascii_case(token))
}

/// Looked for in one go: many a header has none of them.
fn belongs_to_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "content-length"
    )
}

/// A change to another version of HTTP would let a client speak past everything that is checked here.
fn is_forwarded_upgrade(value: &HeaderValue) -> bool {
    let value = value.as_bytes().to_ascii_lowercase();
    let is_http =
        |token: &[u8]| token.starts_with(b"h2c") || token.starts_with(b"http") || token.starts_with(b"tls");
    !value.is_empty()
        && !value
            .split(|b| *b == b',')
            .any(|token| is_http(token.trim_ascii()))
}

/// What every request of one client says of it (RFC 7239, and the older fields), made once for its connection.
#[derive(Debug)]
pub(super) struct Lines {
    /// For HTTP/1.1, where nobody else is spoken for.
    plain: Vec<u8>,
    from: String,
    proto: &'static str,
    /// An element of `Forwarded`, without the host.
    element: String,
    /// What the client says of others counts.
    trusted: bool,
}

impl Lines {
    pub(super) fn new(from: IpAddr, secure: bool, trusted: bool) -> Self {
        let proto = if secure { "https" } else { "http" };
        let element = match from {
            IpAddr::V4(from) => format!("for={from};proto={proto}"),
            IpAddr::V6(from) => format!("for=\"[{from}]\";proto={proto}"),
        };
        Self {
            plain: format!("x-forwarded-for: {from}\r\nx-forwarded-proto: {proto}\r\nforwarded: {element}")
                .into(),
            from: from.to_string(),
            proto,
            element,
            trusted,
        }
    }
}

/// What is said of one request.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    pub(super) lines: Rc<Lines>,
    /// None: the request has one.
    pub(super) id: Option<[u8; 32]>,
}

impl Marks {
    /// As lines of a header that claims nothing of the kind itself.
    pub(super) fn write(&self, out: &mut Vec<u8>, host: Option<&HeaderValue>) {
        out.extend_from_slice(&self.lines.plain);
        if let Some(host) = host {
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(host.as_bytes());
            out.extend_from_slice(b"\"\r\n");
            write_line(out, &X_FORWARDED_HOST, host.as_bytes());
        } else {
            out.extend_from_slice(b"\r\n");
        }
        if let Some(id) = &self.id {
            write_line(out, &X_REQUEST_ID, id);
        }
    }

    /// Into a header. What it claims is kept where the client is trusted, else taken out.
    pub(super) fn insert(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        let lines = &*self.lines;
        if !lines.trusted {
            remove_claims(headers);
        }
        append(headers, X_FORWARDED_FOR, &lines.from);
        headers
            .entry(X_FORWARDED_PROTO)
            .or_insert_with(|| HeaderValue::from_static(lines.proto));
        let mut element = lines.element.clone();
        if let Some(host) = host {
            headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
            if let Ok(host) = host.to_str() {
                // Writing to a String cannot fail.
                let _ = write!(element, ";host=\"{host}\"");
            }
        }
        append(headers, header::FORWARDED, &element);
        if let Some(id) = self.id.and_then(|id| HeaderValue::from_bytes(&id).ok()) {
            headers.insert(X_REQUEST_ID, id);
        }
    }
}

/// Takes out what only a trusted client may say.
pub(super) fn remove_claims(headers: &mut HeaderMap) {
    // Looked for in one go: hardly any request has one.
    let suspect = |name: &HeaderName| matches!(name.as_str().as_bytes(), [b'x', b'-', ..] | [b'f', b'o', ..]);
    if headers.keys().any(suspect) {
        for name in [
            header::FORWARDED,
            X_FORWARDED_FOR,
            X_FORWARDED_PROTO,
            X_FORWARDED_HOST,
            X_REAL_IP,
        ] {
            headers.remove(name);
        }
    }
}

/// An id for a request that has none, or none that can be used.
pub(super) fn id_of(headers: &mut HeaderMap, random: impl FnOnce() -> u128) -> Option<[u8; 32]> {
    if let Some(id) = headers.get(X_REQUEST_ID) {
        if !id.is_empty() && id.len() <= LONGEST_ID {
            return None;
        }
        headers.remove(X_REQUEST_ID);
    }
    let mut text = [0; 32];
    for (digits, byte) in text.chunks_exact_mut(2).zip(random().to_be_bytes()) {
        digits[0] = HEX[usize::from(byte >> 4)];
        digits[1] = HEX[usize::from(byte & 15)];
    }
    Some(text)
}

/// The id of a request.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(X_REQUEST_ID)?.to_str().ok()?.to_owned())
}

/// Adds an element to a list.
fn append(headers: &mut HeaderMap, name: HeaderName, element: &str) {
    let before: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
    let value = if before.is_empty() {
        HeaderValue::from_str(element)
    } else {
        let mut list = before.join(&b", "[..]);
        list.extend_from_slice(b", ");
        list.extend_from_slice(element.as_bytes());
        HeaderValue::from_bytes(&list)
    };
    if let Ok(value) = value {
        headers.insert(name, value);
    }
}

/// Changes a header as the user wants: remove, set, add.
pub(super) fn change(headers: &mut HeaderMap, changes: &HeaderChanges) {
    let field = |field: &HeaderField| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(&field.value).ok()?))
    };
    for name in &changes.remove {
        headers.remove(name.as_str());
    }
    for (name, value) in changes.set.iter().filter_map(field) {
        headers.insert(name, value);
    }
    for (name, value) in changes.add.iter().filter_map(field) {
        headers.append(name, value);
    }
}

/// Trailers without what may not stand in them (RFC 9110 §6.5.1): framing, routing, and what belongs to one connection.
pub(super) fn trailers(mut trailers: HeaderMap) -> HeaderMap {
    strip(&mut trailers);
    for name in [
        header::HOST,
        header::TE,
        header::TRAILER,
        header::AUTHORIZATION,
        header::COOKIE,
        header::SET_COOKIE,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::FORWARDED,
        X_FORWARDED_FOR,
        X_FORWARDED_PROTO,
        X_FORWARDED_HOST,
        X_REAL_IP,
    ] {
        trailers.remove(name);
    }
    trailers
}

/// `name: value`, as HTTP/1.1 writes it.
pub(super) fn write_line(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// `HTTP/1.1 200 OK`, and its end.
pub(super) fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A header, without the empty line.
pub(super) fn write_lines(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        write_line(out, name, value.as_bytes());
    }
}

#[cfg(test)]
mod tests;
