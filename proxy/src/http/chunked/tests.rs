use proptest::prelude::*;

use super::*;

/// Everything that comes out when `pieces` come in one after the other.
fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, Option<HeaderMap>, BytesMut), Bad> {
    let mut decoder = Decoder::default();
    let mut input = BytesMut::new();
    let mut pieces = pieces.iter();
    let mut data = Vec::new();
    loop {
        match decoder.take(&mut input)? {
            Piece::Data(piece) => {
                assert!(!piece.is_empty());
                data.extend_from_slice(&piece);
            }
            Piece::End(trailers) => {
                for piece in pieces {
                    input.extend_from_slice(piece);
                }
                return Ok((data, trailers, input));
            }
            Piece::More => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => return Err(Bad::request("it does not end")),
            },
        }
    }
}

#[test]
fn extensions_are_dropped_and_trailers_kept() {
    let (data, trailers, rest) =
        decode(&[b"4;a=b\r\nWiki\r\n0005\r\npedia\r\n0\r\nA: 1\r\n\r\nGET"]).unwrap();
    assert_eq!((&data[..], &rest[..]), (&b"Wikipedia"[..], &b"GET"[..]));
    assert_eq!(trailers.unwrap()["a"], "1");
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for text in [
        "4\nWiki\r\n0\r\n\r\n",
        "4\r\nWiki\n0\r\n\r\n",
        "4\r\nWikipedia\r\n0\r\n\r\n",
        "4 \r\nWiki\r\n0\r\n\r\n",
        " 4\r\nWiki\r\n0\r\n\r\n",
        "+4\r\nWiki\r\n0\r\n\r\n",
        "-4\r\nWiki\r\n0\r\n\r\n",
        "0x4\r\nWiki\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "4;a\rb\r\nWiki\r\n0\r\n\r\n",
        "4;a\0b\r\nWiki\r\n0\r\n\r\n",
        "g\r\n\r\n",
        "fffffffffffffffff\r\n",
        "4\r\nWiki\r\n0\r\nA : 1\r\n\r\n",
        "4\r\nWiki\r\n0\r\n A: 1\r\n\r\n",
        "4\r\nWiki\r\n0\r\n\n",
    ] {
        assert!(decode(&[text.as_bytes()]).is_err(), "{text:?}");
    }
    let long = format!("4;{}\r\nWiki\r\n0\r\n\r\n", "x".repeat(300));
    assert!(decode(&[long.as_bytes()]).is_err());
    let endless = "4;".to_owned() + &"x".repeat(300);
    let mut bytes = BytesMut::from(endless.as_str());
    assert!(
        Decoder::default().take(&mut bytes).is_err(),
        "a size line is not waited for forever"
    );
}

proptest! {
    /// However a body is cut into chunks, and those into reads, the same comes out, and what follows stays.
    #[test]
    fn the_same_comes_out_however_it_is_cut(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        cut in 1_usize..20,
    ) {
        let mut text = Vec::new();
        for chunk in &chunks {
            text.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            text.extend_from_slice(chunk);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"0\r\n\r\nnext");
        let pieces: Vec<&[u8]> = text.chunks(cut).collect();
        let (data, trailers, rest) = decode(&pieces).unwrap();
        prop_assert_eq!(data, chunks.concat());
        prop_assert!(trailers.is_none());
        prop_assert_eq!(&rest[..], b"next");
    }

    /// Whatever comes, it is refused or read, and never more comes out than went in.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok((data, _, rest)) = decode(&[&bytes]) {
            prop_assert!(data.len() + rest.len() < bytes.len());
        }
    }
}
