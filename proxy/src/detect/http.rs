//! The host that an HTTP/1 request asks for (RFC 9112 §3.2). In: the first bytes of a connection. Out: the host, once
//! the whole head is there: only then is it known that there is one Host and no other.

use super::{Look, host_name};

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
/// Header lines that are looked at; a request with more is refused.
const MAX_HEADERS: usize = 128;

/// Looks for the host.
pub fn look(bytes: &[u8]) -> Look {
    if !METHODS.iter().any(|method| bytes.starts_with(method)) {
        let may_become = METHODS.iter().any(|method| method.starts_with(bytes));
        return if may_become { Look::More } else { Look::Opaque };
    }
    // Looked for before parsing, so that a head that comes byte by byte is not parsed as often.
    if !has_end(bytes) {
        return Look::More;
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => host(&request),
        Ok(httparse::Status::Partial) => Look::More,
        Err(httparse::Error::TooManyHeaders) => Look::Bad("a request with more than 128 header lines"),
        Err(_) => Look::Opaque,
    }
}

/// Whether an empty line is there (a lone LF is a line's end too: RFC 9112 §2.2).
fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n")
        || bytes.windows(4).any(|four| four == b"\r\n\r\n")
        || bytes.windows(3).any(|three| three == b"\n\r\n")
}

fn host(request: &httparse::Request<'_, '_>) -> Look {
    let mut hosts = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("host"));
    let header = hosts.next().map(|header| header.value);
    if hosts.next().is_some() {
        return Look::Bad("a request with more than one Host (RFC 9112 §3.2)");
    }
    let target = request.path.unwrap_or_default();
    let authority = if request.method == Some("CONNECT") {
        Some(target.as_bytes())
    } else {
        // An absolute target overrides the header (RFC 9112 §3.2.2).
        absolute(target).map(str::as_bytes).or(header)
    };
    Look::Http(authority.and_then(|authority| host_name(without_port(authority.trim_ascii()))))
}

fn absolute(target: &str) -> Option<&str> {
    let (_, rest) = target
        .split_once("://")
        .filter(|(scheme, _)| !scheme.starts_with('/'))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

/// `host:port` without the port; an IPv6 address keeps its brackets.
fn without_port(authority: &[u8]) -> &[u8] {
    let digits = authority
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    match authority[..authority.len() - digits] {
        [ref host @ .., b':'] if !host.contains(&b':') || host.ends_with(b"]") => host,
        _ => authority,
    }
}
