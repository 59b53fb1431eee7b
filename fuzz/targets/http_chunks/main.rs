//! The reader of chunked bodies. Whatever the bytes: no panic, and the same data, end and refusal however the bytes come; what
//! is written in chunks is read again, and what follows is left.

use bolero::{TypeGenerator, check};
use bytes::BytesMut;
use switchyard_proxy::http::chunked::{Decoder, Piece};

/// A body and how it is cut into chunks.
#[derive(Clone, Debug, TypeGenerator)]
struct Body {
    chunks: Vec<Vec<u8>>,
    extension: bool,
    after: Vec<u8>,
}

/// What came of a body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    data: Vec<u8>,
    /// Trailers; none: it has not ended.
    end: Option<String>,
    refused: bool,
    left: Vec<u8>,
}

fn main() {
    // A fuzzing engine takes the first over and does not come back.
    check!().for_each(foreign);
    check!().with_type::<Body>().for_each(well_formed);
}

fn foreign(bytes: &[u8]) {
    let whole = read([bytes]);
    for size in [1, 2, 3, 7, 64] {
        let pieces = read(bytes.chunks(size));
        // In pieces a refusal may come before the data that precedes it has been looked at, never after.
        assert_eq!(pieces.refused, whole.refused, "{size} bytes at a time");
        assert_eq!(pieces.end, whole.end, "{size} bytes at a time");
        assert_eq!(pieces.data, whole.data, "{size} bytes at a time");
        if whole.end.is_some() {
            assert_eq!(pieces.left, whole.left, "{size} bytes at a time");
        }
    }
}

fn well_formed(body: &Body) {
    let extension = if body.extension { ";name=value" } else { "" };
    let mut bytes = Vec::new();
    let chunks: Vec<&Vec<u8>> = body.chunks.iter().filter(|chunk| !chunk.is_empty()).collect();
    for chunk in &chunks {
        bytes.extend(format!("{:x}{extension}\r\n", chunk.len()).into_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes.extend(&body.after);
    let expected = Read {
        data: chunks.into_iter().flatten().copied().collect(),
        end: Some("None".to_owned()),
        refused: false,
        left: body.after.clone(),
    };
    assert_eq!(read([&bytes[..]]), expected);
    foreign(&bytes);
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let (mut decoder, mut buffer, mut read) = (Decoder::default(), BytesMut::new(), Read::default());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while read.end.is_none() && !read.refused {
            match decoder.take(&mut buffer) {
                Ok(Piece::Data(data)) => read.data.extend_from_slice(&data),
                Ok(Piece::End(trailers)) => read.end = Some(format!("{trailers:?}")),
                Ok(Piece::More) => break,
                Err(_) => read.refused = true,
            }
        }
    }
    read.left = buffer.to_vec();
    read
}
