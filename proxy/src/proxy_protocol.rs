//! The PROXY protocol (haproxy's proxy-protocol.txt), versions 1 and 2. In: the first bytes of a connection, or addresses
//! to announce. Out: the addresses a header names, or a header.

pub mod relayed;
mod v1;
mod v2;

use std::net::SocketAddr;

use switchyard_snapshot::SendProxy;

/// The longest header that is taken, TLVs included. A version 2 header may announce up to 64 KiB; nobody needs it.
pub const MAX_LENGTH: usize = 4096;

/// Bytes that tell a header from anything else.
pub(crate) const LONGEST_SIGNATURE: usize = v2::SIGNATURE.len();

/// The two ends of the connection that a header speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// On behalf of a client.
    Proxied(Addresses),
    /// `UNKNOWN`, `LOCAL`, or a family other than TCP over IP: the connection's own addresses hold.
    Unnamed,
}

/// Why bytes are no header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// They begin otherwise.
    #[error("no PROXY header")]
    NoHeader,
    /// They begin like one.
    #[error("a malformed PROXY header: {0}")]
    Malformed(&'static str),
    /// Longer than [`MAX_LENGTH`].
    #[error("a PROXY header of more than 4,096 bytes")]
    TooLong,
    /// The checksum (CRC-32C) in it is not that of its bytes.
    #[error("a PROXY header with a wrong checksum")]
    WrongChecksum,
}

/// Reads a header and its length; none: more bytes are needed.
///
/// # Errors
/// The bytes are no header, or a malformed one.
pub fn decode(bytes: &[u8]) -> Result<Option<(Header, usize)>, Invalid> {
    if bytes.starts_with(v2::SIGNATURE) {
        v2::decode(bytes)
    } else if bytes.starts_with(v1::SIGNATURE) {
        v1::decode(bytes)
    } else if may_become_header(bytes) {
        Ok(None)
    } else {
        Err(Invalid::NoHeader)
    }
}

/// Whether `bytes` begin with a header's signature.
pub fn is_header(bytes: &[u8]) -> bool {
    bytes.starts_with(v1::SIGNATURE) || bytes.starts_with(v2::SIGNATURE)
}

/// Whether `bytes` could still become a header's signature.
pub fn may_become_header(bytes: &[u8]) -> bool {
    v1::SIGNATURE.starts_with(bytes) || v2::SIGNATURE.starts_with(bytes)
}

/// The header of that version; version 2 with its checksum, and with `name` as the authority where there is one. Empty for
/// [`SendProxy::None`].
pub fn encode(version: SendProxy, addresses: &Addresses, name: Option<&str>) -> Vec<u8> {
    match version {
        SendProxy::None => Vec::new(),
        SendProxy::V1 => v1::encode(addresses),
        SendProxy::V2 => v2::encode(addresses, name),
    }
}

#[cfg(test)]
mod tests;
