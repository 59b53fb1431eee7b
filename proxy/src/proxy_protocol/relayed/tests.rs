use std::net::SocketAddr;

use proptest::prelude::*;
use switchyard_snapshot::Private;

use super::*;

const NOW: u64 = 1_800_000_000_000;

fn key(byte: u8) -> GossipKey {
    GossipKey {
        key: Private::new(format!("{byte:02x}").repeat(32)),
    }
}

fn keys(bytes: &[u8]) -> RelayKeys {
    RelayKeys::new(&bytes.iter().copied().map(key).collect::<Vec<_>>()).unwrap()
}

fn chain(name: &str) -> ChainId {
    ChainId {
        namespace: "edge".into(),
        name: name.into(),
    }
}

fn relayed() -> Relayed {
    Relayed {
        addresses: Addresses {
            source: "192.0.2.7:4711".parse().unwrap(),
            destination: "198.51.100.1:443".parse().unwrap(),
        },
        chain: chain("msuite-b"),
        home: chain("msuite-a"),
        to: "edge/b/b-0".into(),
        hops: vec!["edge/a/a-0".into()],
        time: NOW,
        nonce: [7; 16],
    }
}

#[test]
fn whoever_has_one_of_the_keys_reads_what_the_first_has_signed() {
    let header = keys(&[1, 2]).seal(&relayed()).unwrap();
    for others in [&[1][..], &[2, 1], &[9, 8, 1]] {
        let read = keys(others).open(&header).unwrap();
        assert_eq!(read, Some((relayed(), header.len())), "{others:?}");
    }
    assert_eq!(
        keys(&[2]).open(&header),
        Err(Fault::Forged),
        "only the first signs"
    );
    assert_eq!(open(None, &header), Err(Fault::Forged));
    assert!(RelayKeys::new(&[]).is_none());
    let short = GossipKey {
        key: Private::new("abcd"),
    };
    assert!(RelayKeys::new(&[short]).is_none());
}

#[test]
fn the_signature_is_the_one_that_rfc_5869_and_rfc_2104_give() {
    // By Python: hmac.new(hmac.new(hmac.new(bytes(32), bytes([1]) * 32, sha256).digest(), b"switchyard relayed connection 1"
    // + b"\x01", sha256).digest(), header[:-32], sha256).hexdigest()
    let header = keys(&[1]).seal(&relayed()).unwrap();
    let mac = crate::tls::hex::<32>(MAC_BY_ANOTHER).unwrap();
    assert_eq!(header[header.len() - 32..], mac);
}

/// Of the header in [`relayed`].
const MAC_BY_ANOTHER: &str = "ec556df1168073cc3341d942b9b3df0cf3b54f3e7472490f093e95f9eb6f4d75";

#[test]
fn other_proxy_headers_are_refused_and_other_bytes_are_none() {
    use crate::proxy_protocol::encode;
    use switchyard_snapshot::SendProxy;
    let keys = keys(&[1]);
    let plain = encode(SendProxy::V2, &relayed().addresses, Some("a.example"));
    assert_eq!(keys.open(&plain), Err(Fault::Unsigned));
    assert_eq!(keys.open(b"PROXY TCP4 "), Err(Fault::Unsigned));
    let local = [&plain[..12], &[0x20, 0, 0, 0]].concat();
    assert_eq!(keys.open(&local), Err(Fault::Unsigned));
    let unix = [&plain[..12], &[0x21, 0x31, 0, 216], &[0; 216]].concat();
    assert_eq!(keys.open(&unix), Err(Fault::Unsigned));
    let long = [&plain[..12], &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(keys.open(&long), Err(Fault::Broken(Invalid::TooLong)));
    for other in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01",
        b"PROXX",
        b"\r\n\r\nhello",
    ] {
        assert_eq!(keys.open(other), Err(Fault::NoHeader), "{other:?}");
    }
    for beginning in [&b""[..], b"PRO", b"\r\n\r\n\0"] {
        assert_eq!(keys.open(beginning), Ok(None), "{beginning:?}");
    }
    // A second TLV, before ours or behind it, though signed.
    let header = keys.seal(&relayed()).unwrap();
    for at in [28, header.len()] {
        let mut with = header.clone();
        with.splice(at..at, [0x04, 0, 1, 0]);
        let length = with.len();
        v2::set_length(&mut with, length);
        assert_eq!(keys.open(&with), Err(Fault::Unsigned), "at {at}");
    }
}

#[test]
fn what_is_too_long_is_not_sent() {
    let keys = keys(&[1]);
    let mut long = relayed();
    long.hops = vec!["h".repeat(900); 4];
    let header = keys.seal(&long).unwrap();
    assert_eq!(keys.open(&header), Ok(Some((long.clone(), header.len()))));
    long.hops.push("h".into());
    assert_eq!(keys.seal(&long), None);
    long.hops = vec!["h".repeat(1_000); 4];
    assert_eq!(keys.seal(&long), None);
}

#[test]
fn is_checked_for_time_hops_and_chain() {
    let check = |relayed: &Relayed, is_here, now| relayed.check("edge/b/b-0", is_here, now);
    let one = relayed();
    for now in [NOW - TOLERANCE_MS, NOW, NOW + TOLERANCE_MS] {
        assert_eq!(check(&one, true, now), Ok(()));
    }
    let stale = |why: Result<(), Fault>| matches!(why, Err(Fault::Stale(60_001, _)));
    assert!(stale(check(&one, true, NOW + TOLERANCE_MS + 1)));
    assert!(stale(check(&one, true, NOW - TOLERANCE_MS - 1)));
    assert_eq!(check(&one, false, NOW), Err(Fault::Elsewhere(chain("msuite-b"))));
    let mut circle = relayed();
    circle.hops = vec![circle.to.clone()];
    assert!(matches!(check(&circle, true, NOW), Err(Fault::Loop(_))));
    // Overheard, and said to another proxy.
    let misdirected = Err(Fault::Misdirected("edge/b/b-0".into()));
    assert_eq!(one.check("edge/b/b-1", true, NOW), misdirected);
    let mut twice = relayed();
    twice.hops.push("edge/c/c-0".into());
    assert!(matches!(check(&twice, true, NOW), Err(Fault::Loop(_))));
}

#[test]
fn a_header_is_taken_once_for_as_long_as_it_is_taken_at_all() {
    let nonce = |n: u8| [n; NONCE];
    // Sent anywhere in two minutes of the clock, arriving anywhere in its window, replayed anywhere after that.
    let step = 7_000;
    for sent in (NOW..NOW + 2 * TOLERANCE_MS).step_by(step) {
        let window: Vec<u64> = (sent - TOLERANCE_MS..=sent + TOLERANCE_MS)
            .step_by(step)
            .collect();
        for (at, arrives) in window.iter().enumerate() {
            let seen = Seen::default();
            seen.first(nonce(1), sent, *arrives).unwrap();
            for (n, replayed) in window[at..].iter().enumerate() {
                // Others come all the time, as new and as old as may be.
                for (other, time) in [replayed - TOLERANCE_MS, *replayed, replayed + TOLERANCE_MS]
                    .into_iter()
                    .enumerate()
                {
                    let mut other = nonce(1 + other as u8 * 16);
                    other[1] = n as u8;
                    other[2] = 2;
                    seen.first(other, time, *replayed).unwrap();
                }
                assert_eq!(seen.first(nonce(1), sent, *replayed), Err(Fault::Replayed));
            }
        }
    }
}

#[test]
fn nonces_are_bounded_and_forgotten() {
    let seen = Seen::default();
    let nonce = |n: u32| {
        let mut nonce = [0; NONCE];
        nonce[1..5].copy_from_slice(&n.to_be_bytes());
        nonce
    };
    for n in 0..32_768 {
        seen.first(nonce(n), NOW, NOW).unwrap();
    }
    assert_eq!(seen.first(nonce(40_000), NOW, NOW), Err(Fault::TooMany));
    // Three minutes later there is room, and the old ones would not be taken any more.
    let later = NOW + 3 * TOLERANCE_MS;
    seen.first(nonce(40_000), later, later).unwrap();
}

#[test]
fn what_was_sent_before_a_proxy_began_was_not_sent_to_it() {
    let seen = Seen::new(NOW);
    assert!(matches!(
        seen.first([1; 16], NOW - 1, NOW + 5),
        Err(Fault::Stale(6, _))
    ));
    seen.first([1; 16], NOW, NOW + 5).unwrap();
    // The clock was set back: what is sent now is not refused for an hour.
    seen.first([2; 16], NOW - 3_600_000, NOW - 3_600_000).unwrap();
}

#[test]
fn faults_say_what_is_to_be_done() {
    for (fault, word, part) in [
        (Fault::Unsigned, Refusal::RelayUnsigned, "direct port"),
        (Fault::Forged, Refusal::RelayUnsigned, "none of our keys"),
        (Fault::Stale(61_000, "ago"), Refusal::RelayStale, "clocks"),
        (Fault::Replayed, Refusal::RelayReplayed, "before"),
        (Fault::Loop("x".into()), Refusal::RelayLoop, "one relay"),
        (Fault::Elsewhere(chain("c")), Refusal::RelayElsewhere, "edge/c"),
        (Fault::Misdirected("x".into()), Refusal::RelayElsewhere, "proxy x"),
        (Fault::Broken(Invalid::TooLong), Refusal::BadProxyHeader, "4,096"),
    ] {
        assert_eq!(fault.refusal(), word);
        assert!(fault.to_string().contains(part), "{fault}");
    }
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(|(ip, port)| (ip.to_canonical(), port).into())
}

fn any_relayed() -> impl Strategy<Value = Relayed> {
    let id =
        ("[a-z0-9-]{1,63}", "[a-z0-9.-]{1,253}").prop_map(|(namespace, name)| ChainId { namespace, name });
    let hops = prop::collection::vec("\\PC{0,200}", 0..=MOST_HOPS);
    (
        any_address(),
        any_address(),
        id.clone(),
        id,
        "\\PC{0,200}",
        hops,
        any::<u64>(),
        any::<[u8; 16]>(),
    )
        .prop_map(
            |(source, destination, chain, home, to, hops, time, nonce)| Relayed {
                addresses: Addresses { source, destination },
                chain,
                home,
                to,
                hops,
                time,
                nonce,
            },
        )
}

proptest! {
    #[test]
    fn what_is_sent_is_read_and_nothing_else(relayed in any_relayed(), after in any::<Vec<u8>>(), flip in any::<prop::sample::Index>(), bit in 0..8u8) {
        let keys = keys(&[1]);
        let header = keys.seal(&relayed).unwrap();
        let whole = [header.as_slice(), &after].concat();
        prop_assert_eq!(keys.open(&whole), Ok(Some((relayed, header.len()))));
        let cut = flip.index(header.len());
        prop_assert_eq!(keys.open(&header[..cut]), Ok(None));
        // No bit of it can be changed. A greater length waits for bytes that do not come.
        let mut forged = header.clone();
        forged[cut] ^= 1 << bit;
        prop_assert!(!matches!(keys.open(&forged), Ok(Some(_))), "bit {} of byte {}", bit, cut);
        let longer = [forged.as_slice(), &[0; MAX_LENGTH]].concat();
        prop_assert!(keys.open(&longer).is_err(), "bit {} of byte {}", bit, cut);
    }

    #[test]
    fn foreign_bytes_are_never_taken(bytes in any::<Vec<u8>>()) {
        let keys = keys(&[1]);
        prop_assert!(!matches!(keys.open(&bytes), Ok(Some(_))));
        let framed = [v2::SIGNATURE, &[0x21, 0x11], &(bytes.len() as u16).to_be_bytes(), &bytes].concat();
        prop_assert!(keys.open(&framed).is_err());
    }
}
