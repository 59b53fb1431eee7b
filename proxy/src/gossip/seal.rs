//! Datagrams that only members can write or read. In: the pool's keys, plaintext. Out: sealed datagrams, and the plaintext of
//! those that a member sealed.
//!
//! A datagram is a header in the clear, which is authenticated, and a sealed body (ChaCha20-Poly1305, RFC 8439):
//!
//! ```text
//! 1 version | 8 key id | 16 boot of the sender | 4 lane | 8 counter | body | 16 tag
//! ```
//!
//! No nonce is ever used twice: each run of a process seals with keys of its own, derived from the shared key and its random
//! boot id (HKDF, RFC 5869), and within a run the nonce is the lane (one per recipient and session, never used again) and a
//! counter in it.

use std::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use serde::{Deserialize, Serialize};
use switchyard_snapshot::GossipKey;

use super::counters::Refused;

/// The longest datagram, in bytes: it fits into every path's MTU of today, tunnels included.
pub const MAX_DATAGRAM: usize = 1_400;
/// The longest plaintext, in bytes.
pub(crate) const MAX_PLAINTEXT: usize = MAX_DATAGRAM - HEADER - TAG;
/// Keys that may be held at a time.
pub const MAX_KEYS: usize = 8;

const VERSION: u8 = 1;
const HEADER: usize = 37;
const TAG: usize = 16;
const KEY_LENGTH: usize = 32;

/// One run of one process: random, so that it never comes again.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Boot(pub(crate) [u8; 16]);

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Boot({:x})", u128::from_be_bytes(self.0))
    }
}

/// What a key is called on the wire: derived from it, and of no use to find it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct KeyId([u8; 8]);

/// Why keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// None at all.
    #[error("gossip has no key: without one nobody could be told from a stranger")]
    None,
    /// More than [`MAX_KEYS`].
    #[error("gossip has {0} keys; at most {MAX_KEYS} can be held: retire the old ones")]
    TooMany(usize),
    /// One of them is not 32 bytes in hex.
    #[error("gossip key {0} (counted from 1) is not 32 bytes in hex: 64 digits")]
    NotHex(usize),
}

/// The keys that the members share. The first seals, all open.
pub struct Keyring(Vec<SharedKey>);

struct SharedKey {
    id: KeyId,
    secret: Prk,
}

/// Length of derived bytes, for HKDF.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl Keyring {
    /// Derives what is needed of each key.
    ///
    /// # Errors
    /// None, too many, or one that is not hex: whoever wrote the key has to mend it.
    pub fn new(keys: &[GossipKey]) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::None);
        }
        if keys.len() > MAX_KEYS {
            return Err(KeyError::TooMany(keys.len()));
        }
        let salt = Salt::new(HKDF_SHA256, b"switchyard gossip");
        let keys = keys.iter().enumerate().map(|(index, key)| {
            let bytes = unhex(key.key.reveal()).ok_or(KeyError::NotHex(index + 1))?;
            SharedKey::new(salt.extract(&bytes)).map_err(|_| KeyError::NotHex(index + 1))
        });
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// The datagram that a run of a process would send with the first key: what a member can do to others, to try whether they
    /// bear it. `lane` 0 is for greetings. None: `plain` is longer than what a datagram holds.
    pub fn seal(&self, run: [u8; 16], lane: u32, counter: u64, plain: &[u8]) -> Option<Vec<u8>> {
        let boot = Boot(run);
        let key = self.of_boot(self.ids().next()?, boot)?;
        key.seal(boot, lane, counter, plain)
    }

    /// What the keys are called, the sealing one first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|key| key.id)
    }

    /// The key to seal with for somebody who opens these; the first one, if nothing is known of them.
    pub(crate) fn common(&self, opens: &[KeyId]) -> Option<KeyId> {
        let common = self.ids().find(|id| opens.contains(id));
        common.or_else(|| self.ids().next())
    }

    /// The key of one run of one process; none: the shared key is not held (any more).
    pub(crate) fn of_boot(&self, id: KeyId, boot: Boot) -> Option<BootKey> {
        let shared = self.0.iter().find(|key| key.id == id)?;
        let info: [&[u8]; 2] = [b"boot", &boot.0];
        let key = shared.secret.expand(&info, &CHACHA20_POLY1305).ok()?;
        let key = LessSafeKey::new(UnboundKey::from(key));
        Some(BootKey { id, key })
    }
}

impl SharedKey {
    fn new(secret: Prk) -> Result<Self, Unspecified> {
        let mut id = KeyId::default();
        secret.expand(&[b"id"], Length(id.0.len()))?.fill(&mut id.0)?;
        Ok(Self { id, secret })
    }
}

/// The derived key of one run of one process.
#[derive(Clone)]
pub(crate) struct BootKey {
    pub(crate) id: KeyId,
    key: LessSafeKey,
}

impl fmt::Debug for BootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BootKey").field(&self.id).finish()
    }
}

/// What stands in the clear before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) key: KeyId,
    /// Of the sender.
    pub(crate) boot: Boot,
    /// Which of the sender's sessions; 0: none, a greeting.
    pub(crate) lane: u32,
    /// Grows within the lane.
    pub(crate) counter: u64,
}

impl Header {
    /// Reads what stands in the clear.
    pub(crate) fn read(datagram: &[u8]) -> Result<Self, Refused> {
        if datagram.len() > MAX_DATAGRAM {
            return Err(Refused::TooLong);
        }
        if datagram.len() < HEADER + TAG {
            return Err(Refused::Malformed);
        }
        let (&version, rest) = datagram.split_first().ok_or(Refused::Malformed)?;
        if version != VERSION {
            return Err(Refused::Malformed);
        }
        let (key, rest) = rest.split_first_chunk().ok_or(Refused::Malformed)?;
        let (boot, rest) = rest.split_first_chunk().ok_or(Refused::Malformed)?;
        let (lane, rest) = rest.split_first_chunk().ok_or(Refused::Malformed)?;
        let (counter, _) = rest.split_first_chunk().ok_or(Refused::Malformed)?;
        Ok(Self {
            key: KeyId(*key),
            boot: Boot(*boot),
            lane: u32::from_be_bytes(*lane),
            counter: u64::from_be_bytes(*counter),
        })
    }

    fn write(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.key.0);
        bytes[9..25].copy_from_slice(&self.boot.0);
        bytes[25..29].copy_from_slice(&self.lane.to_be_bytes());
        bytes[29..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }

    fn nonce(self) -> Nonce {
        let mut bytes = [0; NONCE_LEN];
        bytes[..4].copy_from_slice(&self.lane.to_be_bytes());
        bytes[4..].copy_from_slice(&self.counter.to_be_bytes());
        Nonce::assume_unique_for_key(bytes)
    }
}

impl BootKey {
    /// The datagram. None: `plain` is longer than [`MAX_PLAINTEXT`].
    pub(crate) fn seal(&self, boot: Boot, lane: u32, counter: u64, plain: &[u8]) -> Option<Vec<u8>> {
        if plain.len() > MAX_PLAINTEXT {
            return None;
        }
        let header = Header {
            key: self.id,
            boot,
            lane,
            counter,
        };
        let clear = header.write();
        let mut datagram = Vec::with_capacity(HEADER + plain.len() + TAG);
        datagram.extend(clear);
        datagram.extend(plain);
        let sealed =
            self.key
                .seal_in_place_separate_tag(header.nonce(), Aad::from(clear), &mut datagram[HEADER..]);
        datagram.extend(sealed.ok()?.as_ref());
        Some(datagram)
    }

    /// The plaintext, written over the datagram's body.
    ///
    /// # Errors
    /// [`Refused::Forged`]: nobody with this key and this boot id sealed it.
    pub(crate) fn open<'a>(&self, header: Header, datagram: &'a mut [u8]) -> Result<&'a mut [u8], Refused> {
        let (clear, body) = datagram.split_at_mut_checked(HEADER).ok_or(Refused::Malformed)?;
        self.key
            .open_in_place(header.nonce(), Aad::from(clear), body)
            .map_err(|_| Refused::Forged)
    }
}

fn unhex(text: &str) -> Option<[u8; KEY_LENGTH]> {
    let digits = text.trim().as_bytes();
    if digits.len() != 2 * KEY_LENGTH {
        return None;
    }
    let mut bytes = [0; KEY_LENGTH];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_snapshot::Private;

    fn key(digit: char) -> GossipKey {
        GossipKey {
            key: Private::new(digit.to_string().repeat(64)),
        }
    }

    const BOOT: Boot = Boot([7; 16]);

    #[test]
    fn what_is_sealed_opens_and_no_changed_bit_does() {
        let ring = Keyring::new(&[key('a'), key('b')]).unwrap();
        let id = ring.ids().next().unwrap();
        let sealed = ring
            .of_boot(id, BOOT)
            .unwrap()
            .seal(BOOT, 3, 9, b"hello")
            .unwrap();
        let header = Header::read(&sealed).unwrap();
        assert_eq!(
            (header.key, header.boot, header.lane, header.counter),
            (id, BOOT, 3, 9)
        );
        let opens = |datagram: &[u8]| {
            let mut bytes = datagram.to_vec();
            let header = Header::read(&bytes)?;
            let key = ring.of_boot(header.key, header.boot).ok_or(Refused::NoKey)?;
            key.open(header, &mut bytes).map(|plain| plain.to_vec())
        };
        assert_eq!(opens(&sealed).unwrap(), b"hello");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(opens(&changed).is_err(), "bit {bit} changed");
        }
        for length in 0..sealed.len() {
            assert!(opens(&sealed[..length]).is_err(), "cut to {length}");
        }
        assert_eq!(opens(&[0; MAX_DATAGRAM + 1]).unwrap_err(), Refused::TooLong);
    }

    #[test]
    fn another_key_boot_lane_or_counter_seals_otherwise() {
        let ring = Keyring::new(&[key('a'), key('b')]).unwrap();
        let mut bodies = std::collections::BTreeSet::new();
        for id in ring.ids() {
            for boot in [BOOT, Boot([8; 16])] {
                let key = ring.of_boot(id, boot).unwrap();
                for (lane, counter) in [(0, 1), (1, 0), (1, 1)] {
                    let sealed = key.seal(boot, lane, counter, &[0; 64]).unwrap();
                    bodies.insert(sealed[HEADER..HEADER + 64].to_vec());
                }
            }
        }
        assert_eq!(bodies.len(), 12, "no two keystreams are the same");
    }

    #[test]
    fn the_longest_datagram_has_the_longest_plaintext() {
        let ring = Keyring::new(&[key('c')]).unwrap();
        let key = ring.of_boot(ring.ids().next().unwrap(), BOOT).unwrap();
        assert_eq!(
            key.seal(BOOT, 1, 1, &[0; MAX_PLAINTEXT]).unwrap().len(),
            MAX_DATAGRAM
        );
        assert_eq!(key.seal(BOOT, 1, 1, &[0; MAX_PLAINTEXT + 1]), None);
    }

    #[test]
    fn seals_with_a_key_that_the_other_opens() {
        let (old, both) = (
            Keyring::new(&[key('a')]).unwrap(),
            Keyring::new(&[key('b'), key('a')]).unwrap(),
        );
        let opens: Vec<_> = old.ids().collect();
        assert_eq!(both.common(&opens), opens.first().copied());
        assert_eq!(both.common(&[]), both.ids().next());
    }

    #[test]
    fn keys_that_cannot_be_used_are_named() {
        assert_eq!(Keyring::new(&[]).unwrap_err(), KeyError::None);
        let keys: Vec<_> = "123456789".chars().map(key).collect();
        assert_eq!(Keyring::new(&keys).unwrap_err(), KeyError::TooMany(9));
        let short = GossipKey {
            key: Private::new("abc"),
        };
        assert_eq!(Keyring::new(&[key('1'), short]).unwrap_err(), KeyError::NotHex(2));
        let shown = format!("{:?}", Keyring::new(&[key('1')]).unwrap());
        assert!(!shown.contains("111111"), "{shown}");
    }
}
