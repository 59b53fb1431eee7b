//! The readers of HTTP/1.1 heads. Whatever the bytes: no panic, one decision, nothing in a head that could be read as a line
//! of its own further on, one way at most in which the body ends; and whatever is taken, another reader (httparse) reads
//! the same.

use bolero::check;
use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use switchyard_fuzz::decides_once;
use switchyard_proxy::http::head::{Framing, take_request, take_response};

/// More than an input has: limits are not what is looked for here.
const LIMIT: usize = 1 << 20;

fn main() {
    check!().for_each(|bytes: &[u8]| {
        request(bytes);
        response(bytes);
    });
}

fn request(bytes: &[u8]) {
    // What was taken, and how many bytes that was.
    let read = |bytes: &[u8]| {
        let mut buffer = BytesMut::from(bytes);
        let head = take_request(&mut buffer, LIMIT).transpose()?;
        Some(head.map(|head| (head, bytes.len() - buffer.len())))
    };
    decides_once(bytes, |bytes| {
        read(bytes).map(|head| head.map(|(head, length)| (format!("{head:?}"), length)))
    });
    let Some(Ok((head, length))) = read(bytes) else {
        return;
    };
    assert!(bytes[..length].ends_with(b"\r\n\r\n"));
    assert!(head.target.iter().all(|byte| (b'!'..=b'~').contains(byte)));
    lines_are_lines(&head.headers);
    let lengths = head.headers.get_all(CONTENT_LENGTH).iter().count();
    let codings = head.headers.get_all(TRANSFER_ENCODING).iter().count();
    match head.framing {
        Framing::Chunked => assert_eq!((lengths, codings), (0, 1)),
        Framing::Length(_) => assert_eq!((lengths, codings), (1, 0)),
        Framing::None => assert!(lengths <= 1 && codings == 0),
        Framing::Close => {}
    }
    assert_ne!(
        head.framing,
        Framing::Close,
        "a request does not end with its connection"
    );

    let mut theirs = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut theirs);
    assert_eq!(request.parse(bytes), Ok(httparse::Status::Complete(length)));
    assert_eq!(request.method, Some(head.method.as_str()));
    assert_eq!(request.path.map(str::as_bytes), Some(&head.target[..]));
    assert_eq!(request.version, Some(u8::from(!head.is_10)));
    assert_eq!(request.headers.len(), head.headers.len());
    for line in request.headers.iter() {
        let mut ours = head.headers.get_all(line.name).iter();
        assert!(ours.any(|value| value.as_bytes() == line.value), "{}", line.name);
    }
}

fn response(bytes: &[u8]) {
    let read = |bytes: &[u8]| {
        let mut buffer = BytesMut::from(bytes);
        let head = take_response(&mut buffer, LIMIT).transpose()?;
        Some(head.map(|head| (head, bytes.len() - buffer.len())))
    };
    decides_once(bytes, |bytes| {
        read(bytes).map(|head| head.map(|(head, length)| (format!("{head:?}"), length)))
    });
    if let Some(Ok((head, _))) = read(bytes) {
        lines_are_lines(&head.headers);
    }
}

fn lines_are_lines(headers: &http::HeaderMap) {
    for value in headers.values() {
        assert!(
            !value
                .as_bytes()
                .iter()
                .any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
            "{value:?}"
        );
    }
}
