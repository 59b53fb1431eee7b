//! Version 2: binary (proxy-protocol.txt §2.2).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Addresses, Header, Invalid, MAX_LENGTH};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// §2.2.2 and §2.2.3.
const TYPE_AUTHORITY: u8 = 0x02;
const TYPE_CRC32C: u8 = 0x03;

/// `bytes` begin with the signature.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Header, usize)>, Invalid> {
    let Some(fixed) = bytes.get(..FIXED) else {
        return Ok(None);
    };
    let (command, family) = (fixed[12], fixed[13]);
    if command != LOCAL && command != PROXY {
        return Err(Invalid::Malformed("neither PROXY nor LOCAL of version 2"));
    }
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MAX_LENGTH {
        return Err(Invalid::TooLong);
    }
    let Some(whole) = bytes.get(..length) else {
        return Ok(None);
    };
    if command == LOCAL {
        // The family, and everything after it, must be ignored.
        return Ok(Some((Header::Unnamed, length)));
    }
    let body = &whole[FIXED..];
    let (header, tlvs) = match family {
        TCP_OVER_IPV4 => addresses::<4>(body)?,
        TCP_OVER_IPV6 => addresses::<16>(body)?,
        // Datagrams, Unix sockets, unspecified: accepted without their addresses, whose length is the family's.
        _ => (
            Header::Unnamed,
            body.get(address_length(family)?..)
                .ok_or(Invalid::Malformed("too short for its family"))?,
        ),
    };
    check(whole, length - tlvs.len())?;
    Ok(Some((header, length)))
}

fn address_length(family: u8) -> Result<usize, Invalid> {
    match (family >> 4, family & 0xf) {
        (_, 3..) => Err(Invalid::Malformed("an unknown transport")),
        (0, _) => Ok(0),
        (1, _) => Ok(12),
        (2, _) => Ok(36),
        (3, _) => Ok(216),
        _ => Err(Invalid::Malformed("an unknown address family")),
    }
}

/// Source and destination, whose addresses take N bytes, and what follows them.
fn addresses<const N: usize>(body: &[u8]) -> Result<(Header, &[u8]), Invalid>
where
    IpAddr: From<[u8; N]>,
{
    let short = Invalid::Malformed("too short for its family");
    let (addresses, tlvs) = body.split_at_checked(2 * N + 4).ok_or(short.clone())?;
    let (source, rest) = addresses.split_first_chunk::<N>().ok_or(short.clone())?;
    let (destination, ports) = rest.split_first_chunk::<N>().ok_or(short.clone())?;
    let [a, b, c, d] = *ports else { return Err(short) };
    let header = Header::Proxied(Addresses {
        source: SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes([c, d])),
    });
    Ok((header, tlvs))
}

/// The TLVs must fill the header exactly, and a checksum among them must be that of the whole header with zeroes in its
/// own place (§2.2.3).
fn check(whole: &[u8], tlvs: usize) -> Result<(), Invalid> {
    let mut at = tlvs;
    while let Some(tlv) = whole.get(at..).filter(|rest| !rest.is_empty()) {
        let [kind, high, low, value @ ..] = tlv else {
            return Err(Invalid::Malformed("a TLV cut short"));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = value
            .get(..length)
            .ok_or(Invalid::Malformed("a TLV longer than the header"))?;
        let value_at = at + 3;
        if *kind == TYPE_CRC32C {
            let stored: [u8; 4] = value
                .try_into()
                .map_err(|_| Invalid::Malformed("a checksum that is not 4 bytes"))?;
            let before = crc32c::crc32c(&whole[..value_at]);
            let zeroes = crc32c::crc32c_append(before, &[0; 4]);
            let sum = crc32c::crc32c_append(zeroes, &whole[value_at + 4..]);
            if sum != u32::from_be_bytes(stored) {
                return Err(Invalid::WrongChecksum);
            }
        }
        at = value_at + length;
    }
    Ok(())
}

/// What follows the addresses in a `whole` header that names two TCP addresses.
pub(super) fn tlvs(whole: &[u8]) -> &[u8] {
    let addresses = match whole.get(13) {
        Some(&TCP_OVER_IPV4) => 12,
        _ => 36,
    };
    whole.get(FIXED + addresses..).unwrap_or_default()
}

/// A header without TLVs; its length is still to be set.
pub(super) fn begin(addresses: &Addresses) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Addresses { source, destination } = addresses;
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([PROXY, TCP_OVER_IPV4, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
        }
        (from, to) => {
            header.extend([PROXY, TCP_OVER_IPV6, 0, 0]);
            header.extend(as_v6(from).octets());
            header.extend(as_v6(to).octets());
        }
    }
    header.extend(source.port().to_be_bytes());
    header.extend(destination.port().to_be_bytes());
    header
}

/// Says how long a header will be in all, no longer than [`MAX_LENGTH`].
pub(super) fn set_length(header: &mut [u8], whole: usize) {
    let length = (whole - FIXED) as u16;
    header[14..FIXED].copy_from_slice(&length.to_be_bytes());
}

pub(super) fn encode(addresses: &Addresses, name: Option<&str>) -> Vec<u8> {
    let mut header = begin(addresses);
    if let Some(name) = name {
        tlv(&mut header, TYPE_AUTHORITY, name.as_bytes());
    }
    tlv(&mut header, TYPE_CRC32C, &[0; 4]);
    // A name has at most 253 bytes, so the length always fits.
    let whole = header.len();
    set_length(&mut header, whole);
    let sum = crc32c::crc32c(&header);
    let place = header.len() - 4;
    header[place..].copy_from_slice(&sum.to_be_bytes());
    header
}

/// Both ends must be of one family: an IPv4 address among IPv6 ones is written as a mapped one.
fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn tlv(header: &mut Vec<u8>, kind: u8, value: &[u8]) {
    header.push(kind);
    header.extend((value.len() as u16).to_be_bytes());
    header.extend(value);
}
