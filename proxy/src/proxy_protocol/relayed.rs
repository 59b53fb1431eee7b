//! The header of a relayed connection: a PROXY header of version 2 with one TLV (proxy-protocol.txt §2.2.7,
//! `PP2_TYPE_MIN_CUSTOM`), by which one proxy proves to another on whose behalf it connects. In: what a relaying proxy says,
//! or a connection's first bytes. Out: a header, or what one says, once its signature and everything else about it holds.
//!
//! The TLV is the only one, and its last 32 bytes are the HMAC-SHA256 of everything before them, from the header's first
//! byte on: addresses, chains, hops, time and nonce cannot be changed by anybody who lacks the key. All proxies that gossip
//! with each other share it.

mod read;
mod seen;

use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use switchyard_discovery::relay::key_of_sidecars;
use switchyard_snapshot::{ChainId, GossipKey};

use super::{Addresses, Invalid, MAX_LENGTH, v2};
use crate::session::end::Refusal;

pub use seen::Seen;

/// How far the clocks of two proxies may differ, the time on the way included, in milliseconds.
pub const TOLERANCE_MS: u64 = 60_000;
/// Proxies that a connection may have passed, as far as the header has words for it.
pub const MOST_HOPS: usize = 4;

/// In the range for applications (§2.2.7).
const TYPE: u8 = 0xe5;
const VERSION: u8 = 1;
const NONCE: usize = 16;
const MAC: usize = ring::digest::SHA256_OUTPUT_LEN;
/// Keeps this use of a key apart from every other (RFC 5869 §3.2).
const LABEL: &[u8] = b"switchyard relayed connection 1";

/// What a relaying proxy says of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// The client, and what it connected to.
    pub addresses: Addresses,
    /// The chain that shall serve it.
    pub chain: ChainId,
    /// The chain that it came for.
    pub home: ChainId,
    /// The proxy that shall take it, named as in `hops`: nobody who overhears the header can say it to another one.
    pub to: String,
    /// The proxies it has passed, [`MOST_HOPS`] at the most.
    pub hops: Vec<String>,
    /// When it was relayed, in milliseconds of Unix time.
    pub time: u64,
    /// Never the same twice.
    pub nonce: [u8; NONCE],
}

/// Why a connection to a direct port is not taken for a relayed one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It begins otherwise.
    #[error("no PROXY header")]
    NoHeader,
    /// It begins like one.
    #[error("{0}")]
    Broken(Invalid),
    /// Whoever sends it is no proxy of ours.
    #[error(
        "a PROXY header that no proxy has signed; on a direct port only proxies that gossip with us may send one"
    )]
    Unsigned,
    /// Somebody else's, or changed on its way.
    #[error("a relay header whose signature is by none of our keys; do its sender and we share one?")]
    Forged,
    /// A proxy of ours wrote it, and this one does not understand it.
    #[error("a relay header that this release cannot read: {0}")]
    Unreadable(&'static str),
    /// Its time is too far from ours.
    #[error("a relay header of {0} ms {1}; look at the clocks of both proxies")]
    Stale(u64, &'static str),
    /// It has been here before.
    #[error("a relay header that has been here before")]
    Replayed,
    /// Nobody can tell any more whether it has been here before.
    #[error("more relayed connections within a minute than can be told apart")]
    TooMany,
    /// It goes in a circle, or would.
    #[error("a relayed connection that has passed {0} already; one relay is all that a connection gets")]
    Loop(String),
    /// It is for another proxy.
    #[error(
        "a relay header for proxy {0}: it was overheard, or this address belonged to that proxy a moment ago"
    )]
    Misdirected(String),
    /// The chain it is for is not served by this listener.
    #[error("a connection relayed for chain {0}, which is not behind this listener")]
    Elsewhere(ChainId),
}

impl Fault {
    /// The word that is counted.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Broken(_) => Refusal::BadProxyHeader,
            Self::NoHeader | Self::Unsigned | Self::Forged | Self::Unreadable(_) => Refusal::RelayUnsigned,
            Self::Stale(..) => Refusal::RelayStale,
            Self::Replayed | Self::TooMany => Refusal::RelayReplayed,
            Self::Loop(_) => Refusal::RelayLoop,
            Self::Elsewhere(_) | Self::Misdirected(_) => Refusal::RelayElsewhere,
        }
    }
}

/// What relay headers are signed with.
#[derive(Clone, Debug)]
pub struct RelayKeys {
    /// The first signs. Never empty.
    keys: Vec<hmac::Key>,
}

impl RelayKeys {
    /// From the keys of the gossip: the first signs, all verify, and so do those that sidecars are given instead. None: none of
    /// them is 32 bytes in hex.
    pub fn new(keys: &[GossipKey]) -> Option<Self> {
        let of_sidecars: Vec<GossipKey> = keys.iter().filter_map(key_of_sidecars).collect();
        let all = keys.iter().chain(&of_sidecars);
        let keys: Vec<hmac::Key> = all.filter_map(|key| derive(key.key.reveal())).collect();
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// The header; none: it would be longer than [`MAX_LENGTH`], or has passed more than [`MOST_HOPS`].
    pub fn seal(&self, relayed: &Relayed) -> Option<Vec<u8>> {
        let mut header = v2::begin(&relayed.addresses);
        let tlv = header.len();
        header.extend([TYPE, 0, 0, VERSION]);
        header.extend(relayed.time.to_be_bytes());
        header.extend(relayed.nonce);
        for chain in [&relayed.chain, &relayed.home] {
            text(&mut header, &chain.namespace)?;
            text(&mut header, &chain.name)?;
        }
        text(&mut header, &relayed.to)?;
        let hops = u8::try_from(relayed.hops.len()).ok()?;
        header.push(hops);
        for hop in &relayed.hops {
            text(&mut header, hop)?;
        }
        let length = header.len() + MAC;
        if length > MAX_LENGTH || relayed.hops.len() > MOST_HOPS {
            return None;
        }
        let value = u16::try_from(length - tlv - 3).ok()?;
        header
            .get_mut(tlv + 1..tlv + 3)?
            .copy_from_slice(&value.to_be_bytes());
        v2::set_length(&mut header, length);
        let mac = hmac::sign(self.keys.first()?, &header);
        header.extend(mac.as_ref());
        Some(header)
    }

    /// Reads a header, its signature verified, and its length; none: more bytes are needed. Whether it is fresh, new and
    /// meant for us is asked of [`Relayed::check`] and [`Seen::first`].
    ///
    /// # Errors
    /// The bytes are no header, or none of a proxy that has a key of ours.
    pub fn open(&self, bytes: &[u8]) -> Result<Option<(Relayed, usize)>, Fault> {
        read::open(&self.keys, bytes)
    }
}

impl Relayed {
    /// Whether it may be served: by whom it is for, by the time it is, by the proxies it has passed, by what `is_here`. `me` is this proxy as
    /// it stands in `to` and `hops`; `now` is Unix time in milliseconds.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self, me: &str, is_here: bool, now: u64) -> Result<(), Fault> {
        let (apart, word) = if self.time > now {
            (self.time - now, "ahead of us")
        } else {
            (now - self.time, "ago")
        };
        if apart > TOLERANCE_MS {
            return Err(Fault::Stale(apart, word));
        }
        if self.to != me {
            return Err(Fault::Misdirected(self.to.clone()));
        }
        if self.hops.iter().any(|hop| hop == me) {
            return Err(Fault::Loop("this proxy".to_owned()));
        }
        if self.hops.len() > 1 {
            return Err(Fault::Loop(self.hops.join(" and ")));
        }
        if is_here {
            Ok(())
        } else {
            Err(Fault::Elsewhere(self.chain.clone()))
        }
    }
}

/// Opens a header where there may be no keys: then nobody can have signed it.
///
/// # Errors
/// As [`RelayKeys::open`].
pub fn open(keys: Option<&RelayKeys>, bytes: &[u8]) -> Result<Option<(Relayed, usize)>, Fault> {
    read::open(keys.map(|keys| keys.keys.as_slice()).unwrap_or_default(), bytes)
}

/// Nobody can tell which proxy's it is by looking at another use of the same key.
fn derive(hex: &str) -> Option<hmac::Key> {
    let secret = crate::tls::hex::<32>(hex)?;
    let derived = Salt::new(HKDF_SHA256, &[]).extract(&secret);
    derived
        .expand(&[LABEL], hmac::HMAC_SHA256)
        .ok()
        .map(hmac::Key::from)
}

fn text(header: &mut Vec<u8>, text: &str) -> Option<()> {
    header.extend(u16::try_from(text.len()).ok()?.to_be_bytes());
    header.extend(text.as_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
