use std::net::SocketAddr;

use proptest::prelude::*;
use switchyard_snapshot::SendProxy;

use super::*;

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn proxied(source: &str, destination: &str) -> Header {
    Header::Proxied(addresses(source, destination))
}

/// A version 2 header with this command, family and body.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend((body.len() as u16).to_be_bytes());
    header.extend(body);
    header
}

const V4_BODY: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x01, 0xbb];

#[test]
fn reads_version_1_as_the_specification_writes_it() {
    for (line, header) in [
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            proxied("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        (
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
            proxied("192.168.0.1:56324", "192.168.0.11:443"),
        ),
        (
            "PROXY TCP6 ffff:f:f::1 2001:db8::2 0 443\r\n",
            proxied("[ffff:f:f::1]:0", "[2001:db8::2]:443"),
        ),
        ("PROXY UNKNOWN\r\n", Header::Unnamed),
        (
            "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
            Header::Unnamed,
        ),
    ] {
        let mut bytes = line.as_bytes().to_vec();
        bytes.extend(b"GET / HTTP/1.1\r\n");
        assert_eq!(decode(&bytes), Ok(Some((header, line.len()))), "{line}");
        for end in 0..line.len() {
            assert_eq!(decode(&bytes[..end]), Ok(None), "{line} cut at {end}");
        }
    }
}

#[test]
fn refuses_what_is_no_version_1() {
    for line in [
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 1\r\n",
        "PROXY TCP4 192.168.0.1  192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 +1 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 01 443\r\n",
        "PROXY TCP4 192.168.0.256 192.168.0.11 1 443\r\n",
        "PROXY TCP4 ::1 ::2 1 443\r\n",
        "PROXY TCP6 192.168.0.1 192.168.0.11 1 443\r\n",
        "PROXY UDP4 192.168.0.1 192.168.0.11 1 443\r\n",
        "PROXY \r\n",
        "PROXY tcp4 192.168.0.1 192.168.0.11 1 443\r\n",
        "PROXY TCP4 \u{e9}\r\n",
    ] {
        assert!(
            matches!(decode(line.as_bytes()), Err(Invalid::Malformed(_))),
            "{line}"
        );
    }
    // 107 bytes are the longest line (§2.1), the CRLF included.
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(longest.len(), 107);
    assert_eq!(decode(longest.as_bytes()), Ok(Some((Header::Unnamed, 107))));
    let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert!(matches!(decode(longer.as_bytes()), Err(Invalid::Malformed(_))));
    assert!(
        matches!(decode(&longer.as_bytes()[..107]), Err(Invalid::Malformed(_))),
        "without waiting for more"
    );
    for other in ["GET / HTTP/1.1\r\n", "PROX\r", "\r\n\r\n\0\r\nQUITE", "\u{16}"] {
        assert_eq!(decode(other.as_bytes()), Err(Invalid::NoHeader), "{other:?}");
    }
}

#[test]
fn reads_version_2() {
    let named = proxied("192.0.2.1:12345", "198.51.100.2:443");
    let mut v6_body = vec![0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    v6_body.extend([
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x30, 0x39, 0x01, 0xbb,
    ]);
    let with_tlvs = |tlvs: &[u8]| [&V4_BODY[..], tlvs].concat();
    for (what, bytes, header) in [
        ("TCP over IPv4", v2(0x21, 0x11, &V4_BODY), named.clone()),
        (
            "TCP over IPv6",
            v2(0x21, 0x21, &v6_body),
            proxied("[2001:db8::1]:12345", "[2001:db8::2]:443"),
        ),
        (
            "TLVs",
            v2(
                0x21,
                0x11,
                &with_tlvs(&[2, 0, 1, b'x', 4, 0, 0, 0xe0, 0, 2, 9, 9]),
            ),
            named.clone(),
        ),
        ("LOCAL", v2(0x20, 0x00, &[]), Header::Unnamed),
        (
            "LOCAL, its family ignored",
            v2(0x20, 0x99, &[1, 2, 3]),
            Header::Unnamed,
        ),
        ("unspecified", v2(0x21, 0x00, &[]), Header::Unnamed),
        ("UDP over IPv4", v2(0x21, 0x12, &V4_BODY), Header::Unnamed),
        ("Unix stream", v2(0x21, 0x31, &[0; 216]), Header::Unnamed),
    ] {
        let mut more = bytes.clone();
        more.extend(b"more");
        assert_eq!(decode(&more), Ok(Some((header, bytes.len()))), "{what}");
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Ok(None), "{what} cut at {end}");
        }
    }
}

#[test]
fn refuses_what_is_no_version_2() {
    for (what, bytes) in [
        ("version 1", v2(0x11, 0x11, &V4_BODY)),
        ("version 3", v2(0x31, 0x11, &V4_BODY)),
        ("command 2", v2(0x22, 0x11, &V4_BODY)),
        ("family 4", v2(0x21, 0x41, &V4_BODY)),
        ("transport 3", v2(0x21, 0x13, &V4_BODY)),
        ("too short for IPv4", v2(0x21, 0x11, &V4_BODY[..11])),
        ("too short for IPv6", v2(0x21, 0x21, &V4_BODY)),
        ("too short for a Unix socket", v2(0x21, 0x31, &[0; 215])),
        ("half a TLV", v2(0x21, 0x11, &[&V4_BODY[..], &[2, 0]].concat())),
        (
            "a TLV beyond the end",
            v2(0x21, 0x11, &[&V4_BODY[..], &[2, 0, 2, 9]].concat()),
        ),
        (
            "a checksum of 3 bytes",
            v2(0x21, 0x11, &[&V4_BODY[..], &[3, 0, 3, 0, 0, 0]].concat()),
        ),
    ] {
        assert!(matches!(decode(&bytes), Err(Invalid::Malformed(_))), "{what}");
    }
    let mut long = v2(0x21, 0x11, &V4_BODY);
    long[14..16].copy_from_slice(&4081_u16.to_be_bytes());
    assert_eq!(decode(&long), Err(Invalid::TooLong), "without waiting for it");
}

/// CRC-32C, bit by bit, as RFC 4960 appendix B has it.
fn crc32c_of(bytes: &[u8]) -> u32 {
    let mut sum = !0_u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ 0x82f6_3b78
            } else {
                sum >> 1
            };
        }
    }
    !sum
}

#[test]
fn checks_a_checksum_wherever_it_stands() {
    for tlvs in [
        &[3, 0, 4, 0, 0, 0, 0][..],
        &[3, 0, 4, 0, 0, 0, 0, 2, 0, 1, b'x'],
        &[2, 0, 1, b'x', 3, 0, 4, 0, 0, 0, 0],
    ] {
        let mut bytes = v2(0x21, 0x11, &[&V4_BODY[..], tlvs].concat());
        assert_eq!(decode(&bytes), Err(Invalid::WrongChecksum));
        let sum = crc32c_of(&bytes);
        let place = bytes.windows(3).rposition(|three| three == [3, 0, 4]).unwrap() + 3;
        bytes[place..place + 4].copy_from_slice(&sum.to_be_bytes());
        let read = decode(&bytes).unwrap().unwrap();
        assert_eq!(read.0, proxied("192.0.2.1:12345", "198.51.100.2:443"));
        bytes[17] ^= 1;
        assert_eq!(decode(&bytes), Err(Invalid::WrongChecksum), "another address");
    }
}

#[test]
fn writes_what_the_specification_says() {
    let v4 = addresses("192.0.2.1:12345", "198.51.100.2:443");
    let v6 = addresses("[2001:db8::1]:12345", "[2001:db8::2]:443");
    let mixed = addresses("192.0.2.1:12345", "[2001:db8::2]:443");
    assert_eq!(encode(SendProxy::None, &v4, None), b"");
    assert_eq!(
        encode(SendProxy::V1, &v4, None),
        b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n"
    );
    assert_eq!(
        encode(SendProxy::V1, &v6, None),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n"
    );
    assert_eq!(encode(SendProxy::V1, &mixed, None), b"PROXY UNKNOWN\r\n");
    let header = encode(SendProxy::V2, &v4, Some("sync.example.com"));
    assert_eq!(
        &header[..28],
        v2(0x21, 0x11, &V4_BODY)
            .as_slice()
            .split_at(14)
            .0
            .iter()
            .copied()
            .chain([0, 12 + 19 + 7])
            .chain(V4_BODY)
            .collect::<Vec<u8>>()
    );
    assert_eq!(&header[28..47], b"\x02\0\x10sync.example.com");
    let mut zeroed = header.clone();
    let place = header.len() - 4;
    zeroed[place..].fill(0);
    assert_eq!(header[place..], crc32c_of(&zeroed).to_be_bytes());
    assert_eq!(
        decode(&encode(SendProxy::V2, &mixed, None)).unwrap().unwrap().0,
        proxied("[::ffff:192.0.2.1]:12345", "[2001:db8::2]:443")
    );
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn never_panics_whatever_comes(bytes in prop::collection::vec(any::<u8>(), 0..300), version in 0..3_u8) {
        let mut all = match version {
            0 => Vec::new(),
            1 => b"PROXY ".to_vec(),
            _ => b"\r\n\r\n\0\r\nQUIT\n!".to_vec(),
        };
        all.extend(&bytes);
        if let Ok(Some((_, length))) = decode(&all) {
            prop_assert!(length <= all.len() && length <= MAX_LENGTH);
        }
    }

    #[test]
    fn reads_what_it_writes(source in any_address(), destination in any_address(), name in "[a-z.]{1,253}") {
        let one = Addresses { source, destination };
        let same_family = source.is_ipv4() == destination.is_ipv4();
        let (v1, length) = decode(&encode(SendProxy::V1, &one, None)).unwrap().unwrap();
        prop_assert_eq!(v1, if same_family { Header::Proxied(one.clone()) } else { Header::Unnamed });
        prop_assert!(length <= 107);
        let (header, _) = decode(&encode(SendProxy::V2, &one, Some(&name))).unwrap().unwrap();
        let Header::Proxied(read) = header else { panic!("named") };
        prop_assert_eq!(read.source.ip().to_canonical(), source.ip().to_canonical());
        prop_assert_eq!(read.destination.port(), destination.port());
    }
}
