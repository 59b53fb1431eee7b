//! The version of a piece: its content alone, so that two operators that compile the same say the same.

use std::fmt;
use std::str::FromStr;

/// The first 128 bits of the SHA-256 of a piece's wire form; written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(u128);

impl Hash {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_parts([bytes])
    }

    /// Of these bytes, one after the other.
    pub(crate) fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for part in parts {
            context.update(part);
        }
        let digest = context.finish();
        let first = digest.as_ref().iter().take(16);
        Self(first.fold(0, |bits, byte| bits << 8 | u128::from(*byte)))
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is 32 hexadecimal digits")]
pub struct NotAHash;

impl FromStr for Hash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAHash);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| NotAHash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_head_of_sha_256() {
        // FIPS 180-2, appendix B.1
        assert_eq!(Hash::of(b"abc").to_string(), "ba7816bf8f01cfea414140de5dae2223");
        assert_eq!(Hash::of_parts([&b"a"[..], b"bc"]), Hash::of(b"abc"));
    }

    #[test]
    fn text_comes_back_and_nonsense_does_not() {
        let hash = Hash::of(b"");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for nonsense in ["", "1", "+0000000000000000000000000000001", &"0".repeat(33)] {
            assert_eq!(nonsense.parse::<Hash>(), Err(NotAHash), "{nonsense:?}");
        }
    }
}
