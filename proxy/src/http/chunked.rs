//! The chunked transfer coding (RFC 9112 §7.1). In: bytes as they come. Out: data, trailers, or what is wrong. Strict as
//! [`super::head`] is: extensions are read and dropped, lines end in CRLF.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::head::{self, Bad};

/// Bytes of a chunk's size line: hex digits and extensions.
const MAX_SIZE_LINE: usize = 256;
/// Bytes of all trailers together.
const MAX_TRAILERS: usize = 8 * 1024;

/// Where a reader of a chunked body stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoder {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// What came out.
#[derive(Debug)]
pub enum Piece {
    /// Data, never empty.
    Data(Bytes),
    /// The end, with what came after the data.
    End(Option<HeaderMap>),
    /// Nothing before there are more bytes.
    More,
}

impl Decoder {
    /// Takes the next piece off the front of `bytes`.
    ///
    /// # Errors
    /// The coding is broken: nothing that follows can be trusted.
    pub fn take(&mut self, bytes: &mut BytesMut) -> Result<Piece, Bad> {
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = line(bytes, MAX_SIZE_LINE, "a chunk size line that is too long")? else {
                        return Ok(Piece::More);
                    };
                    let size = chunk_size(&line)?;
                    self.state = if size == 0 {
                        State::Trailers
                    } else {
                        State::Data(size)
                    };
                }
                State::Data(left) => {
                    if bytes.is_empty() {
                        return Ok(Piece::More);
                    }
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let left = left - here as u64;
                    self.state = if left == 0 {
                        State::DataEnd
                    } else {
                        State::Data(left)
                    };
                    return Ok(Piece::Data(bytes.split_to(here).freeze()));
                }
                State::DataEnd => {
                    if bytes.len() < 2 && b"\r\n".starts_with(bytes) {
                        return Ok(Piece::More);
                    }
                    if !bytes.starts_with(b"\r\n") {
                        return Err(Bad::request("a chunk that is longer than its size"));
                    }
                    let _ = bytes.split_to(2);
                    self.state = State::Size;
                }
                State::Trailers => {
                    if bytes.starts_with(b"\r\n") {
                        let _ = bytes.split_to(2);
                        self.state = State::Done;
                        return Ok(Piece::End(None));
                    }
                    if bytes.len() < 2 && b"\r\n".starts_with(bytes) {
                        return Ok(Piece::More);
                    }
                    let Some(trailers) = head::take_trailers(bytes, MAX_TRAILERS)? else {
                        return Ok(Piece::More);
                    };
                    self.state = State::Done;
                    return Ok(Piece::End(Some(trailers)));
                }
                State::Done => return Ok(Piece::End(None)),
            }
        }
    }
}

/// A line without its CRLF; none: it is not complete.
fn line(bytes: &mut BytesMut, limit: usize, too_long: &'static str) -> Result<Option<Bytes>, Bad> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() > limit {
            Err(Bad::request(too_long))
        } else {
            Ok(None)
        };
    };
    if end > limit {
        return Err(Bad::request(too_long));
    }
    if end == 0 || bytes[end - 1] != b'\r' {
        return Err(Bad::request("a chunk size line that ends in LF without CR"));
    }
    let mut line = bytes.split_to(end + 1).freeze();
    line.truncate(end - 1);
    Ok(Some(line))
}

fn chunk_size(line: &[u8]) -> Result<u64, Bad> {
    let bad = Bad::request("a chunk size that is no hexadecimal number");
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 15 {
        return Err(bad);
    }
    let rest = &line[digits..];
    // RFC 9112 §7.1.1; whitespace before the semicolon is "bad" there, and read differently by different parsers.
    let extension = rest.is_empty() || rest[0] == b';';
    if !extension || !rest.iter().all(|b| matches!(b, b'\t' | b' '..=b'~')) {
        return Err(bad);
    }
    let digits = std::str::from_utf8(&line[..digits]).map_err(|_| bad)?;
    u64::from_str_radix(digits, 16).map_err(|_| bad)
}

#[cfg(test)]
mod tests;
