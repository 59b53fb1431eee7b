//! Keys by which sidecars relay. In: a key of gossip. Out: another that follows from it, and from which it cannot be computed.
//!
//! A sidecar runs in somebody else's pod, so it is given no key by which it could say anything in gossip; but the proxies to
//! which it relays its client must know that it is one of ours. They compute the same key from theirs.

use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use switchyard_snapshot::{GossipKey, Private};

/// Bytes of a key.
const BYTES: usize = 32;

/// Keeps this use of a key apart from every other (RFC 5869 §3.2).
const LABEL: &[u8] = b"switchyard relays of sidecars 1";

struct Bytes;

impl KeyType for Bytes {
    fn len(&self) -> usize {
        BYTES
    }
}

/// The key of sidecars that follows from a key of gossip; none: that is not 32 bytes in hex.
pub fn key_of_sidecars(key: &GossipKey) -> Option<GossipKey> {
    let secret = bytes(key.key.reveal())?;
    let mut derived = [0; BYTES];
    let extracted = Salt::new(HKDF_SHA256, &[]).extract(&secret);
    extracted
        .expand(&[LABEL], Bytes)
        .and_then(|expanded| expanded.fill(&mut derived))
        .ok()?;
    let digit = |half: u8| char::from_digit(u32::from(half), 16);
    let digits = derived
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    let hex: String = digits.flatten().collect();
    Some(GossipKey {
        key: Private::new(hex),
    })
}

fn bytes(hex: &str) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    if hex.len() != 2 * BYTES || !hex.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> GossipKey {
        GossipKey {
            key: Private::new(text),
        }
    }

    #[test]
    fn the_same_key_makes_the_same_and_every_other_another() {
        let (one, two) = (key(&"07".repeat(32)), key(&"08".repeat(32)));
        let derived = key_of_sidecars(&one).unwrap();
        assert_eq!(key_of_sidecars(&one), Some(derived.clone()));
        assert_eq!(derived.key.reveal().len(), 64);
        assert_ne!(derived, one);
        assert_ne!(key_of_sidecars(&two), Some(derived));
    }

    #[test]
    fn what_is_no_key_makes_none() {
        for text in ["", "07", &"0x".repeat(32), &"é".repeat(32)] {
            assert_eq!(key_of_sidecars(&key(text)), None, "{text}");
        }
    }
}
