//! The beginning of a CONNECT packet (§3.1). In: bytes as they come. Out: that they are one of MQTT 5, as soon as that and the
//! longest packet that the client takes are known. Its payload is not waited for.

use super::CONNECT;

/// Protocol name and version (§3.1.2.1, §3.1.2.2).
const PROTOCOL: &[u8] = b"\x00\x04MQTT\x05";

/// What a client's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    More,
    /// Something else, another version, or malformed: the server shall say so.
    NotMine,
    Connect {
        /// Bytes of the longest packet that the client takes.
        longest: u32,
    },
}

/// Why it cannot be read on.
enum Stop {
    More,
    NotMine,
}

/// Looks at what a client has said. Pure; never panics.
pub(super) fn look(said: &[u8]) -> Look {
    match connect(said) {
        Ok(longest) => Look::Connect { longest },
        Err(Stop::More) => Look::More,
        Err(Stop::NotMine) => Look::NotMine,
    }
}

fn connect(said: &[u8]) -> Result<u32, Stop> {
    let mut bytes = Bytes {
        rest: said,
        beyond: usize::MAX,
    };
    bytes.expect(&[CONNECT])?;
    let length = bytes.length()?;
    bytes.limit(length)?;
    bytes.expect(PROTOCOL)?;
    let [flags] = bytes.array()?;
    // The reserved bit (§3.1.2.3), and a quality of service that does not exist (§3.1.2.6).
    if flags & 1 != 0 || flags & 0x18 == 0x18 {
        return Err(Stop::NotMine);
    }
    let _keep_alive: [u8; 2] = bytes.array()?;
    let length = bytes.length()?;
    bytes.limit(length)?;
    longest(bytes)
}

/// Walks over the properties (§3.1.2.11), of which the maximum packet size matters.
fn longest(mut properties: Bytes<'_>) -> Result<u32, Stop> {
    let mut longest = None;
    while !properties.is_done() {
        let [property] = properties.array()?;
        match property {
            0x27 => {
                let size = u32::from_be_bytes(properties.array()?);
                if size == 0 || longest.replace(size).is_some() {
                    return Err(Stop::NotMine);
                }
            }
            0x11 => {
                let _: [u8; 4] = properties.array()?;
            }
            0x21 | 0x22 => {
                let _: [u8; 2] = properties.array()?;
            }
            0x17 | 0x19 => {
                let _: [u8; 1] = properties.array()?;
            }
            0x15 | 0x16 => properties.text()?,
            0x26 => {
                properties.text()?;
                properties.text()?;
            }
            _ => return Err(Stop::NotMine),
        }
    }
    Ok(longest.unwrap_or(u32::MAX))
}

/// What is left to be read.
struct Bytes<'a> {
    /// What has come of it.
    rest: &'a [u8],
    /// How much there will be, as whoever sends it says.
    beyond: usize,
}

impl<'a> Bytes<'a> {
    fn is_done(&self) -> bool {
        self.beyond == 0
    }

    /// What is read next ends after `length` bytes.
    fn limit(&mut self, length: usize) -> Result<(), Stop> {
        if length > self.beyond {
            return Err(Stop::NotMine);
        }
        self.beyond = length;
        self.rest = &self.rest[..self.rest.len().min(length)];
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        if count > self.beyond {
            return Err(Stop::NotMine);
        }
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Stop::More)?;
        self.rest = rest;
        self.beyond -= count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// What begins otherwise is known at once.
    fn expect(&mut self, expected: &[u8]) -> Result<(), Stop> {
        if self.rest.iter().zip(expected).any(|(one, other)| one != other) {
            return Err(Stop::NotMine);
        }
        self.take(expected.len()).map(drop)
    }

    /// A variable byte integer, in as few bytes as it takes (§1.5.5).
    fn length(&mut self) -> Result<usize, Stop> {
        let mut length = 0;
        for place in 0..4 {
            let [digit] = self.array()?;
            length |= usize::from(digit & 0x7f) << (7 * place);
            if digit & 0x80 == 0 {
                return if digit == 0 && place > 0 {
                    Err(Stop::NotMine)
                } else {
                    Ok(length)
                };
            }
        }
        Err(Stop::NotMine)
    }

    /// A string or binary data (§1.5.4, §1.5.6), which nobody here looks at.
    fn text(&mut self) -> Result<(), Stop> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(usize::from(length)).map(drop)
    }
}
