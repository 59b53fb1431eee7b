use proptest::prelude::*;

use super::*;

/// A vector with a length of two bytes before it.
fn vector16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// A `ClientHello` with these extensions, as one handshake message.
fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let all: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &vector16(data)].concat())
        .collect();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend(vector16(&[0x13, 0x01]));
    body.extend([1, 0]);
    body.extend(vector16(&all));
    let length = (body.len() as u32).to_be_bytes();
    [&[1], &length[1..], &body].concat()
}

fn server_name(name: &str) -> (u16, Vec<u8>) {
    (0, vector16(&[&[0][..], &vector16(name.as_bytes())].concat()))
}

/// `message` in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message
        .chunks(size)
        .flat_map(|part| [&[22, 3, 1][..], &vector16(part)].concat())
        .collect()
}

fn tls(name: &str) -> Look {
    Look::Tls(Some(name.into()))
}

#[test]
fn finds_the_server_name_however_the_hello_is_cut() {
    let message = hello(&[
        (0x0a0a, vec![]),
        server_name("Sync.Example.COM."),
        (16, vec![0, 3, 2, b'h', b'2']),
    ]);
    for size in [1, 2, 3, 5, 50, message.len()] {
        let bytes = records(&message, size);
        for protocol in [Protocol::Tls, Protocol::Auto] {
            assert_eq!(look(protocol, &bytes), tls("sync.example.com"), "{size}");
            for end in 0..bytes.len() {
                assert_eq!(look(protocol, &bytes[..end]), Look::More, "{size} cut at {end}");
            }
        }
    }
    let mut with_more = records(&message, 1000);
    with_more.extend(b"\x14\x03\x03\x00\x01\x01\x17\x03\x03early data");
    assert_eq!(look(Protocol::Tls, &with_more), tls("sync.example.com"));
}

#[test]
fn finds_it_in_a_hello_of_a_real_client() {
    use std::sync::Arc;
    let roots = rustls::RootCertStore::empty();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    for (name, expected) in [
        ("chat.example.com", Some("chat.example.com")),
        ("192.0.2.1", None),
    ] {
        let mut client =
            rustls::ClientConnection::new(Arc::clone(&config), name.try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        assert_eq!(
            look(Protocol::Tls, &bytes),
            Look::Tls(expected.map(str::to_owned))
        );
    }
}

#[test]
fn a_hello_without_a_name_is_still_one() {
    for extensions in [
        vec![],
        vec![(16, vec![0, 3, 2, b'h', b'2'])],
        vec![(0, vec![0, 0])],
    ] {
        assert_eq!(
            look(Protocol::Tls, &records(&hello(&extensions), 1000)),
            Look::Tls(None)
        );
    }
    // Before TLS 1.2: no extensions at all.
    let mut message = hello(&[]);
    message.truncate(message.len() - 2);
    message[3] -= 2;
    assert_eq!(look(Protocol::Tls, &records(&message, 1000)), Look::Tls(None));
}

#[test]
fn refuses_what_is_no_hello() {
    let message = hello(&[server_name("a.example")]);
    let mut not_a_hello = message.clone();
    not_a_hello[0] = 2;
    let mut long = message.clone();
    long[1..4].copy_from_slice(&[0, 0x40, 1]);
    let mut torn = message.clone();
    let at = torn.len() - 10;
    torn[at] = 0xff;
    for (what, bytes) in [
        ("HTTP", b"GET / HTTP/1.1\r\n".to_vec()),
        ("an alert", vec![21, 3, 1, 0, 2, 1, 0]),
        ("another version", vec![22, 2, 0, 0, 2]),
        ("an empty record", vec![22, 3, 1, 0, 0]),
        ("an impossible record", vec![22, 3, 1, 0x40, 1]),
        ("a ServerHello", records(&not_a_hello, 1000)),
        ("a hello that is too long", records(&long, 1000)),
        ("lengths that do not add up", records(&torn, 1000)),
        (
            "another record in between",
            [records(&message[..9], 1000), vec![23, 3, 3]].concat(),
        ),
        (
            "a name with a blank",
            records(&hello(&[server_name("a b")]), 1000),
        ),
    ] {
        assert!(
            matches!(look(Protocol::Tls, &bytes), Look::Bad(_)),
            "{what}: {:?}",
            look(Protocol::Tls, &bytes)
        );
        assert!(!matches!(look(Protocol::Auto, &bytes), Look::Bad(_)), "{what}");
    }
}

const HTTP1: Look = Look::Http(HttpVersion::Http1);
const HTTP2: Look = Look::Http(HttpVersion::Http2);

#[test]
fn knows_http_by_its_first_line() {
    for (bytes, expected) in [
        ("GET / HTTP/1.1\r\n", HTTP1),
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\nbody", HTTP1),
        ("POST /x HTTP/1.0\n", HTTP1),
        ("GET http://b.example:81/x?y HTTP/1.1\r\n", HTTP1),
        ("CONNECT b.example:443 HTTP/1.1\r\n", HTTP1),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", HTTP2),
        ("GET \x01\r\n", Look::Opaque),
        ("GET /\r\n", Look::Opaque),
        ("GET / HTTP/2.0\r\n", Look::Opaque),
        ("GET / HTTP/1.1x\r\n", Look::Opaque),
        ("GET /HTTP/1.1\r\n", Look::Opaque),
    ] {
        for look in [look, look_inside] {
            assert_eq!(look(Protocol::Auto, bytes.as_bytes()), expected, "{bytes:?}");
            let known = match expected {
                HTTP2 => http::PREFACE.len(),
                _ => bytes.find('\n').unwrap() + 1,
            };
            for cut in 0..known {
                let begin = &bytes.as_bytes()[..cut];
                assert_eq!(look(Protocol::Auto, begin), Look::More, "{bytes:?} cut at {cut}");
            }
        }
    }
    let endless = [b"GET /".to_vec(), vec![b'x'; LIMIT]].concat();
    assert_eq!(
        look(Protocol::Auto, &endless),
        HTTP1,
        "whoever serves it answers 414"
    );
}

#[test]
fn tells_http_from_what_only_begins_like_it() {
    for bytes in [
        "SSH-2.0-x\r\n",
        "EHLO x\r\n",
        "GETTING\r\n",
        "get / HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXM\r\n\r\n",
        "\0",
    ] {
        for look in [look, look_inside] {
            assert_eq!(look(Protocol::Auto, bytes.as_bytes()), Look::Opaque, "{bytes}");
        }
    }
    for bytes in ["", "G", "GE", "GET", "GET ", "P", "PR", "PROP", "PRI * HT"] {
        assert_eq!(look(Protocol::Auto, bytes.as_bytes()), Look::More, "{bytes}");
    }
}

#[test]
fn where_http_is_spoken_everything_that_may_be_meant_as_http_is() {
    for (bytes, expected) in [
        ("", Look::More),
        ("P", Look::More),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Look::More),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTP2),
        ("PU", HTTP1),
        ("PRI * HTTP/2.0\r\n\r\nXM", HTTP1),
        ("x", HTTP1),
        ("\r\nGET", HTTP1),
    ] {
        assert_eq!(look(Protocol::Http, bytes.as_bytes()), expected, "{bytes:?}");
        assert_eq!(
            look_inside(Protocol::Https, bytes.as_bytes()),
            expected,
            "{bytes:?}"
        );
    }
    let message = hello(&[server_name("a.example")]);
    for bytes in [
        records(&message, 1000),
        vec![22],
        vec![0],
        b" GET".to_vec(),
        vec![0xff],
    ] {
        for (look, protocol) in [
            (look as fn(Protocol, &[u8]) -> Look, Protocol::Http),
            (look_inside, Protocol::Https),
        ] {
            let seen = look(protocol, &bytes);
            assert!(matches!(seen, Look::Bad(_)), "{bytes:?}: {seen:?}");
        }
    }
    assert!(matches!(
        look(Protocol::Https, b"GET / HTTP/1.1\r\n"),
        Look::Bad(_)
    ));
}

proptest! {
    #[test]
    fn never_panics_whatever_comes(bytes in prop::collection::vec(any::<u8>(), 0..400), like in 0..5_u8) {
        let mut all = match like {
            0 => vec![],
            1 => vec![22, 3, 1],
            2 => [&[22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3][..], &[0; 32]].concat(),
            3 => b"PRI * HTTP/2.0\r\n\r\nSM".to_vec(),
            _ => b"GET / HTTP/1.1\r\n".to_vec(),
        };
        all.extend(bytes);
        all.extend(b"\r\n\r\n");
        for protocol in [Protocol::Tcp, Protocol::Tls, Protocol::Http, Protocol::Https, Protocol::Auto] {
            look(protocol, &all);
            look_inside(protocol, &all);
        }
    }

    #[test]
    fn a_damaged_hello_never_panics(at in 0..120_usize, with in any::<u8>()) {
        let mut bytes = records(&hello(&[(5, vec![1; 9]), server_name("a.example.com")]), 40);
        let at = at % bytes.len();
        bytes[at] = with;
        look(Protocol::Tls, &bytes);
    }
}
