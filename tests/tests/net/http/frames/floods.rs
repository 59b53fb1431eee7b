//! Much of what is allowed once: each is cut off, or costs no more than its connection may.

use switchyard_tests::client::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame,
};

use super::Want::{Bounded, Connection};
use super::{CANCEL, COMPRESSION_ERROR, Case, ENHANCE_YOUR_CALM, PROTOCOL_ERROR, Want, post};

const CALM: Want = Connection(&[ENHANCE_YOUR_CALM, PROTOCOL_ERROR, COMPRESSION_ERROR]);

const SIMPLE: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a.example"),
    (":path", "/flood"),
];

pub fn cases() -> Vec<Case> {
    [streams(), heads(), settings(), others()]
        .into_iter()
        .flatten()
        .collect()
}

fn streams() -> Vec<Case> {
    vec![
        case(
            "rapid reset",
            many(20_000, |stream| {
                let head = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&SIMPLE));
                [head, frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())].concat()
            }),
            CALM,
        ),
        case(
            "rapid reset of requests with bodies",
            many(20_000, |stream| {
                let head = frame(HEADERS, END_HEADERS, stream, &block(&SIMPLE));
                [head, frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())].concat()
            }),
            CALM,
        ),
        case(
            "resets that the other side is made to send",
            many(20_000, |stream| {
                let head = frame(HEADERS, END_HEADERS, stream, &block(&SIMPLE));
                [head, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
            }),
            CALM,
        ),
        case(
            "malformed requests",
            many(20_000, |stream| {
                frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&[("X", "y")]))
            }),
            Bounded,
        ),
        case(
            "more streams than were allowed",
            many(5_000, |stream| {
                frame(HEADERS, END_HEADERS, stream, &block(&SIMPLE))
            }),
            Bounded,
        ),
    ]
}

fn heads() -> Vec<Case> {
    vec![
        case(
            "a head without end",
            {
                let begin = frame(HEADERS, END_STREAM, 1, &block(&SIMPLE));
                let part = frame(CONTINUATION, 0, 1, &block(&[("x", "y".repeat(16_000))]));
                [begin, part.repeat(2_000)].concat()
            },
            CALM,
        ),
        case(
            "a head without end, of empty frames",
            {
                [
                    frame(HEADERS, END_STREAM, 1, &block(&SIMPLE)),
                    frame(CONTINUATION, 0, 1, &[]).repeat(200_000),
                ]
                .concat()
            },
            CALM,
        ),
        case(
            "a head without end, of small frames",
            {
                let part = frame(CONTINUATION, 0, 1, &[0x82]);
                [frame(HEADERS, END_STREAM, 1, &[]), part.repeat(200_000)].concat()
            },
            CALM,
        ),
        case("a head that its table makes large", bomb(), Bounded),
    ]
}

fn settings() -> Vec<Case> {
    vec![
        case(
            "settings",
            frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(200_000),
            Bounded,
        ),
        case(
            "settings that change every stream",
            {
                let up = frame(SETTINGS, 0, 0, &[0, 4, 0, 2, 0, 0]);
                let down = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
                [
                    many(90, |stream| frame(HEADERS, END_HEADERS, stream, &block(&SIMPLE))),
                    [up, down].concat().repeat(50_000),
                ]
                .concat()
            },
            Bounded,
        ),
        case(
            "settings in one frame",
            frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0].repeat(2_700)).repeat(200),
            Bounded,
        ),
    ]
}

fn others() -> Vec<Case> {
    vec![
        case("pings", frame(PING, 0, 0, &[7; 8]).repeat(300_000), Bounded),
        case(
            "priorities",
            many(100_000, |stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 15])),
            Bounded,
        ),
        case(
            "windows",
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(300_000),
            Bounded,
        ),
        case(
            "empty data",
            [post(&[]), frame(DATA, 0, 1, &[]).repeat(300_000)].concat(),
            Bounded,
        ),
        case(
            "padding without data",
            [
                post(&[]),
                frame(DATA, 8, 1, &[&[255][..], &[0; 255]].concat()).repeat(50_000),
            ]
            .concat(),
            Bounded,
        ),
        case(
            "unknown frames",
            frame(0xfa, 0, 0, &[0; 16_000]).repeat(2_000),
            Bounded,
        ),
        case(
            "a reader that takes nothing",
            {
                let closed = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
                let asks = many(90, |stream| {
                    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&SIMPLE))
                });
                [closed, asks].concat()
            },
            Bounded,
        ),
    ]
}

fn case(name: &'static str, bytes: Vec<u8>, want: Want) -> Case {
    Case { name, bytes, want }
}

fn many(count: u32, frames: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|number| frames(2 * number + 1)).collect()
}

/// One field of nearly 4 KB in the table, named 16,000 times: a head of 60 MB in 16 KB.
fn bomb() -> Vec<u8> {
    let mut first = block(&SIMPLE);
    // With incremental indexing (RFC 7541 §6.2.1).
    first.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    first.extend([b'y'; 4_000]);
    let again = [&block(&SIMPLE)[..], &[0xbe; 16_000]].concat();
    let first = frame(HEADERS, END_STREAM | END_HEADERS, 1, &first);
    let rest = (1..50).flat_map(|number| frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &again));
    first.into_iter().chain(rest).collect()
}
