//! Request lines, targets and hosts (RFC 9112 §3, RFC 9110 §7.2): who is asked for what must be beyond doubt.

use super::{Case, Sent, closed, forwarded, refused, sent};

const BAD: &[u16] = &[400];
/// Methods and versions that are none of ours.
const UNKNOWN: &[u16] = &[400, 501, 505];

pub fn cases() -> Vec<Case> {
    [request_lines(), targets(), hosts()]
        .into_iter()
        .flatten()
        .collect()
}

fn line(line: &str) -> String {
    format!("{line}\r\nHost: a.example\r\n\r\n")
}

fn simple() -> Sent {
    sent("GET /case HTTP/1.1|host: a.example", "")
}

fn request_lines() -> Vec<Case> {
    let bad = |name, text: &str| refused(name, line(text), BAD);
    let unknown = |name, text: &str| refused(name, line(text), UNKNOWN);
    vec![
        forwarded(
            "an empty line before it",
            format!("\r\n{}", line("GET /case HTTP/1.1")),
            &[simple()],
        ),
        forwarded(
            "a method of the user's own",
            line("BREW /case HTTP/1.1"),
            &[sent("BREW /case HTTP/1.1|host: a.example", "")],
        ),
        bad("two blanks after the method", "GET  /case HTTP/1.1"),
        bad("two blanks before the version", "GET /case  HTTP/1.1"),
        bad("tabs", "GET\t/case\tHTTP/1.1"),
        closed("a blank before the method", line(" GET /case HTTP/1.1")),
        bad("a blank after the version", "GET /case HTTP/1.1 "),
        bad("a blank in the target", "GET /ca se HTTP/1.1"),
        bad("no target", "GET HTTP/1.1"),
        bad("a method with a bracket", "G<T /case HTTP/1.1"),
        bad("a method with a colon", "GET: /case HTTP/1.1"),
        bad("a NUL in the method", "G\0T /case HTTP/1.1"),
        unknown("no version", "GET /case"),
        unknown("version 0.9", "GET /case HTTP/0.9"),
        unknown("version 2.0", "GET /case HTTP/2.0"),
        unknown("version 1.10", "GET /case HTTP/1.10"),
        unknown("version 01.1", "GET /case HTTP/01.1"),
        unknown("version in small letters", "GET /case http/1.1"),
        unknown("version without a number", "GET /case HTTP/"),
        unknown("another protocol", "GET /case HTTPS/1.1"),
        refused(
            "a method of 100 KB",
            line(&format!("{} /case HTTP/1.1", "G".repeat(100_000))),
            &[400, 414, 431, 501],
        ),
        refused(
            "a target of 1 MB",
            line(&format!("GET /{} HTTP/1.1", "x".repeat(1_000_000))),
            &[414, 431],
        ),
        refused(
            "CONNECT",
            "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n",
            &[400, 405, 501],
        ),
        closed(
            "a TLS hello",
            &b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n"[..],
        ),
    ]
}

fn targets() -> Vec<Case> {
    let bad = |name, text: &str| refused(name, line(text), BAD);
    let as_a = |name, text: &str| forwarded(name, line(text), &[simple()]);
    vec![
        as_a("an absolute target", "GET http://a.example/case HTTP/1.1"),
        as_a(
            "an absolute target in capitals",
            "GET HTTP://a.example/case HTTP/1.1",
        ),
        forwarded(
            "an absolute target counts, not the Host (RFC 9112 §3.2.2)",
            "GET http://a.example/case HTTP/1.1\r\nHost: b.example\r\n\r\n",
            &[simple()],
        ),
        forwarded(
            "an absolute target without a path",
            line("GET http://a.example HTTP/1.1"),
            &[sent("GET / HTTP/1.1|host: a.example", "")],
        ),
        forwarded(
            "an asterisk",
            line("OPTIONS * HTTP/1.1"),
            &[sent("OPTIONS * HTTP/1.1|host: a.example", "")],
        ),
        forwarded(
            "a query with a URL",
            line("GET /case?u=http://b.example/ HTTP/1.1"),
            &[sent("GET /case?u=http://b.example/ HTTP/1.1|host: a.example", "")],
        ),
        forwarded(
            "a path with dots and escapes is left alone",
            line("GET /a/../%2e%2e/b HTTP/1.1"),
            &[sent("GET /a/../%2e%2e/b HTTP/1.1|host: a.example", "")],
        ),
        bad("an asterisk of another method", "GET * HTTP/1.1"),
        bad("an authority of another method", "GET a.example:80 HTTP/1.1"),
        bad("a target without a slash", "GET case HTTP/1.1"),
        bad("a fragment", "GET /case#x HTTP/1.1"),
        bad("a control character in the target", "GET /ca\u{1}se HTTP/1.1"),
        bad("a NUL in the target", "GET /ca\0se HTTP/1.1"),
        bad("DEL in the target", "GET /ca\u{7f}se HTTP/1.1"),
        bad(
            "a user in an absolute target",
            "GET http://u@a.example/case HTTP/1.1",
        ),
        bad(
            "an absolute target without an authority",
            "GET http:///case HTTP/1.1",
        ),
        bad("another scheme", "GET ftp://a.example/case HTTP/1.1"),
    ]
}

fn hosts() -> Vec<Case> {
    let with = |lines: &str| format!("GET /case HTTP/1.1\r\n{lines}\r\n");
    let bad = |name, host: &str| refused(name, with(&format!("Host: {host}\r\n")), BAD);
    vec![
        forwarded(
            "a host with a port",
            with("Host: a.example:80\r\n"),
            &[sent("GET /case HTTP/1.1|host: a.example:80", "")],
        ),
        forwarded(
            "an IPv6 address as the host",
            with("Host: [2001:db8::1]:80\r\n"),
            &[sent("GET /case HTTP/1.1|host: [2001:db8::1]:80", "")],
        ),
        refused("no Host", with(""), BAD),
        refused(
            "no Host with an absolute target",
            "GET http://a.example/case HTTP/1.1\r\n\r\n",
            BAD,
        ),
        refused("two Hosts", with("Host: a.example\r\nHost: b.example\r\n"), BAD),
        refused(
            "the same Host twice",
            with("Host: a.example\r\nHost: a.example\r\n"),
            BAD,
        ),
        refused(
            "two Hosts with an absolute target",
            "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
            BAD,
        ),
        bad("a host with a blank", "a.example b.example"),
        bad("a host with a user", "u@a.example"),
        bad("a host with a path", "a.example/x"),
        bad("a host with a query", "a.example?x"),
        bad("a host with a fragment", "a.example#x"),
        bad("a host with a backslash", "a.example\\x"),
        bad("a list of hosts", "a.example, b.example"),
        bad("a host with a port that is none", "a.example:http"),
        bad("a host with two ports", "a.example:80:81"),
        bad("a host with a port that is too large", "a.example:65536"),
        bad("a host with an open bracket", "[2001:db8::1"),
        bad("a host with a control character", "a\u{1}.example"),
        bad("a host with an angle bracket", "<a.example>"),
    ]
}
