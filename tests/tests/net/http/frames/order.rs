//! Frames that are malformed, or come where they may not (RFC 9113 §4 to §6).

use switchyard_tests::client::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
};

use super::Want::{Connection, Served, Stream};
use super::{
    COMPRESSION_ERROR, Case, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, STREAM_CLOSED, Want, get,
    head, post,
};

const PROTOCOL: Want = Connection(&[PROTOCOL_ERROR]);
const SIZE: Want = Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
/// What counts is that the connection ends; its last word is not always the one that the RFC has for it.
const FLOW: Want = Connection(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]);
const COMPRESSION: Want = Connection(&[COMPRESSION_ERROR, PROTOCOL_ERROR]);
const CLOSED: Want = Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]);

pub fn cases() -> Vec<Case> {
    let all = [frames(), streams(), windows(), tables()].into_iter().flatten();
    all.map(|(name, bytes, want)| Case { name, bytes, want })
        .collect()
}

type Row = (&'static str, Vec<u8>, Want);

const SIMPLE: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a.example"),
    (":path", "/case"),
];

fn setting(id: u8, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat())
}

fn frames() -> Vec<Row> {
    let with_request = |before: Vec<u8>| [before, get(&[])].concat();
    vec![
        ("a request", get(&[]), Served),
        (
            "an unknown frame",
            with_request(frame(0xfa, 0xff, 0, b"whatever")),
            Served,
        ),
        ("an unknown setting", with_request(setting(0xfa, 7)), Served),
        (
            "a priority",
            with_request(frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 15])),
            Served,
        ),
        ("settings of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5]), SIZE),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL),
        (
            "an acknowledgement with settings",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            SIZE,
        ),
        ("a setting for pushes that is none", setting(2, 2), PROTOCOL),
        ("a frame size that is too small", setting(5, 16_383), PROTOCOL),
        ("a frame size that is too large", setting(5, 1 << 24), PROTOCOL),
        ("a window that is too large", setting(4, 1 << 31), FLOW),
        ("a ping of 7 bytes", frame(PING, 0, 0, &[0; 7]), SIZE),
        ("a ping on a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL),
        (
            "a frame of 16,385 bytes",
            [post(&[]), frame(DATA, END_STREAM, 1, &[0; 16_385])].concat(),
            SIZE,
        ),
        (
            "a promise",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
            PROTOCOL,
        ),
        (
            "padding that is longer than its frame",
            frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &[200, 0x82]),
            PROTOCOL,
        ),
        (
            "a padded frame without padding",
            frame(DATA, PADDED, 1, &[]),
            SIZE,
        ),
    ]
}

fn streams() -> Vec<Row> {
    let opened = |after: Vec<u8>| [post(&[]), after].concat();
    let cut = |flags: u8| frame(HEADERS, flags, 1, &block(&SIMPLE));
    vec![
        ("data on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL),
        ("headers on stream 0", head(0, &SIMPLE), PROTOCOL),
        ("an even stream", head(2, &SIMPLE), PROTOCOL),
        (
            "a stream that was skipped",
            [head(3, &SIMPLE), head(1, &SIMPLE)].concat(),
            CLOSED,
        ),
        ("data on an idle stream", frame(DATA, 0, 1, b"x"), CLOSED),
        (
            "a reset of an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            PROTOCOL,
        ),
        (
            "a window of an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            PROTOCOL,
        ),
        (
            "a reset of 3 bytes",
            opened(frame(RST_STREAM, 0, 1, &[0; 3])),
            SIZE,
        ),
        (
            "a continuation of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &[0x82]),
            PROTOCOL,
        ),
        (
            "headers within headers",
            [cut(END_STREAM), head(3, &SIMPLE)].concat(),
            PROTOCOL,
        ),
        (
            "a ping within headers",
            [cut(END_STREAM), frame(PING, 0, 0, &[0; 8])].concat(),
            PROTOCOL,
        ),
        (
            "a continuation of another stream",
            [cut(END_STREAM), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            PROTOCOL,
        ),
        (
            "a head in two frames",
            [cut(END_STREAM), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(),
            Served,
        ),
    ]
}

fn windows() -> Vec<Row> {
    let most = 0x7fff_ffff_u32.to_be_bytes();
    vec![
        (
            "a window beyond 2^31 - 1",
            frame(WINDOW_UPDATE, 0, 0, &most),
            FLOW,
        ),
        (
            "a window that grows by nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            PROTOCOL,
        ),
        ("a window of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), SIZE),
        (
            "a stream's window beyond 2^31 - 1",
            [post(&[]), frame(WINDOW_UPDATE, 0, 1, &most)].concat(),
            Stream(&[FLOW_CONTROL_ERROR], &[]),
        ),
        (
            "a stream's window that grows by nothing",
            [post(&[]), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            Want::Malformed,
        ),
    ]
}

fn tables() -> Vec<Row> {
    let coded = |bytes: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, 1, bytes);
    vec![
        (
            "an index beyond the table",
            coded(&[0x82, 0xff, 0x80, 0x01]),
            COMPRESSION,
        ),
        ("index 0", coded(&[0x80]), COMPRESSION),
        (
            "an integer without end",
            coded(&[
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
            ]),
            COMPRESSION,
        ),
        (
            "a string that is cut short",
            coded(&[0x00, 0x05, b'x']),
            COMPRESSION,
        ),
        (
            "a table larger than was allowed",
            coded(&[0x3f, 0xff, 0xff, 0x7f, 0x82]),
            COMPRESSION,
        ),
        (
            "a table's size in the middle",
            coded(&[0x82, 0x20, 0x86, 0x84]),
            COMPRESSION,
        ),
        (
            "a Huffman code that ends wrongly",
            coded(&[0x00, 0x81, 0x00, 0x01, b'x']),
            COMPRESSION,
        ),
        (
            "the end of a Huffman string within it",
            coded(&[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, b'x']),
            COMPRESSION,
        ),
    ]
}
