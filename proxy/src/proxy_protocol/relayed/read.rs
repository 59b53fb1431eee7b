//! Reading a relay header. In: bytes that anybody may have written. Out: what a proxy of ours says.
//!
//! Nothing beyond the frame is looked at before the signature holds.

use ring::hmac;
use switchyard_snapshot::ChainId;

use super::super::{Addresses, Header, Invalid, v1, v2};
use super::{Fault, MAC, MOST_HOPS, NONCE, Relayed, TYPE, VERSION};
use crate::socket::canonical;

pub(super) fn open(keys: &[hmac::Key], bytes: &[u8]) -> Result<Option<(Relayed, usize)>, Fault> {
    // Version 1 has no room for a signature.
    if bytes.starts_with(v1::SIGNATURE) {
        return Err(Fault::Unsigned);
    }
    let (header, length) = match super::super::decode(bytes) {
        Ok(Some(read)) => read,
        Ok(None) => return Ok(None),
        Err(Invalid::NoHeader) => return Err(Fault::NoHeader),
        Err(invalid) => return Err(Fault::Broken(invalid)),
    };
    let whole = bytes.get(..length).ok_or(Fault::Unsigned)?;
    let Header::Proxied(Addresses { source, destination }) = header else {
        return Err(Fault::Unsigned);
    };
    let [TYPE, high, low, value @ ..] = v2::tlvs(whole) else {
        return Err(Fault::Unsigned);
    };
    if usize::from(u16::from_be_bytes([*high, *low])) != value.len() {
        return Err(Fault::Unsigned);
    }
    let (body, _) = value.split_last_chunk::<MAC>().ok_or(Fault::Unsigned)?;
    let (signed, mac) = whole.split_last_chunk::<MAC>().ok_or(Fault::Unsigned)?;
    // In constant time each; how many keys there are is no secret.
    if !keys.iter().any(|key| hmac::verify(key, signed, mac).is_ok()) {
        return Err(Fault::Forged);
    }
    let addresses = Addresses {
        source: canonical(source),
        destination: canonical(destination),
    };
    let relayed = Reader(body).relayed(addresses).map_err(Fault::Unreadable)?;
    Ok(Some((relayed, length)))
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn relayed(mut self, addresses: Addresses) -> Result<Relayed, &'static str> {
        let [version] = self.array()?;
        if version != VERSION {
            return Err("it is of another version");
        }
        let relayed = Relayed {
            addresses,
            time: u64::from_be_bytes(self.array()?),
            nonce: self.array::<NONCE>()?,
            chain: self.chain()?,
            home: self.chain()?,
            to: self.text()?,
            hops: self.hops()?,
        };
        if self.0.is_empty() {
            Ok(relayed)
        } else {
            Err("something follows its hops")
        }
    }

    fn chain(&mut self) -> Result<ChainId, &'static str> {
        Ok(ChainId {
            namespace: self.text()?,
            name: self.text()?,
        })
    }

    fn hops(&mut self) -> Result<Vec<String>, &'static str> {
        let [count] = self.array()?;
        if usize::from(count) > MOST_HOPS {
            return Err("it has passed more than four proxies");
        }
        (0..count).map(|_| self.text()).collect()
    }

    fn text(&mut self) -> Result<String, &'static str> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let text = str::from_utf8(self.take(length)?).map_err(|_| "a name that is no UTF-8")?;
        Ok(text.to_owned())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().map_err(|_| "it is cut short")
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("it is cut short")?;
        self.0 = rest;
        Ok(taken)
    }
}
