//! HTTP/2 in a test's hand (RFC 9113): frames as the test writes them, right or wrong. In: a [`Wire`]. Out: frames that came
//! back, and what became of a stream. Header blocks are written plainly, without a table; of those that come only the
//! status is read, which every encoder writes first.

use std::net::SocketAddr;

use super::{End, Wire};
use crate::lab::Host;

/// What every client says first (§3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (§6).
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const PRIORITY: u8 = 2;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PUSH_PROMISE: u8 = 5;
/// See [`DATA`].
pub const PING: u8 = 6;
/// See [`DATA`].
pub const GOAWAY: u8 = 7;
/// See [`DATA`].
pub const WINDOW_UPDATE: u8 = 8;
/// See [`DATA`].
pub const CONTINUATION: u8 = 9;

/// Flags (§6); ACK is the same bit as this.
pub const END_STREAM: u8 = 1;
/// See [`END_STREAM`].
pub const ACK: u8 = 1;
/// See [`END_STREAM`].
pub const END_HEADERS: u8 = 4;
/// See [`END_STREAM`].
pub const PADDED: u8 = 8;

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A whole response: its status and body.
    Answered(u16, Vec<u8>),
    /// `RST_STREAM` with this code.
    Reset(u32),
    /// GOAWAY with this code.
    GoAway(u32),
    /// The connection ended without a word.
    Ended(End),
}

/// A connection that speaks HTTP/2.
#[derive(Debug)]
pub struct Frames {
    wire: Wire,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    let mut bytes = length.to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block of literal fields (RFC 7541 §6.2.2).
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            bytes.extend(integer(text.len()));
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// An integer with a prefix of 7 bits, and nothing in the bit before (RFC 7541 §5.1).
fn integer(mut value: usize) -> Vec<u8> {
    if value < 127 {
        return vec![value as u8];
    }
    let mut bytes = vec![127];
    value -= 127;
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

impl Frames {
    /// Connects, and says the preface and empty settings.
    pub fn connect(host: &Host, to: SocketAddr) -> Result<Self, End> {
        let mut frames = Self::silent(host, to)?;
        frames.say(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())?;
        Ok(frames)
    }

    /// Connects and says nothing.
    pub fn silent(host: &Host, to: SocketAddr) -> Result<Self, End> {
        Wire::connect(host, to).map(|wire| Self { wire })
    }

    /// Sends bytes.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.wire.say(bytes)
    }

    /// The next frame. Settings and pings are answered.
    pub fn read(&mut self) -> Result<Frame, End> {
        let head = self.wire.take(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff,
            payload: self.wire.take(length as usize)?,
        };
        if matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0 {
            let echo = if frame.kind == PING {
                &frame.payload[..]
            } else {
                &[]
            };
            // The other side may have gone on to close.
            let _ = self.say(&self::frame(frame.kind, ACK, 0, echo));
        }
        Ok(frame)
    }

    /// Reads until it is known what became of the stream, or of the connection.
    pub fn fate(&mut self, stream: u32) -> Fate {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let frame = match self.read() {
                Ok(frame) => frame,
                Err(end) => return Fate::Ended(end),
            };
            match frame.kind {
                GOAWAY if frame.code(4) != 0 => return Fate::GoAway(frame.code(4)),
                RST_STREAM if frame.stream == stream => return Fate::Reset(frame.code(0)),
                HEADERS if frame.stream == stream && status < 200 => status = frame.status(),
                DATA if frame.stream == stream => body.extend_from_slice(&frame.payload),
                _ => continue,
            }
            if frame.flags & END_STREAM != 0 && matches!(frame.kind, HEADERS | DATA) {
                return Fate::Answered(status, body);
            }
        }
    }

    /// Lets so many more bytes come, on the stream and the connection.
    pub fn widen(&mut self, stream: u32, bytes: u32) -> Result<(), End> {
        let grow = |stream| frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
        self.say(&[grow(0), grow(stream)].concat())
    }

    /// Reads on, and answers pings, until the other side ends the connection.
    pub fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.read() {
                return end;
            }
        }
    }

    /// Whether the connection still answers a ping, which tells that all before it has been read.
    pub fn lives(&mut self) -> Result<(), Fate> {
        let ping = frame(PING, 0, 0, b"still up");
        self.say(&ping).map_err(Fate::Ended)?;
        loop {
            let frame = self.read().map_err(Fate::Ended)?;
            match frame.kind {
                GOAWAY if frame.code(4) != 0 => return Err(Fate::GoAway(frame.code(4))),
                PING if frame.payload == b"still up" => return Ok(()),
                _ => {}
            }
        }
    }
}

impl Frame {
    fn code(&self, at: usize) -> u32 {
        let code = self
            .payload
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok());
        code.map_or(u32::MAX, u32::from_be_bytes)
    }

    /// The status in a response's header block; 0: none could be read.
    fn status(&self) -> u16 {
        let block = &self.payload[..];
        let start = block
            .iter()
            .position(|byte| byte & 0xe0 != 0x20)
            .unwrap_or_default();
        match &block[start..] {
            // RFC 7541, appendix A.
            [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
            // A literal with the name of an entry of the table, Huffman-coded or not.
            [0x48..=0x4e | 0x08..=0x0e, 3, digits @ ..] => digits.iter().take(3).fold(0, |number, digit| {
                number * 10 + u16::from(digit.saturating_sub(b'0'))
            }),
            [0x48..=0x4e | 0x08..=0x0e, 0x82 | 0x83, coded @ ..] => huffman_digits(coded),
            _ => 0,
        }
    }
}

/// Three digits (RFC 7541, appendix B): 0 to 2 are the five bits of their value, 3 to 9 six bits from 011001 on.
fn huffman_digits(coded: &[u8]) -> u16 {
    let bits = coded
        .iter()
        .take(3)
        .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    let mut at = 8 * coded.len().min(3);
    let mut number = 0;
    for _ in 0..3 {
        let Some(next) = at.checked_sub(5) else { return 0 };
        let five = bits >> next & 31;
        let digit = if five < 3 {
            at = next;
            five
        } else {
            let Some(next) = at.checked_sub(6) else { return 0 };
            at = next;
            (bits >> next & 63).saturating_sub(0b01_1001 - 3)
        };
        number = number * 10 + digit as u16;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read() {
        let of = |payload: &[u8]| {
            Frame {
                kind: HEADERS,
                flags: 0,
                stream: 1,
                payload: payload.to_vec(),
            }
            .status()
        };
        assert_eq!(of(&[0x88]), 200);
        assert_eq!(of(&[0x20, 0x8c, 0x61]), 400);
        assert_eq!(of(b"\x48\x03502"), 502);
        // RFC 7541 §C.6.1 and §C.6.2: 302 and 307.
        assert_eq!(of(&[0x48, 0x82, 0x64, 0x02, 0x58]), 302);
        assert_eq!(of(&[0x48, 0x83, 0x64, 0x0e, 0xff]), 307);
    }
}
