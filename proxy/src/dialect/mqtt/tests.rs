use proptest::prelude::*;

use super::*;
use crate::dialect::Watch as _;

fn to() -> Place {
    Place::new("b.example", 1883).unwrap()
}

fn ask(said: &[u8]) -> Step {
    read(&Heard {
        said,
        turns: 0,
        to: &to(),
        nonce: 0,
    })
}

/// A CONNECT of MQTT 5 with these properties, and `me` as the client's name.
fn connect(properties: &[u8]) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x05\x02\x00\x3c".to_vec();
    write_length(&mut body, properties.len());
    body.extend_from_slice(properties);
    body.extend_from_slice(b"\x00\x02me");
    sent(CONNECT, &body)
}

/// A packet.
fn sent(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    write_length(&mut packet, body.len());
    packet.extend_from_slice(body);
    packet
}

const TOLD: &[u8] = b"\x20\x14\x00\x9c\x11\x1c\x00\x0eb.example:1883";

/// What the standard has in the place of a longer text, read back without what wrote it.
fn reference(packet: &[u8], header: usize) -> (u8, &str) {
    // Lengths here take one byte each.
    let properties = &packet[2 + header..];
    assert_eq!(usize::from(packet[1]), packet.len() - 2);
    assert_eq!(usize::from(properties[0]), properties.len() - 1);
    assert_eq!(
        usize::from(properties[2]) << 8 | usize::from(properties[3]),
        properties.len() - 4
    );
    (properties[1], std::str::from_utf8(&properties[4..]).unwrap())
}

#[test]
fn a_client_is_told_where_to_go() {
    for properties in [
        &b""[..],
        b"\x11\x00\x00\x00\x0a\x21\x00\x14\x22\x00\x0a\x19\x01\x17\x00",
        b"\x26\x00\x01a\x00\x02bc\x26\x00\x00\x00\x00\x15\x00\x01x\x16\x00\x03\x00\x01\x02",
        b"\x27\x00\x00\x00\x16",
    ] {
        assert_eq!(
            ask(&connect(properties)),
            Step::Done(TOLD.to_vec()),
            "{properties:?}"
        );
    }
    let packet = connack(&Place::new("2001:db8::1", 8883).unwrap());
    assert_eq!(&packet[2..4], [0, 0x9c]);
    assert_eq!(reference(&packet, 2), (0x1c, "[2001:db8::1]:8883"));
    assert_eq!(reference(&disconnect(&to()), 1), (0x1c, "b.example:1883"));
    let far = Place::new(&"a".repeat(253), 65_535).unwrap();
    let packet = connack(&far);
    // 262 bytes of properties: their length takes two bytes, and the packet's too.
    assert_eq!(&packet[..8], [0x20, 0x8a, 0x02, 0, 0x9c, 0x86, 0x02, 0x1c]);
    assert_eq!(packet.len(), 3 + 0x10a);
    assert!(packet.ends_with(far.to_string().as_bytes()));
}

#[test]
fn nothing_is_decided_before_the_properties_are_whole_and_the_payload_is_not_waited_for() {
    let said = connect(b"\x21\x00\x14");
    let payload = said.len() - 4;
    for end in 0..payload {
        assert_eq!(ask(&said[..end]), Step::More, "{end}");
    }
    for end in payload..=said.len() {
        assert_eq!(ask(&said[..end]), Step::Done(TOLD.to_vec()), "{end}");
    }
}

#[test]
fn who_cannot_be_redirected_is_not_ours() {
    let good = connect(b"");
    let with = |at: usize, byte: u8| {
        let mut said = good.clone();
        said[at] = byte;
        said
    };
    let mut cases = vec![
        with(0, 0x11),
        with(0, 0x20),
        // Version 3.1.1, and 6.
        with(8, 4),
        with(8, 6),
        with(4, b'm'),
        with(3, 6),
        // The reserved flag; a quality of service that is none.
        with(9, 3),
        with(9, 0x1a),
        // A packet that ends in its own header; properties beyond its end.
        with(1, 8),
        with(12, 9),
        b"\x10\x80\x80\x80\x80\x01".to_vec(),
        b"\x10\x80\x00".to_vec(),
        b"GET / HTTP/1.1\r\n".to_vec(),
        b"\x10\x27\x00\x06MQIsdp\x03".to_vec(),
    ];
    for properties in [
        // Too short for what tells it; none at all; twice; one that a CONNECT does not have; one that is cut.
        &b"\x27\x00\x00\x00\x15"[..],
        b"\x27\x00\x00\x00\x00",
        b"\x27\x00\x00\x01\x00\x27\x00\x00\x01\x00",
        b"\x1c\x00\x01a",
        b"\x11\x00\x00",
        b"\x26\x00\x01a\xff\xff",
    ] {
        cases.push(connect(properties));
    }
    for said in cases {
        assert_eq!(ask(&said), Step::NotMine, "{said:02x?}");
    }
    let mut endless = b"\x10\xff\xff\xff\x7f\x00\x04MQTT\x05\x02\x00\x3c\xff\xff\xff\x70".to_vec();
    while endless.len() < LIMIT {
        endless.extend_from_slice(b"\x26\x00\x01a\x00\x01b");
    }
    assert_eq!(ask(&endless[..LIMIT - 1]), Step::More);
    assert_eq!(ask(&endless[..LIMIT]), Step::NotMine);
}

/// A session whose client speaks MQTT 5, and whose server has said `down`.
fn session(down: &[u8]) -> Session {
    let mut session = Session::default();
    let up = connect(b"");
    session.up(&up[..5]);
    session.up(&up[5..]);
    session.down(down);
    session
}

const ACCEPTED: &[u8] = b"\x20\x03\x00\x00\x00";

#[test]
fn an_established_client_is_told_between_packets() {
    let publish = sent(0x30, b"\x00\x01t\x00hello");
    let told = session(ACCEPTED).farewell(&to()).unwrap();
    assert_eq!(told, b"\xe0\x13\x9c\x11\x1c\x00\x0eb.example:1883");
    assert_eq!(
        session(&[ACCEPTED, &publish].concat()).farewell(&to()),
        Some(told)
    );
    assert_eq!(session(&[ACCEPTED, &publish[..4]].concat()).farewell(&to()), None);
    assert_eq!(session(&ACCEPTED[..4]).farewell(&to()), None);
    // Before the server has said anything, a CONNACK says it.
    assert_eq!(session(b"").farewell(&to()), Some(TOLD.to_vec()));
}

#[test]
fn nothing_is_said_where_nothing_may_be_said() {
    for (what, down) in [
        ("the server refuses", &b"\x20\x03\x00\x87\x00"[..]),
        (
            "the server has said farewell itself",
            b"\x20\x03\x00\x00\x00\xe0\x00",
        ),
        ("the server authenticates still", b"\xf0\x02\x18\x00"),
        ("the server speaks something else", b"\x00\x00"),
    ] {
        assert_eq!(session(down).farewell(&to()), None, "{what}");
    }
    assert!(session(b"HTTP/1.1 200 OK").farewell(&to()).is_none());
    let mut older = Session::default();
    older.up(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02me");
    older.down(ACCEPTED);
    assert!(older.is_over() && older.farewell(&to()).is_none());
    let mut unknown = Session::default();
    unknown.up(&connect(b"")[..6]);
    assert!(!unknown.is_over() && unknown.farewell(&to()).is_none());
    let mut narrow = Session::default();
    narrow.up(&connect(b"\x27\x00\x00\x00\x14"));
    narrow.down(ACCEPTED);
    assert!(!narrow.is_over() && narrow.farewell(&to()).is_none());
    let mut endless = Session::default();
    endless.up(b"\x10\xff\xff\xff\x7f\x00\x04MQTT\x05\x02\x00\x3c\xff\xff\xff\x70");
    for _ in 0..2000 {
        endless.up(b"\x26\x00\x01a\x00\x01b");
    }
    assert!(endless.is_over());
}

/// Packets of a server's, and where a stream of them is cut.
fn streams() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<usize>)> {
    let body = prop_oneof![
        4 => 0..4_usize,
        4 => 120..136_usize,
        1 => 16_380..16_390_usize,
    ];
    let packets = proptest::collection::vec((1..16_u8, 0..16_u8, body), 0..12).prop_map(|packets| {
        packets
            .into_iter()
            .map(|(kind, flags, length)| sent(kind << 4 | flags, &vec![0x80; length]))
            .collect()
    });
    (packets, proptest::collection::vec(any::<usize>(), 0..40))
}

proptest! {
    /// Wherever a stream of packets is cut, it is known whether a packet ends there.
    #[test]
    fn boundaries_are_found_however_the_stream_is_cut((packets, cuts) in streams()) {
        let whole = packets.concat();
        let ends: Vec<usize> = packets
            .iter()
            .scan(0, |end, packet: &Vec<u8>| { *end += packet.len(); Some(*end) })
            .collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (whole.len() + 1)).collect();
        cuts.extend(ends.iter().flat_map(|end| [*end, end - 1]));
        cuts.push(whole.len());
        cuts.sort_unstable();
        let (mut boundary, mut from) = (Boundary::default(), 0);
        for cut in cuts {
            boundary.see(&whole[from..cut]);
            from = cut;
            prop_assert_eq!(boundary.is_between(), cut == 0 || ends.contains(&cut), "at {}", cut);
            let begun = ends.iter().filter(|end| **end < cut).count();
            if cut > 0 {
                prop_assert_eq!(boundary.kind(), packets[begun][0]);
            }
        }
        prop_assert!(!boundary.is_broken());
    }

    /// A farewell leaves a stream of whole packets, of which it is the last.
    #[test]
    fn a_farewell_never_cuts_a_packet((packets, cuts) in streams()) {
        let whole = [ACCEPTED, &packets.concat()].concat();
        for cut in cuts.into_iter().map(|cut| cut % (whole.len() + 1)) {
            let Some(told) = session(&whole[..cut]).farewell(&to()) else { continue };
            let mut rest = &[&whole[..cut], &told].concat()[..];
            let mut last = 0;
            while let [kind, after @ ..] = rest {
                let digits = after.iter().take_while(|b| **b >= 0x80).count() + 1;
                let length = after[..digits].iter().rev().fold(0, |sum, b| sum << 7 | usize::from(b & 0x7f));
                last = *kind;
                rest = &after[digits + length..];
            }
            prop_assert_eq!(last, if cut == 0 { CONNACK } else { DISCONNECT });
        }
    }
}
