//! Secrets that pools and chains name. In: their keys and bytes, as the API server or a file has them. Out: certificates, CAs
//! and ticket keys that have been looked at, or in words what is wrong with them.
//!
//! What stands in a Secret is never printed, neither here nor in what is said about it.

pub mod fetch;

mod about;
mod pem;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use ring::digest;
use switchyard_snapshot::{Certificate, GossipKey, Private, TicketKey};

pub use about::{About, about};
pub use fetch::{Fetched, Wants};

/// Bytes of a key of tickets or of gossip.
const KEY_BYTES: usize = 32;
/// Bytes of a ticket key's id.
const TICKET_ID_BYTES: usize = 16;

/// Which Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {}/{}", self.namespace, self.name)
    }
}

/// The Secret with the keys of a namespace's gossip: pools of a namespace gossip with each other.
pub const GOSSIP_KEYS: &str = "switchyard-gossip-keys";

/// The Secret with the keys of TLS tickets of the pool with this name.
pub fn ticket_keys_of(pool: &str) -> String {
    format!("{pool}-ticket-keys")
}

/// What is wrong with a Secret, to be said after its name: `has no tls.crt: …`.
pub type Flaw = String;

/// One Secret. It is looked at once, however often it is compiled: checking a key costs more than all the rest.
#[derive(Default)]
pub struct Secret {
    data: BTreeMap<String, Vec<u8>>,
    certificate: OnceLock<Result<pem::Pair, Flaw>>,
    ca: OnceLock<Result<String, Flaw>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.data.keys()).finish()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

impl Eq for Secret {}

impl Secret {
    /// Of what stands in it, decoded.
    pub fn new(data: BTreeMap<String, Vec<u8>>) -> Self {
        Self {
            data,
            ..Self::default()
        }
    }

    /// What stands under its keys, decoded.
    pub fn data(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.data
    }

    /// `tls.crt` and `tls.key`; `name` is the Secret's own.
    ///
    /// # Errors
    /// They cannot be used, and why.
    pub fn certificate(&self, name: &str) -> Result<Certificate, Flaw> {
        let pair = self.certificate.get_or_init(|| pem::pair(&self.data));
        pair.clone().map(|pem::Pair { chain, key }| Certificate {
            name: name.to_owned(),
            chain,
            key,
        })
    }

    /// `ca.crt`: one certificate or several, as PEM.
    ///
    /// # Errors
    /// It cannot be used, and why.
    pub fn ca(&self) -> Result<String, Flaw> {
        self.ca.get_or_init(|| pem::authorities(&self.data)).clone()
    }

    /// Keys of TLS tickets, the one that seals first: `current`, then `next` and `previous` as far as they are there.
    ///
    /// # Errors
    /// A key that is there has another length, or there is no `current`.
    pub fn ticket_keys(&self) -> Result<Vec<TicketKey>, Flaw> {
        let keys = self.keys("ticket")?;
        Ok(keys.into_iter().map(ticket_key).collect())
    }

    /// Keys of gossip, the one that seals first, under the same names.
    ///
    /// # Errors
    /// A key that is there has another length, or there is no `current`.
    pub fn gossip_keys(&self) -> Result<Vec<GossipKey>, Flaw> {
        let keys = self.keys("gossip")?;
        let key = |bytes: &[u8]| GossipKey {
            key: Private::new(hex(bytes)),
        };
        Ok(keys.into_iter().map(key).collect())
    }

    fn keys(&self, what: &str) -> Result<Vec<&[u8]>, Flaw> {
        let mut keys = Vec::new();
        for name in ["current", "next", "previous"] {
            match self.data.get(name) {
                Some(bytes) if bytes.len() == KEY_BYTES => keys.push(bytes.as_slice()),
                None if name != "current" => {}
                _ => {
                    return Err(format!(
                        "holds no {what} key of {KEY_BYTES} bytes in {name}: put {KEY_BYTES} random bytes there"
                    ));
                }
            }
        }
        Ok(keys)
    }
}

/// A key is called by its hash, so that every proxy calls it the same and its name tells nothing of it.
fn ticket_key(bytes: &[u8]) -> TicketKey {
    let hash = digest::digest(&digest::SHA256, bytes);
    let id = hash.as_ref().get(..TICKET_ID_BYTES).unwrap_or_default();
    TicketKey {
        id: hex(id),
        key: Private::new(hex(bytes)),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |nibble: u8| DIGITS[usize::from(nibble & 0xf)];
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// What is known of a Secret that somebody names.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// This stands in it.
    There(Arc<Secret>),
    /// It is there, and cannot be read, which is said elsewhere.
    Unreadable,
    /// It is there, and the API server does not let us read it, for longer than a moment; why, in words.
    Unread(String),
}

/// Secrets that are known; those that are not here are not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Secrets(BTreeMap<SecretId, Known>);

impl Secrets {
    /// None: it is not there.
    pub fn get(&self, id: &SecretId) -> Option<&Known> {
        self.0.get(id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&SecretId, &Known)> {
        self.0.iter()
    }
}

impl FromIterator<(SecretId, Known)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (SecretId, Known)>>(known: I) -> Self {
        Self(known.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
