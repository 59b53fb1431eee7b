//! What is between two neighbours only (RFC 9110 §7.6, RFC 9112 §9): connection options, upgrades, expectations, and what
//! follows a request on its connection.

use super::{Case, Sent, forwarded, get, post, refused, sent, then_refused};

const BAD: &[u16] = &[400];

pub fn cases() -> Vec<Case> {
    [options(), sequences(), endings()]
        .into_iter()
        .flatten()
        .collect()
}

fn simple() -> Sent {
    sent("GET /case HTTP/1.1|host: a.example", "")
}

fn options() -> Vec<Case> {
    let plain = |name, lines: &str| forwarded(name, get(lines), &[simple()]);
    vec![
        plain(
            "keep-alive",
            "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n",
        ),
        plain(
            "a header that Connection names",
            "Connection: X-Hop\r\nX-Hop: 1\r\n",
        ),
        plain(
            "two headers that two Connections name",
            "Connection: X-A\r\nX-A: 1\r\nX-B: 2\r\nConnection: , x-b\r\n",
        ),
        plain("Proxy-Connection", "Proxy-Connection: keep-alive\r\n"),
        plain(
            "an upgrade to h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        ),
        plain(
            "an upgrade that Connection does not name",
            "Upgrade: websocket\r\n",
        ),
        plain("TE without Connection", "TE: gzip\r\n"),
        forwarded(
            "TE: trailers is for the backend only if we say so",
            get("Connection: TE\r\nTE: gzip\r\n"),
            &[simple()],
        ),
        forwarded(
            "Connection cannot take the host away",
            get("Connection: host\r\n"),
            &[simple()],
        ),
        forwarded(
            "Connection cannot take the length away",
            post("Connection: content-length\r\nContent-Length: 5\r\n", "hello"),
            &[sent(
                "POST /case HTTP/1.1|content-length: 5|host: a.example",
                "hello",
            )],
        ),
        forwarded(
            "Connection cannot take what the proxy adds away",
            get("Connection: x-forwarded-for, forwarded\r\n"),
            &[simple()],
        ),
        forwarded(
            "a body that was announced",
            post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"),
            &[sent(
                "POST /case HTTP/1.1|content-length: 5|expect: 100-continue|host: a.example",
                "hello",
            )],
        ),
        refused("another expectation", get("Expect: a miracle\r\n"), &[400, 417]),
    ]
}

fn sequences() -> Vec<Case> {
    let good = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let as_sent = |path: &str| sent(&format!("GET {path} HTTP/1.1|host: a.example"), "");
    vec![
        forwarded(
            "two requests at once",
            good("/1") + &good("/2"),
            &[as_sent("/1"), as_sent("/2")],
        ),
        forwarded(
            "a body and the next request at once",
            post("Content-Length: 5\r\n", &format!("hello{}", good("/2"))),
            &[
                sent("POST /case HTTP/1.1|content-length: 5|host: a.example", "hello"),
                as_sent("/2"),
            ],
        ),
        forwarded(
            "chunks and the next request at once",
            post(
                "Transfer-Encoding: chunked\r\n",
                &format!("5\r\nhello\r\n0\r\n\r\n{}", good("/2")),
            ),
            &[
                sent(
                    "POST /case HTTP/1.1|host: a.example|transfer-encoding: chunked",
                    "hello",
                ),
                as_sent("/2"),
            ],
        ),
        forwarded(
            "a request in the body of a GET",
            get("Content-Length: 45\r\n") + &good("/smuggled12"),
            &[sent(
                "GET /case HTTP/1.1|content-length: 45|host: a.example",
                &good("/smuggled12"),
            )],
        ),
    ]
}

/// What follows something wrong is not read.
fn endings() -> Vec<Case> {
    let good = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let as_sent = |path: &str| sent(&format!("GET {path} HTTP/1.1|host: a.example"), "");
    let bad = "GET /bad HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n";
    vec![
        then_refused(
            "a bad request after a good one",
            good("/1") + bad + &good("/3"),
            &[as_sent("/1")],
            BAD,
        ),
        refused(
            "a good request after a bad one",
            format!("{bad}{}", good("/2")),
            BAD,
        ),
        then_refused(
            "a body that is longer than it says",
            post("Content-Length: 5\r\n", &format!("hello){}", good("/2"))),
            &[sent(
                "POST /case HTTP/1.1|content-length: 5|host: a.example",
                "hello",
            )],
            &[400, 501],
        ),
        then_refused(
            "the preface of HTTP/2 after a request",
            good("/1") + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &[as_sent("/1")],
            &[400, 505],
        ),
        refused(
            "an ambiguous request before a good one",
            post(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                &format!("5c\r\n{}", good("/2")),
            ),
            BAD,
        ),
    ]
}
