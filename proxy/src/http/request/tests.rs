use bytes::BytesMut;

use super::*;

fn h1(text: &str) -> Result<Request, Bad> {
    let head = head::take_request(&mut BytesMut::from(text), 4096)
        .unwrap()
        .unwrap();
    Request::from_h1(head)
}

fn h2(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Result<Request, Bad> {
    let (parts, ()) = build(http::Request::builder()).body(()).unwrap().into_parts();
    Request::from_h2(parts, true)
}

#[test]
fn the_host_is_what_the_request_means() {
    for (text, host, name, target) in [
        (
            "GET /a HTTP/1.1\r\nHost: X.example:80\r\n\r\n",
            "X.example:80",
            "x.example",
            "/a",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: x.example.\r\n\r\n",
            "x.example.",
            "x.example",
            "/a",
        ),
        (
            "GET http://b.example?q HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "b.example",
            "b.example",
            "/?q",
        ),
        (
            "GET HTTP://b.example:1/p HTTP/1.1\r\nHost: a\r\n\r\n",
            "b.example:1",
            "b.example",
            "/p",
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "a", "a", "*"),
        (
            "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8\r\n\r\n",
            "[2001:db8::1]:8",
            "[2001:db8::1]",
            "/",
        ),
    ] {
        let request = h1(text).unwrap();
        assert_eq!(request.host.unwrap(), host, "{text:?}");
        assert_eq!(request.name.as_deref(), Some(name), "{text:?}");
        assert_eq!(&request.target[..], target.as_bytes(), "{text:?}");
    }
    assert_eq!(h1("GET / HTTP/1.0\r\n\r\n").unwrap().host, None);
}

#[test]
fn what_means_nothing_or_two_things_is_refused() {
    for (text, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400),
        ("GET a.example HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", 417),
    ] {
        assert_eq!(h1(text).unwrap_err().status.as_u16(), status, "{text:?}");
    }
    assert_eq!(h2(|b| b.uri("/x")).unwrap_err().status, StatusCode::BAD_REQUEST);
    let differ = h2(|b| b.uri("http://a.example/").header("host", "b.example"));
    assert_eq!(differ.unwrap_err().status, StatusCode::BAD_REQUEST);
    let connect = h2(|b| b.method("CONNECT").uri("a.example:443"));
    assert_eq!(connect.unwrap_err().status, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn only_changes_to_other_protocols_than_http_are_passed_on() {
    let upgrade = |token: &str| {
        let text = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {token}\r\n\r\n"
        );
        let request = h1(&text).unwrap();
        assert!(!request.headers.contains_key("upgrade") && !request.headers.contains_key("connection"));
        request.upgrade
    };
    assert_eq!(upgrade("websocket").unwrap(), "websocket");
    for token in ["h2c", "H2C", "HTTP/2.0", "websocket, h2c", "TLS/1.0"] {
        assert_eq!(upgrade(token), None, "{token}");
    }
    let silent = h1("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").unwrap();
    assert_eq!(
        silent.upgrade, None,
        "Upgrade counts only where Connection names it (RFC 9110 §7.8)"
    );
}
