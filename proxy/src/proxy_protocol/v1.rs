//! Version 1: one line of text (proxy-protocol.txt §2.1).

use std::net::{IpAddr, SocketAddr};

use super::{Addresses, Header, Invalid};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// CRLF included.
const MAX_LENGTH: usize = 107;

/// `bytes` begin with the signature.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Header, usize)>, Invalid> {
    let head = &bytes[..bytes.len().min(MAX_LENGTH)];
    let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
        return if head.len() < MAX_LENGTH {
            Ok(None)
        } else {
            Err(Invalid::Malformed("no end of line within 107 bytes"))
        };
    };
    let line = head[..end]
        .strip_suffix(b"\r")
        .ok_or(Invalid::Malformed("the line does not end in CR LF"))?;
    let line = std::str::from_utf8(line).map_err(|_| Invalid::Malformed("not ASCII"))?;
    let header = parse(&line[SIGNATURE.len()..])?;
    Ok(Some((header, end + 1)))
}

fn parse(rest: &str) -> Result<Header, Invalid> {
    let mut words = rest.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // What follows must be ignored.
        return Ok(Header::Unnamed);
    }
    let wanted: fn(&IpAddr) -> bool = match family {
        "TCP4" => IpAddr::is_ipv4,
        "TCP6" => IpAddr::is_ipv6,
        _ => return Err(Invalid::Malformed("neither TCP4, TCP6 nor UNKNOWN")),
    };
    let mut ip = || {
        let ip: Option<IpAddr> = words.next().and_then(|word| word.parse().ok());
        ip.filter(wanted)
            .ok_or(Invalid::Malformed("no address of its family"))
    };
    let (source, destination) = (ip()?, ip()?);
    let mut port = || words.next().and_then(port).ok_or(Invalid::Malformed("no port"));
    let (source_port, destination_port) = (port()?, port()?);
    if words.next().is_some() {
        return Err(Invalid::Malformed("words after the ports"));
    }
    Ok(Header::Proxied(Addresses {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    }))
}

/// Digits only, without leading zeroes.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

pub(super) fn encode(addresses: &Addresses) -> Vec<u8> {
    let Addresses { source, destination } = addresses;
    let family = match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => return b"PROXY UNKNOWN\r\n".to_vec(),
    };
    let (from, to) = (source.ip(), destination.ip());
    format!(
        "PROXY {family} {from} {to} {} {}\r\n",
        source.port(),
        destination.port()
    )
    .into_bytes()
}
