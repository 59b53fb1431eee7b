use super::*;

fn take(text: &str) -> Result<Option<RequestHead>, Bad> {
    take_request(&mut BytesMut::from(text), 1024)
}

fn status(text: &str) -> u16 {
    match take(text) {
        Err(bad) => bad.status.as_u16(),
        Ok(head) => panic!("{text:?} is taken for {head:?}"),
    }
}

#[test]
fn a_request_is_read_as_it_stands() {
    let mut bytes = BytesMut::from(
        "\r\nPOST /a?b HTTP/1.1\r\nHost: x\r\nA:  1 \r\na: 2\r\nContent-Length: 3\r\n\r\nabcGET",
    );
    let head = take_request(&mut bytes, 1024).unwrap().unwrap();
    assert_eq!(
        (head.method, &head.target[..], head.is_10),
        (Method::POST, &b"/a?b"[..], false)
    );
    assert_eq!(head.framing, Framing::Length(3));
    let all: Vec<_> = head.headers.get_all("a").iter().collect();
    assert_eq!(all, ["1", "2"]);
    assert_eq!(&bytes[..], b"abcGET");
}

#[test]
fn a_head_that_is_cut_is_waited_for_and_nothing_is_taken_of_it() {
    let text = "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for end in 0..text.len() {
        let mut bytes = BytesMut::from(&text[..end]);
        assert!(take_request(&mut bytes, 1024).unwrap().is_none(), "{end}");
        assert_eq!(bytes.len(), end);
    }
    assert_eq!(take(text).unwrap().unwrap().framing, Framing::Chunked);
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for (text, expected) in [
        ("GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\n\n", 400),
        ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nA: 1\rB: 2\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nA: 1\r\n B\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n A: 1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nA : 1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nA\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n: 1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nA: \0\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\n\r\n", 400),
        ("GET /  HTTP/1.1\r\n\r\n", 400),
        ("GET /\tx HTTP/1.1\r\n\r\n", 400),
        ("GET /#x HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("G(T / HTTP/1.1\r\n\r\n", 400),
        ("GET / http/1.1\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\n\r\n", 505),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: ,chunked\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
    ] {
        assert_eq!(status(text), expected, "{text:?}");
    }
}

#[test]
fn limits_say_what_was_too_long() {
    let long = "x".repeat(1100);
    assert_eq!(status(&format!("GET /{long}")), 414);
    assert_eq!(status(&format!("GET /{long} HTTP/1.1\r\n\r\n")), 414);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nA: {long}")), 431);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n")), 431);
    let many = "a:1\r\n".repeat(129);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), 431);
}

#[test]
fn the_end_of_a_response_is_found_as_its_rules_say() {
    let framing = |text: &str, method| {
        let head = take_response(&mut BytesMut::from(text), 1024).unwrap().unwrap();
        response_framing(&head, &method).map_err(|bad| bad.why)
    };
    let get = Method::GET;
    assert_eq!(
        framing("HTTP/1.1 200 OK\r\n\r\n", get.clone()),
        Ok(Framing::Close)
    );
    assert_eq!(
        framing("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", get.clone()),
        Ok(Framing::None)
    );
    assert_eq!(
        framing("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", get.clone()),
        Ok(Framing::Length(7))
    );
    assert_eq!(
        framing("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", Method::HEAD),
        Ok(Framing::None)
    );
    assert_eq!(
        framing("HTTP/1.1 304 x\r\nContent-Length: 7\r\n\r\n", get.clone()),
        Ok(Framing::None)
    );
    assert_eq!(
        framing(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
            get.clone()
        ),
        Ok(Framing::Chunked)
    );
    let two = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n";
    assert!(framing(two, get.clone()).is_err());
    assert!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", get).is_err());
    for bad in [
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 099 x\r\n\r\n",
    ] {
        assert!(take_response(&mut BytesMut::from(bad), 1024).is_err(), "{bad:?}");
    }
}
