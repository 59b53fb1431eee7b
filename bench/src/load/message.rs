//! What requests and responses must be when they arrive: byte by byte what was sent, or, where the proxy may change a
//! head, HTTP that says and carries the same.

/// The path of every HTTP request.
pub(crate) const PATH: &str = "/bench/of/some/resource?with=query";
/// The host of every HTTP request.
pub(crate) const HOST: &str = "bench.example";
/// The client of every HTTP request.
pub(crate) const AGENT: &str = "bench/1";

/// One kind of message.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    /// Exactly this.
    Exact(Vec<u8>),
    /// An HTTP/1.1 request for [`PATH`], without a body.
    Request,
    /// An HTTP/1.1 response of status 200 with this body, and its length in the head.
    Response(Vec<u8>),
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Right so far.
    Partial,
    /// All there.
    Complete,
}

impl Message {
    /// Whether `bytes` are the message, or the beginning of it; none: neither.
    pub(crate) fn progress(&self, bytes: &[u8]) -> Option<Progress> {
        match self {
            Self::Exact(expected) => exact(expected, bytes),
            Self::Request => request(bytes),
            Self::Response(body) => response(body, bytes),
        }
    }
}

/// Adds what came to what is there of a message, which is emptied once the message is complete. Most come in one piece
/// and are never copied.
pub(crate) fn take_in(
    partial: &mut Vec<u8>,
    came: &[u8],
    progress: impl Fn(&[u8]) -> Option<Progress>,
) -> Option<Progress> {
    let now = if partial.is_empty() {
        progress(came)?
    } else {
        partial.extend_from_slice(came);
        progress(partial)?
    };
    match now {
        Progress::Complete => partial.clear(),
        Progress::Partial if partial.is_empty() => partial.extend_from_slice(came),
        Progress::Partial => {}
    }
    Some(now)
}

/// The HTTP/1.1 request that clients send.
pub(crate) fn http_request() -> Vec<u8> {
    format!("GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// The HTTP/1.1 response that the backend sends.
pub(crate) fn http_response(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2035 00:00:00 GMT\r\nServer: bench\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Bytes that differ from their neighbours.
pub(crate) fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + seed) as u8).collect()
}

fn exact(expected: &[u8], bytes: &[u8]) -> Option<Progress> {
    if bytes.len() == expected.len() {
        (bytes == expected).then_some(Progress::Complete)
    } else {
        expected.starts_with(bytes).then_some(Progress::Partial)
    }
}

fn request(bytes: &[u8]) -> Option<Progress> {
    let Some(end) = head_end(bytes) else {
        return Some(Progress::Partial);
    };
    let wanted = bytes
        .strip_prefix(b"GET ")?
        .strip_prefix(PATH.as_bytes())?
        .starts_with(b" HTTP/1.1\r\n");
    (wanted && end == bytes.len()).then_some(Progress::Complete)
}

fn response(body: &[u8], bytes: &[u8]) -> Option<Progress> {
    let Some(end) = head_end(bytes) else {
        return Some(Progress::Partial);
    };
    let (head, rest) = bytes.split_at(end);
    let mut lines = head.split(|byte| *byte == b'\n');
    if !lines.next()?.starts_with(b"HTTP/1.1 200 ") {
        return None;
    }
    let length = lines.find_map(|line| {
        const NAME: &[u8] = b"content-length:";
        let (name, value) = line.split_at_checked(NAME.len())?;
        let value = name.eq_ignore_ascii_case(NAME).then_some(value)?;
        std::str::from_utf8(value).ok()?.trim().parse::<usize>().ok()
    })?;
    if length == body.len() {
        exact(body, rest)
    } else {
        None
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_judged_by_status_length_and_body() {
        let wanted = Message::Response(b"body".to_vec());
        let whole = http_response(b"body");
        for end in 0..whole.len() {
            assert_eq!(wanted.progress(&whole[..end]), Some(Progress::Partial), "{end}");
        }
        assert_eq!(wanted.progress(&whole), Some(Progress::Complete));
        let text = String::from_utf8(whole).unwrap();
        let lower = text.replace("Content-Length: 4", "content-length:4");
        assert_eq!(wanted.progress(lower.as_bytes()), Some(Progress::Complete));
        for wrong in [
            text.replace("200", "502"),
            text.replace("Length: 4", "Length: 5"),
            text.replace("body", "bode"),
            format!("{text}x"),
            text.replace("Content-Length", "Content-Size"),
        ] {
            assert_eq!(wanted.progress(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn requests_are_judged_by_their_path() {
        let whole = String::from_utf8(http_request()).unwrap();
        let changed = whole.replace("Accept", "X-Forwarded-For: 127.0.0.1\r\nAccept");
        assert_eq!(
            Message::Request.progress(changed.as_bytes()),
            Some(Progress::Complete)
        );
        for wrong in [
            whole.replace("bench/of", "bench"),
            format!("{whole}GET"),
            whole.replace("1.1", "1.0"),
        ] {
            assert_eq!(Message::Request.progress(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
