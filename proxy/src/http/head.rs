//! Heads of HTTP/1.1 messages (RFC 9112 §2 to §5). In: bytes. Out: a head with its framing, how much is missing, or what is
//! wrong, with the status that says so.
//!
//! Stricter than the RFC allows to be: whatever two parsers may read differently is refused, so that nobody behind us reads
//! another message than we did. Lines end in CRLF; there is no folding, no space before a colon, one length at most.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// Header lines of one message.
const MAX_LINES: usize = 128;
/// Longest method; the longest registered one is shorter (RFC 9110 §16.1).
const MAX_METHOD: usize = 24;

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunked.
    Chunked,
    /// Until the connection is closed; responses only.
    Close,
}

/// The first line and the header of a request.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// What is wanted.
    pub method: Method,
    /// As it stands in the first line.
    pub target: Bytes,
    /// HTTP/1.0, else HTTP/1.1.
    pub is_10: bool,
    /// All lines.
    pub headers: HeaderMap,
    /// How its body ends.
    pub framing: Framing,
}

/// The first line and the header of a response.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// What became of the request.
    pub status: StatusCode,
    /// HTTP/1.0, else HTTP/1.1.
    pub is_10: bool,
    /// All lines.
    pub headers: HeaderMap,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// What the client is told.
    pub status: StatusCode,
    /// In words.
    pub why: &'static str,
}

impl Bad {
    pub(crate) const fn request(why: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            why,
        }
    }

    const fn with(status: StatusCode, why: &'static str) -> Self {
        Self { status, why }
    }
}

/// Takes the head of a request off the front of `bytes`; none: it is not complete yet. `limit` is for first line and header
/// together.
///
/// # Errors
/// It breaks a rule, or is longer than that.
pub fn take_request(bytes: &mut BytesMut, limit: usize) -> Result<Option<RequestHead>, Bad> {
    // An empty line before a request is a habit of old clients (RFC 9112 §2.2); one is enough.
    if bytes.starts_with(b"\r\n") {
        bytes.advance(2);
    }
    let Some(end) = head_end(bytes, limit)? else {
        return Ok(None);
    };
    let head = bytes.split_to(end).freeze();
    let (line, rest) = first_line(&head)?;
    let line = &head[..line];
    let (method, after) = split_once(line, b' ').ok_or(Bad::request("the first line is no request line"))?;
    let (target, version) = split_once(after, b' ').ok_or(Bad::request("the first line has no version"))?;
    if method.is_empty() || method.len() > MAX_METHOD || !method.iter().all(|b| is_token(*b)) {
        return Err(Bad::request("the method is no token"));
    }
    let method = Method::from_bytes(method).map_err(|_| Bad::request("the method is no token"))?;
    if target.is_empty() || !target.iter().all(|b| matches!(b, b'!'..=b'~') && *b != b'#') {
        return Err(Bad::request("the target holds what may not stand in one"));
    }
    let is_10 = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ if version.starts_with(b"HTTP/") && version.len() == 8 && version[6] == b'.' => {
            return Err(Bad::with(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "only HTTP/1.0 and HTTP/1.1 are spoken this way",
            ));
        }
        _ => return Err(Bad::request("the first line ends in no version")),
    };
    let target = head.slice_ref(target);
    let headers = header_lines(&head, rest)?;
    let framing = request_framing(&headers, is_10)?;
    Ok(Some(RequestHead {
        method,
        target,
        is_10,
        headers,
        framing,
    }))
}

/// Takes the head of a response off the front of `bytes`; none: it is not complete yet.
///
/// # Errors
/// It breaks a rule, or is longer than `limit`.
pub fn take_response(bytes: &mut BytesMut, limit: usize) -> Result<Option<ResponseHead>, Bad> {
    let Some(end) = head_end(bytes, limit)? else {
        return Ok(None);
    };
    let head = bytes.split_to(end).freeze();
    let (line, rest) = first_line(&head)?;
    let line = &head[..line];
    let bad = Bad::request("the first line is no status line");
    let is_10 = match line.get(..9) {
        Some(b"HTTP/1.1 ") => false,
        Some(b"HTTP/1.0 ") => true,
        _ => return Err(bad),
    };
    let (code, reason) = line[9..].split_at_checked(3).ok_or(bad)?;
    if !(reason.is_empty() || reason[0] == b' ') || !reason.iter().all(|b| is_value(*b)) {
        return Err(bad);
    }
    let status = StatusCode::from_bytes(code).map_err(|_| bad)?;
    Ok(Some(ResponseHead {
        status,
        is_10,
        headers: header_lines(&head, rest)?,
    }))
}

/// Takes the trailers of a chunked body off the front of `bytes`, up to and with the empty line; none: they are not complete.
///
/// # Errors
/// They break a rule, or are longer than `limit`.
pub fn take_trailers(bytes: &mut BytesMut, limit: usize) -> Result<Option<HeaderMap>, Bad> {
    let Some(end) = head_end(bytes, limit)? else {
        return Ok(None);
    };
    let trailers = bytes.split_to(end).freeze();
    header_lines(&trailers, 0).map(Some)
}

/// How the body of a response to `method` ends (RFC 9112 §6.3).
///
/// # Errors
/// Its length can be read in two ways.
pub fn response_framing(head: &ResponseHead, method: &Method) -> Result<Framing, Bad> {
    let length = content_length(&head.headers)?;
    let coded = head.headers.contains_key(header::TRANSFER_ENCODING);
    if coded && (length.is_some() || head.is_10) {
        return Err(Bad::request("a response with two lengths"));
    }
    let empty = *method == Method::HEAD
        || head.status.is_informational()
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if empty {
        return Ok(Framing::None);
    }
    if coded {
        return if is_chunked_alone(&head.headers) {
            Ok(Framing::Chunked)
        } else {
            Err(Bad::request("a response in a transfer coding other than chunked"))
        };
    }
    Ok(match length {
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    })
}

fn request_framing(headers: &HeaderMap, is_10: bool) -> Result<Framing, Bad> {
    let length = content_length(headers)?;
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if length.is_some() {
            return Err(Bad::request("Transfer-Encoding and Content-Length together"));
        }
        if is_10 {
            return Err(Bad::request("Transfer-Encoding in HTTP/1.0"));
        }
        if !is_chunked_alone(headers) {
            let codings = headers.get_all(header::TRANSFER_ENCODING);
            let all_tokens = codings
                .iter()
                .flat_map(|value| value.as_bytes().split(|b| *b == b','))
                .all(|coding| {
                    !coding.trim_ascii().is_empty() && coding.trim_ascii().iter().all(|b| is_token(*b))
                });
            let repeated = codings
                .iter()
                .flat_map(|value| value.as_bytes().split(|b| *b == b','))
                .filter(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
                .count();
            return Err(if all_tokens && repeated <= 1 {
                Bad::with(
                    StatusCode::NOT_IMPLEMENTED,
                    "a transfer coding other than chunked alone",
                )
            } else {
                Bad::request("a malformed Transfer-Encoding")
            });
        }
        return Ok(Framing::Chunked);
    }
    Ok(match length {
        None | Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
    })
}

/// One line that says `chunked` and nothing else.
fn is_chunked_alone(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    matches!((codings.next(), codings.next()), (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// The one Content-Length. A list or a repetition of equal values may be understood (RFC 9112 §6.3), but not by everybody.
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Bad> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(None);
    };
    let bad = Bad::request("a Content-Length that is not one number");
    if lengths.next().is_some() || length.is_empty() || length.len() > 19 {
        return Err(bad);
    }
    let digits = length.as_bytes();
    digits
        .iter()
        .try_fold(0_u64, |sum, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
        })
        .map(Some)
        .ok_or(bad)
}

/// Behind the empty line; none: it is not there yet.
fn head_end(bytes: &[u8], limit: usize) -> Result<Option<usize>, Bad> {
    // Looked for from line to line: a lone LF must not end a line, and must not be waited on either.
    let mut at = 0;
    while let Some(length) = memchr::memchr(b'\n', &bytes[at..]) {
        let end = at + length;
        if end == at || bytes[end - 1] != b'\r' {
            return Err(Bad::request("a line that ends in LF without CR"));
        }
        if end == at + 1 {
            if at == 0 {
                return Err(Bad::request("an empty line instead of a first line"));
            }
            if end >= limit {
                return Err(too_long(bytes, limit));
            }
            return Ok(Some(end + 1));
        }
        at = end + 1;
        if at > limit {
            return Err(too_long(bytes, limit));
        }
    }
    if bytes.len() > limit {
        return Err(too_long(bytes, limit));
    }
    Ok(None)
}

fn too_long(bytes: &[u8], limit: usize) -> Bad {
    match memchr::memchr(b'\n', bytes) {
        Some(first) if first < limit => Bad::with(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "a header that is longer than allowed",
        ),
        _ => Bad::with(
            StatusCode::URI_TOO_LONG,
            "a first line that is longer than allowed",
        ),
    }
}

/// Length of the first line without its end, and where the next begins.
fn first_line(head: &[u8]) -> Result<(usize, usize), Bad> {
    let end = memchr::memchr(b'\r', head).ok_or(Bad::request("there is no line"))?;
    if head.get(end + 1) != Some(&b'\n') {
        return Err(Bad::request("a CR that does not end a line"));
    }
    Ok((end, end + 2))
}

/// The header lines from `at` to the empty line at the end of `head`.
fn header_lines(head: &Bytes, at: usize) -> Result<HeaderMap, Bad> {
    let mut headers = HeaderMap::with_capacity(16);
    let mut at = at;
    for lines in 0.. {
        let length = memchr::memchr(b'\r', &head[at..]).ok_or(Bad::request("a header that does not end"))?;
        let line = &head[at..at + length];
        if head.get(at + length + 1) != Some(&b'\n') {
            return Err(Bad::request("a CR that does not end a line"));
        }
        if line.is_empty() {
            break;
        }
        if lines == MAX_LINES {
            return Err(Bad::with(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "more than 128 header lines",
            ));
        }
        let (name, value) = header_line(head, line)?;
        headers.append(name, value);
        at += length + 2;
    }
    Ok(headers)
}

fn header_line(head: &Bytes, line: &[u8]) -> Result<(HeaderName, HeaderValue), Bad> {
    if matches!(line[0], b' ' | b'\t') {
        return Err(Bad::request("a header line that is folded"));
    }
    let (name, value) = split_once(line, b':').ok_or(Bad::request("a header line without a colon"))?;
    if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
        return Err(Bad::request("a header name that is no token"));
    }
    if !value.iter().all(|b| is_value(*b)) {
        return Err(Bad::request("a header value with control characters"));
    }
    let name = HeaderName::from_bytes(name).map_err(|_| Bad::request("a header name that is no token"))?;
    let value = HeaderValue::from_maybe_shared(head.slice_ref(value.trim_ascii()))
        .map_err(|_| Bad::request("a header value with control characters"))?;
    Ok((name, value))
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(at, bytes)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// RFC 9110 §5.6.2.
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// RFC 9110 §5.5: visible characters, space, tab, and bytes of other character sets.
const fn is_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests;
