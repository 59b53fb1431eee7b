//! The reader of PROXY headers. Whatever the bytes: no panic, one decision, a length within bounds; and what is written
//! is read again.

use std::net::{IpAddr, SocketAddr};

use bolero::{TypeGenerator, check};
use switchyard_fuzz::decides_once;
use switchyard_proxy::proxy_protocol::{Addresses, Header, MAX_LENGTH, decode, encode};
use switchyard_snapshot::SendProxy;

/// A header to write, and what a client says after it.
#[derive(Clone, Debug, TypeGenerator)]
struct Written {
    source: Address,
    destination: Address,
    second_version: bool,
    name: Option<Vec<u8>>,
    after: Vec<u8>,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Address {
    V4([u8; 4], u16),
    V6([u8; 16], u16),
}

fn main() {
    // A fuzzing engine takes the first over and does not come back.
    check!().for_each(foreign);
    check!().with_type::<Written>().for_each(read_again);
}

fn foreign(bytes: &[u8]) {
    decides_once(bytes, |bytes| decode(bytes).transpose());
    if let Ok(Some((header, length))) = decode(bytes) {
        assert!(length <= bytes.len() && length <= MAX_LENGTH, "{length}");
        // What follows a header is the client's, and says nothing about the header.
        assert_eq!(decode(&bytes[..length]), Ok(Some((header.clone(), length))));
        if let Header::Proxied(addresses) = header {
            for version in [SendProxy::V1, SendProxy::V2] {
                let again = encode(version, &addresses, None);
                assert_eq!(
                    decode(&again),
                    Ok(Some((Header::Proxied(addresses.clone()), again.len())))
                );
            }
        }
    }
}

fn read_again(written: &Written) {
    let addresses = Addresses {
        source: written.source.socket(),
        destination: written.destination.socket(),
    };
    let name: Option<String> = written.name.as_ref().map(|name| {
        let letters = name.iter().take(253);
        letters.map(|byte| char::from(b'a' + byte % 26)).collect()
    });
    let version = if written.second_version {
        SendProxy::V2
    } else {
        SendProxy::V1
    };
    let mut bytes = encode(version, &addresses, name.as_deref());
    let length = bytes.len();
    for end in 0..length {
        assert_eq!(decode(&bytes[..end]), Ok(None), "cut at {end}");
    }
    bytes.extend(&written.after);
    let mixed = addresses.source.is_ipv4() != addresses.destination.is_ipv4();
    let header = match version {
        // Version 1 has no words for two families.
        SendProxy::V1 if mixed => Header::Unnamed,
        SendProxy::V2 if mixed => Header::Proxied(Addresses {
            source: mapped(addresses.source),
            destination: mapped(addresses.destination),
        }),
        _ => Header::Proxied(addresses),
    };
    assert_eq!(decode(&bytes), Ok(Some((header, length))));
}

impl Address {
    fn socket(&self) -> SocketAddr {
        match *self {
            Self::V4(ip, port) => (ip, port).into(),
            Self::V6(ip, port) => (ip, port).into(),
        }
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}
