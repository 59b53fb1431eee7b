//! The record layer of TLS 1.3 (RFC 8446 §5.2) for bulk data, cheaper than a general one: records are sealed in one go
//! into one buffer, and of those that come only some are opened, the others are counted by their length. In: a handshake
//! that rustls has done. Out: records.

use std::os::fd::OwnedFd;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};

use super::LoadError;
use super::socket::{self, Received};

const HEADER: usize = 5;
const TAG: usize = 16;
const APPLICATION_DATA: u8 = 23;
const HANDSHAKE: u8 = 22;
/// Plain bytes of a full record.
const FULL: usize = 1 << 14;
/// Bytes of one receive.
const ROOM: usize = 16 * (FULL + HEADER + TAG + 1);

/// Both directions of one connection.
#[derive(Debug)]
pub(crate) struct Records {
    sealing: Direction,
    opening: Direction,
    /// Sealed; sent up to `sent`.
    out: Vec<u8>,
    sent: usize,
    /// Received; `filled` bytes of it.
    came: Vec<u8>,
    filled: usize,
}

struct Direction {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl std::fmt::Debug for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "after {} records", self.sequence)
    }
}

impl Records {
    /// After a handshake that chose AES-128-GCM.
    pub(crate) fn new(secrets: ExtractedSecrets) -> Result<Self, LoadError> {
        Ok(Self {
            sealing: Direction::new(secrets.tx)?,
            opening: Direction::new(secrets.rx)?,
            out: Vec::with_capacity(ROOM),
            sent: 0,
            came: vec![0; 2 * ROOM],
            filled: 0,
        })
    }

    /// Whether all that was sealed has been sent, which this tries.
    pub(crate) fn flush(&mut self, fd: &OwnedFd) -> nix::Result<bool> {
        if self.sent < self.out.len() {
            self.sent += socket::send(fd, &self.out[self.sent..])?;
        }
        Ok(self.sent == self.out.len())
    }

    /// Seals `data`, to be sent by [`Records::flush`], which has sent everything before.
    pub(crate) fn seal(&mut self, data: &[u8]) -> Result<(), LoadError> {
        self.out.clear();
        self.sent = 0;
        for plain in data.chunks(FULL) {
            let length = (plain.len() + 1 + TAG) as u16;
            let [high, low] = length.to_be_bytes();
            let header = [APPLICATION_DATA, 3, 3, high, low];
            self.out.extend(header);
            let start = self.out.len();
            self.out.extend_from_slice(plain);
            self.out.push(APPLICATION_DATA);
            let nonce = self.sealing.nonce();
            let sealed = &mut self.out[start..];
            let tag = self
                .sealing
                .key
                .seal_in_place_separate_tag(nonce, Aad::from(header), sealed);
            let tag = tag.map_err(LoadError::tls)?;
            self.out.extend_from_slice(tag.as_ref());
        }
        Ok(())
    }

    /// Receives once and returns how many plain bytes came. With `open` every record is opened and its text given to
    /// `take`, in order; without it no record is opened, and all must be data.
    pub(crate) fn receive(
        &mut self,
        fd: &OwnedFd,
        open: bool,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<usize>, LoadError> {
        let received = socket::receive(fd, &mut self.came[self.filled..]);
        match received.map_err(LoadError::system("receiving bulk data"))? {
            Received::Nothing => return Ok(Some(0)),
            Received::Closed => return Ok(None),
            Received::Bytes(count) => self.filled += count,
        }
        let (mut at, mut plain) = (0, 0);
        while let Some(header) = self.came[at..self.filled].first_chunk::<HEADER>() {
            let header = *header;
            let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
            let body = at + HEADER..at + HEADER + length;
            if header[0] != APPLICATION_DATA || length <= TAG {
                return Err(LoadError::Tls(format!(
                    "a record of type {} and {length} bytes",
                    header[0]
                )));
            }
            if body.end > self.filled {
                break;
            }
            at = body.end;
            let nonce = self.opening.nonce();
            if !open {
                plain += length - TAG - 1;
                continue;
            }
            let text = self
                .opening
                .key
                .open_in_place(nonce, Aad::from(header), &mut self.came[body]);
            match text.map_err(|_| LoadError::Corrupt { end: "client" })? {
                [data @ .., APPLICATION_DATA] if take(data) => plain += data.len(),
                // Tickets.
                [.., HANDSHAKE] => {}
                _ => return Err(LoadError::Corrupt { end: "client" }),
            }
        }
        self.came.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(Some(plain))
    }
}

impl Direction {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, LoadError> {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            return Err(LoadError::Tls(
                "another cipher than the one that was offered".to_owned(),
            ));
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).map_err(LoadError::tls)?;
        let iv = iv.as_ref().try_into().map_err(LoadError::tls)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            iv,
            sequence,
        })
    }

    /// For the next record (RFC 8446 §5.3).
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, of) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}
