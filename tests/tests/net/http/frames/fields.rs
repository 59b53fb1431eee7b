//! Requests whose fields are malformed (RFC 9113 §8), or would become something else in HTTP/1.1.

use switchyard_tests::client::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, block, frame};

use super::Want::Served;
use super::{Case, Want, get, head, post};

/// §8.1.1.
const MALFORMED: Want = Want::Malformed;

pub fn cases() -> Vec<Case> {
    let all = [pseudo(), names(), values(), bodies()].into_iter().flatten();
    all.map(|(name, bytes, want)| Case { name, bytes, want })
        .collect()
}

type Row = (&'static str, Vec<u8>, Want);

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "a.example");
const PATH: (&str, &str) = (":path", "/case");

fn pseudo() -> Vec<Row> {
    let bad = |name, fields: &[(&str, &str)]| (name, head(1, fields), MALFORMED);
    let with = |name, changed: (&'static str, &'static str)| {
        let of = |field: (&'static str, &'static str)| if field.0 == changed.0 { changed } else { field };
        (
            name,
            head(1, &[of(METHOD), of(SCHEME), of(AUTHORITY), of(PATH)]),
            MALFORMED,
        )
    };
    vec![
        bad("no method", &[SCHEME, AUTHORITY, PATH]),
        bad("no scheme", &[METHOD, AUTHORITY, PATH]),
        bad("no path", &[METHOD, SCHEME, AUTHORITY]),
        bad("no authority, no host", &[METHOD, SCHEME, PATH]),
        bad("two methods", &[METHOD, METHOD, SCHEME, AUTHORITY, PATH]),
        bad(
            "two paths",
            &[METHOD, SCHEME, AUTHORITY, PATH, (":path", "/other")],
        ),
        bad(
            "two authorities",
            &[METHOD, SCHEME, AUTHORITY, (":authority", "b.example"), PATH],
        ),
        bad(
            "a pseudo-header that is none",
            &[METHOD, SCHEME, AUTHORITY, PATH, (":case", "x")],
        ),
        bad("a status", &[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")]),
        bad(
            "a pseudo-header after the others",
            &[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH],
        ),
        bad(
            "another host than the authority",
            &[METHOD, SCHEME, AUTHORITY, PATH, ("host", "b.example")],
        ),
        bad(
            "two hosts",
            &[METHOD, SCHEME, PATH, ("host", "a.example"), ("host", "b.example")],
        ),
        with("an empty path", (":path", "")),
        with("a path without a slash", (":path", "case")),
        with("an asterisk of another method", (":path", "*")),
        with("a path with a blank", (":path", "/ca se")),
        with(
            "a path with a request in it",
            (":path", "/ HTTP/1.1\r\nHost: a.example\r\n\r\nGET /smuggled"),
        ),
        with("a path with a NUL", (":path", "/ca\0se")),
        // A fragment is for the client (RFC 9110 §4.1): it is taken off.
        (
            "a path with a fragment",
            head(1, &[METHOD, SCHEME, AUTHORITY, (":path", "/case#x")]),
            Served,
        ),
        with("a method with a blank", (":method", "GET /smuggled")),
        with("a method with a line end", (":method", "GET / HTTP/1.1\r\nX: ")),
        with("an empty method", (":method", "")),
        with("an authority with a user", (":authority", "u@a.example")),
        with("an authority with a path", (":authority", "a.example/x")),
        with(
            "an authority with a line end",
            (":authority", "a.example\r\nX: y"),
        ),
        with("a scheme with a line end", (":scheme", "http\r\nX: y")),
    ]
}

fn names() -> Vec<Row> {
    let bad = |name, field: &str| (name, get(&[(field, "1")]), MALFORMED);
    vec![
        bad("a name in capitals", "X-Case"),
        bad("an empty name", ""),
        bad("a name with a blank", "x y"),
        bad("a name with a colon", "x:y"),
        bad("a name with a line end", "x\r\ny"),
        bad("a name with a NUL", "x\0"),
        bad("connection", "connection"),
        bad("keep-alive", "keep-alive"),
        bad("proxy-connection", "proxy-connection"),
        bad("upgrade", "upgrade"),
        (
            "transfer-encoding",
            get(&[("transfer-encoding", "chunked")]),
            MALFORMED,
        ),
        ("te other than trailers", get(&[("te", "gzip")]), MALFORMED),
        ("te: trailers", get(&[("te", "trailers")]), Served),
    ]
}

fn values() -> Vec<Row> {
    let bad = |name, value: &str| (name, get(&[("x", value)]), MALFORMED);
    vec![
        bad("a value with a line end", "a\r\nsmuggled: yes"),
        bad(
            "a value with a request",
            "a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n",
        ),
        bad("a value with LF", "a\nsmuggled: yes"),
        bad("a value with CR", "a\rb"),
        bad("a value with a NUL", "a\0b"),
        ("an ordinary value", get(&[("x", "y")]), Served),
        (
            "crumbs of a cookie",
            get(&[("cookie", "a=1"), ("cookie", "b=2")]),
            Served,
        ),
    ]
}

fn bodies() -> Vec<Row> {
    let body = |length: &str, data: &[u8]| {
        [
            post(&[("content-length", length)]),
            frame(DATA, END_STREAM, 1, data),
        ]
        .concat()
    };
    let trailers = |fields: &[(&str, &str)]| {
        let data = frame(DATA, 0, 1, b"hello");
        let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields));
        [post(&[]), data, trailers].concat()
    };
    vec![
        ("a body as long as it says", body("5", b"hello"), Served),
        (
            "a body without a length",
            [post(&[]), frame(DATA, END_STREAM, 1, b"hello")].concat(),
            Served,
        ),
        (
            "a body that is shorter than it says",
            body("6", b"hello"),
            MALFORMED,
        ),
        (
            "a body that is longer than it says",
            body("4", b"hello"),
            MALFORMED,
        ),
        (
            "a length without a body",
            get(&[("content-length", "5")]),
            MALFORMED,
        ),
        (
            "two lengths",
            {
                let two = post(&[("content-length", "5"), ("content-length", "6")]);
                [two, frame(DATA, END_STREAM, 1, b"hello")].concat()
            },
            MALFORMED,
        ),
        ("a length with a plus", body("+5", b"hello"), MALFORMED),
        ("a length that is no number", body("five", b"hello"), MALFORMED),
        ("trailers", trailers(&[("x-sum", "1")]), Served),
        (
            "a pseudo-header in the trailers is dropped",
            trailers(&[(":path", "/other")]),
            Served,
        ),
        (
            "a line end in the trailers",
            trailers(&[("x", "a\r\nb: c")]),
            MALFORMED,
        ),
    ]
}
