//! Header fields on their way through. In: a header as it came, who sent it, the chain's rules. Out: a header without what
//! belongs to one connection, with what says whom we speak for, changed as the user wants.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

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

/// Longest id of a request that is taken over from a client.
const LONGEST_ID: usize = 128;

/// Takes out what belongs to one connection (RFC 9110 §7.6.1), and the length, which is written anew; returns the protocol
/// that is asked for by `Upgrade`.
pub(super) fn strip(headers: &mut HeaderMap) -> Option<HeaderValue> {
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
    let trailers = headers.get_all(header::TE).iter().any(|value| {
        value
            .as_bytes()
            .split(|b| *b == b',')
            .any(|te| te.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
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

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    pub(super) from: IpAddr,
    /// What it says of others counts.
    pub(super) trusted: bool,
    pub(super) secure: bool,
    pub(super) host: Option<&'a HeaderValue>,
}

/// Says whom we speak for (RFC 7239, and the older fields), and gives the request an id if it has none.
pub(super) fn forwarded(headers: &mut HeaderMap, sender: Sender<'_>, id: impl FnOnce() -> u128) {
    let Sender {
        from,
        trusted,
        secure,
        host,
    } = sender;
    if !trusted {
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
    let proto = if secure { "https" } else { "http" };
    let mut text = String::with_capacity(96);
    // Writing to a String cannot fail, here and below.
    let _ = write!(text, "{from}");
    append(headers, X_FORWARDED_FOR, &text);
    headers
        .entry(X_FORWARDED_PROTO)
        .or_insert_with(|| HeaderValue::from_static(proto));
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
    }
    text.clear();
    let _ = match from {
        IpAddr::V4(from) => write!(text, "for={from};proto={proto}"),
        IpAddr::V6(from) => write!(text, "for=\"[{from}]\";proto={proto}"),
    };
    if let Some(host) = host.and_then(|host| host.to_str().ok()) {
        let _ = write!(text, ";host=\"{host}\"");
    }
    append(headers, header::FORWARDED, &text);
    let known = headers
        .get(X_REQUEST_ID)
        .is_some_and(|id| !id.is_empty() && id.len() <= LONGEST_ID);
    if !known {
        text.clear();
        let _ = write!(text, "{:032x}", id());
        if let Ok(id) = HeaderValue::from_str(&text) {
            headers.insert(X_REQUEST_ID, id);
        }
    }
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

/// An address as `Host` writes it.
pub(super) fn host_of(address: SocketAddr) -> String {
    address.to_string()
}

#[cfg(test)]
mod tests;
