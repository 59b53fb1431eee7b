//! Header lines (RFC 9112 §5, RFC 9110 §5): their ends, names and values, and how many of them there are.

use super::{Case, forwarded, get, refused, sent};

const BAD: &[u16] = &[400];
const TOO_LARGE: &[u16] = &[431];

pub fn cases() -> Vec<Case> {
    [values(), lines()].into_iter().flatten().collect()
}

fn values() -> Vec<Case> {
    let bytes = |name: &[u8]| [b"GET /case HTTP/1.1\r\nHost: a.example\r\n", name, b"\r\n\r\n"].concat();
    let plain = "GET /case HTTP/1.1|host: a.example|";
    vec![
        forwarded(
            "a tab in a value",
            get("X: a\tb\r\n"),
            &[sent(&format!("{plain}x: a\tb"), "")],
        ),
        forwarded(
            "an empty value",
            get("X:\r\n"),
            &[sent(&format!("{plain}x: "), "")],
        ),
        forwarded(
            "blanks around a value",
            get("X: \t y \t\r\n"),
            &[sent(&format!("{plain}x: y"), "")],
        ),
        forwarded(
            "UTF-8 in a value",
            get("X: \u{e9}\r\n"),
            &[sent(&format!("{plain}x: \u{e9}"), "")],
        ),
        forwarded(
            "a name with an underscore",
            get("X_Y: z\r\n"),
            &[sent(&format!("{plain}x_y: z"), "")],
        ),
        refused("a NUL in a value", get("X: a\0b\r\n"), BAD),
        refused("a NUL in a name", get("X\0Y: z\r\n"), BAD),
        refused("a control character in a value", get("X: a\u{1}b\r\n"), BAD),
        refused("DEL in a value", get("X: a\u{7f}b\r\n"), BAD),
        refused("an escape in a value", get("X: a\u{1b}b\r\n"), BAD),
        refused("a lone CR in a value", get("X: a\rb\r\n"), BAD),
        refused("a lone CR at the end of a value", get("X: a\r\r\n"), BAD),
        refused("a blank in a name", get("X Y: z\r\n"), BAD),
        refused("a blank before the colon", get("X : y\r\n"), BAD),
        refused("a tab before the colon", get("X\t: y\r\n"), BAD),
        refused("a name with a parenthesis", get("X(Y: z\r\n"), BAD),
        refused("a name with a slash", get("X/Y: z\r\n"), BAD),
        refused("a name in quotes", get("\"X\": z\r\n"), BAD),
        refused("a name that is not ASCII", bytes(b"X\xe9: y"), BAD),
        refused("no name", get(": y\r\n"), BAD),
        refused("no colon", get("X\r\n"), BAD),
    ]
}

fn lines() -> Vec<Case> {
    vec![
        refused("a folded line", get("X: y\r\n z\r\n"), BAD),
        refused("a line folded with a tab", get("X: y\r\n\tz\r\n"), BAD),
        refused(
            "a folded first line",
            "GET /case HTTP/1.1\r\n Host: a.example\r\nHost: a.example\r\n\r\n",
            BAD,
        ),
        refused("lone LFs", "GET /case HTTP/1.1\nHost: a.example\n\n", BAD),
        refused(
            "a lone LF after the request line",
            "GET /case HTTP/1.1\nHost: a.example\r\n\r\n",
            BAD,
        ),
        refused(
            "a lone LF after a header line",
            "GET /case HTTP/1.1\r\nHost: a.example\nX: y\r\n\r\n",
            BAD,
        ),
        refused(
            "a lone LF as the empty line",
            "GET /case HTTP/1.1\r\nHost: a.example\r\n\n",
            BAD,
        ),
        refused(
            "lone CRs",
            "GET /case HTTP/1.1\rHost: a.example\r\rGET / HTTP/1.1\r\n\r\n",
            BAD,
        ),
        refused("CR CR LF", "GET /case HTTP/1.1\r\r\nHost: a.example\r\n\r\n", BAD),
        refused(
            "a line of 1 MB",
            get(&format!("X: {}\r\n", "y".repeat(1_000_000))),
            TOO_LARGE,
        ),
        refused(
            "a name of 1 MB",
            get(&format!("{}: y\r\n", "X".repeat(1_000_000))),
            &[400, 431],
        ),
        refused("10,000 lines", get(&"X: y\r\n".repeat(10_000)), TOO_LARGE),
        refused(
            "10,000 lines of different names",
            {
                let lines: Vec<String> = (0..10_000).map(|n| format!("X{n}: y\r\n")).collect();
                get(&lines.concat())
            },
            TOO_LARGE,
        ),
    ]
}
