//! Where a body ends: lengths, transfer codings, chunks (RFC 9112 §6 and §7). A message whose length can be read in two
//! ways is refused, never repaired.

use super::{Case, Sent, forwarded, post, refused, sent};

const BAD: &[u16] = &[400];
/// A coding that is not known (RFC 9112 §6.1 names 501).
const UNKNOWN: &[u16] = &[400, 501];
const TOO_LARGE: &[u16] = &[400, 413, 431];

pub fn cases() -> Vec<Case> {
    [lengths(), codings(), hidden_codings(), chunks()]
        .into_iter()
        .flatten()
        .collect()
}

fn by_length(body: &str) -> Sent {
    let length = body.len();
    sent(
        &format!("POST /case HTTP/1.1|content-length: {length}|host: a.example"),
        body,
    )
}

fn by_chunks(body: &str) -> Sent {
    sent(
        "POST /case HTTP/1.1|host: a.example|transfer-encoding: chunked",
        body,
    )
}

fn lengths() -> Vec<Case> {
    const SMUGGLED: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let one = |name, value: &str| refused(name, post(&format!("Content-Length: {value}\r\n"), "hello"), BAD);
    vec![
        forwarded(
            "a length",
            post("Content-Length: 5\r\n", "hello"),
            &[by_length("hello")],
        ),
        forwarded(
            "a length with blanks around it",
            post("Content-Length: \t5 \t\r\n", "hello"),
            &[by_length("hello")],
        ),
        forwarded(
            "a length of zero",
            post("Content-Length: 0\r\n", ""),
            &[by_length("")],
        ),
        refused(
            "length, then coding",
            post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", SMUGGLED),
            BAD,
        ),
        refused(
            "coding, then length",
            post("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", SMUGGLED),
            BAD,
        ),
        refused(
            "two lengths",
            post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
            BAD,
        ),
        refused(
            "two lengths, the first is zero",
            post("Content-Length: 0\r\nContent-Length: 44\r\n", SMUGGLED),
            BAD,
        ),
        refused(
            "a list of two lengths",
            post("Content-Length: 5, 6\r\n", "hello!"),
            BAD,
        ),
        one("a negative length", "-5"),
        one("a length with a plus", "+5"),
        one("a hexadecimal length", "0x5"),
        one("a length with a blank in it", "5 5"),
        one("an empty length", ""),
        one("a length with a semicolon", "5;"),
        one("a length with a comma", "5,"),
        one("a length with a point", "5.0"),
        one("a length with an exponent", "5e0"),
        one("a length with an underscore", "0_5"),
        one("a length in other digits", "\u{665}"),
        one("a length of 2^64", "18446744073709551616"),
        one("a length of 2^64 + 5", "18446744073709551621"),
        one(
            "a length of many digits",
            "99999999999999999999999999999999999999",
        ),
        one("a length in quotes", "\"5\""),
        refused(
            "a length with a vertical tab",
            post("Content-Length: \u{b}5\r\n", "hello"),
            BAD,
        ),
    ]
}

fn codings() -> Vec<Case> {
    const BODY: &str = "5\r\nhello\r\n0\r\n\r\n";
    let one = |name, lines: &str, statuses| refused(name, post(&format!("{lines}\r\n"), BODY), statuses);
    vec![
        forwarded(
            "chunked",
            post("Transfer-Encoding: chunked\r\n", BODY),
            &[by_chunks("hello")],
        ),
        forwarded(
            "Chunked in capitals",
            post("Transfer-Encoding: CHUNKED\r\n", BODY),
            &[by_chunks("hello")],
        ),
        one("identity", "Transfer-Encoding: identity", UNKNOWN),
        one("gzip", "Transfer-Encoding: gzip", UNKNOWN),
        one("gzip after chunked", "Transfer-Encoding: chunked, gzip", UNKNOWN),
        one("gzip before chunked", "Transfer-Encoding: gzip, chunked", UNKNOWN),
        one(
            "identity after chunked",
            "Transfer-Encoding: chunked, identity",
            UNKNOWN,
        ),
        one("chunked twice", "Transfer-Encoding: chunked, chunked", UNKNOWN),
        one(
            "chunked in two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            UNKNOWN,
        ),
        one(
            "chunked and identity in two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            UNKNOWN,
        ),
        one(
            "identity and chunked in two lines",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            UNKNOWN,
        ),
        one("xchunked", "Transfer-Encoding: xchunked", UNKNOWN),
        one(
            "chunked with a parameter",
            "Transfer-Encoding: chunked;q=1",
            UNKNOWN,
        ),
        one("chunked in quotes", "Transfer-Encoding: \"chunked\"", UNKNOWN),
    ]
}

/// Codings that one reader may take for chunked, and another not.
fn hidden_codings() -> Vec<Case> {
    const BODY: &str = "5\r\nhello\r\n0\r\n\r\n";
    let one = |name, lines: &str, statuses| refused(name, post(&format!("{lines}\r\n"), BODY), statuses);
    vec![
        one(
            "chunked after a vertical tab",
            "Transfer-Encoding: \u{b}chunked",
            UNKNOWN,
        ),
        one("chunked before a NUL", "Transfer-Encoding: chunked\0", UNKNOWN),
        one("an empty coding", "Transfer-Encoding:", UNKNOWN),
        one(
            "an empty element of codings",
            "Transfer-Encoding: ,chunked",
            UNKNOWN,
        ),
        one("a blank before the colon", "Transfer-Encoding : chunked", BAD),
        one("a tab before the colon", "Transfer-Encoding\t: chunked", BAD),
        one("a coding in a folded line", "Transfer-Encoding:\r\n chunked", BAD),
        one(
            "a coding in the fold of another line",
            "X: y\r\n Transfer-Encoding: chunked",
            BAD,
        ),
        one(
            "a coding after a lone CR",
            "X: y\rTransfer-Encoding: chunked",
            BAD,
        ),
        one(
            "a coding after a lone LF",
            "X: y\nTransfer-Encoding: chunked",
            BAD,
        ),
        refused(
            "chunked of version 1.0",
            format!("POST /case HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n{BODY}"),
            BAD,
        ),
    ]
}

fn chunks() -> Vec<Case> {
    let chunked = |rest: &str| post("Transfer-Encoding: chunked\r\n", rest);
    let one = |name, rest: &str| refused(name, chunked(rest), BAD);
    let ok = |name, rest: &str| forwarded(name, chunked(rest), &[by_chunks("hello")]);
    vec![
        ok("two chunks", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        ok("a size with zeroes", "0005\r\nhello\r\n000\r\n\r\n"),
        ok(
            "an extension is not passed on",
            "5;name=value\r\nhello\r\n0;last\r\n\r\n",
        ),
        ok("trailers", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
        one("a blank after the size", "5 \r\nhello\r\n0\r\n\r\n"),
        one("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        one("a size with a plus", "+5\r\nhello\r\n0\r\n\r\n"),
        one("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        one("a size that is no number", "g\r\nhello\r\n0\r\n\r\n"),
        one("an empty size", "\r\nhello\r\n0\r\n\r\n"),
        one("a size of 17 digits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        one("a size of 2^64 - 1", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        one("a lone LF after the size", "5\nhello\r\n0\r\n\r\n"),
        one("a lone CR after the size", "5\rhello\r\n0\r\n\r\n"),
        one("no line end after the chunk", "5\r\nhello0\r\n\r\n"),
        one("a lone LF after the chunk", "5\r\nhello\n0\r\n\r\n"),
        one("a chunk that is too long", "5\r\nhello!\r\n0\r\n\r\n"),
        one("a lone LF in an extension", "5;\nx\r\nhello\r\n0\r\n\r\n"),
        one("a lone LF at the end", "5\r\nhello\r\n0\r\n\n"),
        one("a folded trailer", "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n"),
        one(
            "a trailer with a blank before the colon",
            "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        ),
        one("a trailer with a NUL", "5\r\nhello\r\n0\r\nX: \0\r\n\r\n"),
        refused(
            "an endless extension",
            chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(200_000))),
            TOO_LARGE,
        ),
        refused(
            "endless trailers",
            chunked(&format!("5\r\nhello\r\n0\r\n{}\r\n", "X: y\r\n".repeat(50_000))),
            TOO_LARGE,
        ),
        refused(
            "an endless size",
            chunked(&format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(200_000))),
            TOO_LARGE,
        ),
    ]
}
