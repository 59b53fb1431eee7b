//! What a client asks for, the same for both HTTP versions. In: a head as it came. Out: a request whose host, target and
//! header mean one thing only, or what is wrong with it.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use super::body::Size;
use super::head::{self, Bad, Framing, RequestHead};
use super::rewrite;
use crate::detect::host_name;

/// A request that can be forwarded. Its header holds nothing that belongs to one connection only.
#[derive(Clone, Debug)]
pub struct Request {
    /// Never CONNECT: that is an upgrade here, or refused.
    pub method: Method,
    /// Path and query, or `*`.
    pub target: Bytes,
    /// As the client wrote it; none: it named nobody (HTTP/1.0).
    pub host: Option<HeaderValue>,
    /// What the client wrote, where the endpoint is told another host.
    pub(super) asked_of: Option<HeaderValue>,
    /// The host without its port, as routes know it.
    pub name: Option<String>,
    /// Everything else.
    pub headers: HeaderMap,
    /// The protocol it wants to change to.
    pub upgrade: Option<HeaderValue>,
    /// It waits for word before it sends its body (RFC 9110 §10.1.1).
    pub expects: bool,
    /// How long its body is.
    pub size: Size,
    /// What is said of it on its way.
    pub(super) marks: Option<rewrite::Marks>,
}

const NOT_ALLOWED: Bad = Bad {
    status: StatusCode::METHOD_NOT_ALLOWED,
    why: "CONNECT and TRACE are not served here",
};

impl Request {
    /// From HTTP/1.
    ///
    /// # Errors
    /// Host or target break a rule (RFC 9112 §3.2), or it asks for what is not served.
    pub fn from_h1(head: RequestHead) -> Result<Self, Bad> {
        let RequestHead {
            method,
            target,
            is_10,
            mut headers,
            framing,
        } = head;
        if matches!(method, Method::CONNECT | Method::TRACE) {
            return Err(NOT_ALLOWED);
        }
        let mut host = take_host(&mut headers)?;
        if host.is_none() && !is_10 {
            return Err(Bad::request("HTTP/1.1 without Host"));
        }
        let target = match target.first() {
            Some(b'/') => target,
            Some(b'*') if target.len() == 1 && method == Method::OPTIONS => target,
            _ => {
                // An absolute target overrides Host (RFC 9112 §3.2.2).
                let (authority, path) = absolute(&target)?;
                host = Some(authority);
                path
            }
        };
        let size = match framing {
            Framing::None | Framing::Close => Size::Empty,
            Framing::Length(length) => Size::Exact(length),
            Framing::Chunked => Size::Unknown,
        };
        let upgrade = rewrite::strip(&mut headers).filter(|_| !is_10);
        let expects = expects_continue(&mut headers, is_10)?;
        let name = host.as_ref().map(name_of).transpose()?.flatten();
        Ok(Self {
            method,
            target,
            host,
            asked_of: None,
            name,
            headers,
            upgrade,
            expects,
            size,
            marks: None,
        })
    }

    /// From HTTP/2, whose library has checked what RFC 9113 §8 asks of a header; `ends`: no body follows.
    ///
    /// # Errors
    /// As above.
    pub fn from_h2(parts: http::request::Parts, ends: bool) -> Result<Self, Bad> {
        let http::request::Parts {
            mut method,
            uri,
            mut headers,
            extensions,
            ..
        } = parts;
        let protocol = extensions.get::<h2::ext::Protocol>();
        let mut upgrade = None;
        if method == Method::CONNECT {
            // RFC 8441: the only CONNECT that is served.
            let protocol = protocol.ok_or(NOT_ALLOWED)?;
            upgrade = HeaderValue::from_str(protocol.as_str()).ok();
            method = Method::GET;
        }
        if method == Method::TRACE {
            return Err(NOT_ALLOWED);
        }
        let from_header = take_host(&mut headers)?;
        let authority = uri
            .authority()
            .map(|authority| HeaderValue::from_str(authority.as_str()))
            .transpose()
            .map_err(|_| Bad::request("an :authority that cannot be read"))?;
        // RFC 9113 §8.3.1: they must agree.
        if let (Some(authority), Some(host)) = (&authority, &from_header)
            && !authority.as_bytes().eq_ignore_ascii_case(host.as_bytes())
        {
            return Err(Bad::request(":authority and Host differ"));
        }
        let host = authority.or(from_header);
        if host.is_none() {
            return Err(Bad::request("neither :authority nor Host"));
        }
        let target = match uri.path_and_query().map(http::uri::PathAndQuery::as_str) {
            None | Some("") => Bytes::from_static(b"/"),
            Some(path) => Bytes::copy_from_slice(path.as_bytes()),
        };
        let valid = target.iter().all(|b| matches!(b, b'!'..=b'~') && *b != b'#');
        if !valid || !(target[0] == b'/' || (&target[..] == b"*" && method == Method::OPTIONS)) {
            return Err(Bad::request("a :path that holds what may not stand in one"));
        }
        let length = head::content_length(&headers)?;
        let size = match length {
            _ if upgrade.is_some() => Size::Unknown,
            _ if ends => Size::Empty,
            Some(0) => Size::Empty,
            Some(length) => Size::Exact(length),
            None => Size::Unknown,
        };
        rewrite::strip(&mut headers);
        let expects = expects_continue(&mut headers, false)?;
        let name = host.as_ref().map(name_of).transpose()?.flatten();
        Ok(Self {
            method,
            target,
            host,
            asked_of: None,
            name,
            headers,
            upgrade,
            expects,
            size,
            marks: None,
        })
    }

    /// Puts what is said of it into the header, where a chain's rules may change it.
    pub(super) fn settle_marks(&mut self) {
        if let Some(marks) = self.marks.take() {
            let host = self.asked_of.as_ref().or(self.host.as_ref());
            marks.insert(&mut self.headers, host);
        }
    }

    /// Whether it may be sent twice (RFC 9110 §9.2.2).
    pub fn is_idempotent(&self) -> bool {
        self.method.is_idempotent() && self.upgrade.is_none()
    }
}

/// The one Host.
fn take_host(headers: &mut HeaderMap) -> Result<Option<HeaderValue>, Bad> {
    let mut hosts = headers.get_all(header::HOST).iter();
    if hosts.next().is_some() && hosts.next().is_some() {
        return Err(Bad::request("more than one Host"));
    }
    Ok(headers.remove(header::HOST))
}

/// Authority, and path with query, of an absolute target.
fn absolute(target: &Bytes) -> Result<(HeaderValue, Bytes), Bad> {
    let bad = Bad::request("a target that is neither a path nor an http URI");
    let rest = [&b"http://"[..], b"https://"]
        .iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .ok_or(bad)?;
    let end = rest
        .iter()
        .position(|b| matches!(b, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() {
        return Err(bad);
    }
    let authority = HeaderValue::from_bytes(authority).map_err(|_| bad)?;
    let path = match path.first() {
        Some(b'/') => target.slice_ref(path),
        None => Bytes::from_static(b"/"),
        _ => [b"/", path].concat().into(),
    };
    Ok((authority, path))
}

/// The name in an authority (RFC 3986 §3.2.2), as routes know it; none: it is empty.
fn name_of(host: &HeaderValue) -> Result<Option<String>, Bad> {
    let bad = Bad::request("a Host that is no host");
    let host = host.as_bytes();
    if host.is_empty() {
        return Ok(None);
    }
    let (name, port) = if host[0] == b'[' {
        let end = host.iter().position(|b| *b == b']').ok_or(bad)?;
        let inside = std::str::from_utf8(&host[1..end]).map_err(|_| bad)?;
        inside.parse::<std::net::Ipv6Addr>().map_err(|_| bad)?;
        host.split_at(end + 1)
    } else {
        let end = host.iter().position(|b| *b == b':').unwrap_or(host.len());
        host.split_at(end)
    };
    let port_is_valid = match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            let number = std::str::from_utf8(digits)
                .ok()
                .and_then(|text| text.parse::<u16>().ok());
            // A sign would be read, too.
            digits[0].is_ascii_digit() && number.is_some()
        }
        _ => false,
    };
    // Names are written in ASCII here (RFC 5891 §4); others would be compared with what they are not.
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(b);
    if !port_is_valid || !(host[0] == b'[' || name.iter().all(plain)) {
        return Err(bad);
    }
    host_name(name).map(Some).ok_or(bad)
}

/// Takes `Expect` out. What else may be expected is nothing we could promise (RFC 9110 §10.1.1).
fn expects_continue(headers: &mut HeaderMap, is_10: bool) -> Result<bool, Bad> {
    match headers.remove(header::EXPECT) {
        None => Ok(false),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(!is_10),
        Some(_) => Err(Bad {
            status: StatusCode::EXPECTATION_FAILED,
            why: "an expectation other than 100-continue",
        }),
    }
}

#[cfg(test)]
mod tests;
