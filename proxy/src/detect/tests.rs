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

fn http(name: &str) -> Look {
    Look::Http(Some(name.into()))
}

#[test]
fn finds_the_host_of_a_request() {
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: A.Example\r\n\r\n", http("a.example")),
        (
            "GET / HTTP/1.1\r\nAccept: */*\r\nhOST:\ta.example:8080 \r\n\r\nbody",
            http("a.example"),
        ),
        ("POST /x HTTP/1.0\r\nHost: a.example.\r\n\r\n", http("a.example")),
        ("GET / HTTP/1.1\nHost: a.example\n\n", http("a.example")),
        (
            "GET http://b.example:81/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n",
            http("b.example"),
        ),
        ("GET http://u:p@b.example HTTP/1.1\r\n\r\n", http("b.example")),
        (
            "GET /?u=http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            http("a.example"),
        ),
        (
            "CONNECT b.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
            http("b.example"),
        ),
        (
            "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
            http("[2001:db8::1]"),
        ),
        (
            "GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n",
            http("[2001:db8::1]"),
        ),
        (
            "GET / HTTP/1.1\r\nHost: m\u{f8}ller.example\r\n\r\n",
            http("m\u{f8}ller.example"),
        ),
        ("GET / HTTP/1.0\r\n\r\n", Look::Http(None)),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Look::Http(None)),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Look::Http(None)),
    ] {
        assert_eq!(look(Protocol::Auto, head.as_bytes()), expected, "{head}");
        let end = head.find("\r\n\r\n").map_or(head.len(), |at| at + 4);
        for cut in 0..end {
            assert_eq!(
                look(Protocol::Auto, &head.as_bytes()[..cut]),
                Look::More,
                "{head} cut at {cut}"
            );
        }
    }
}

#[test]
fn tells_http_from_what_only_begins_like_it() {
    for bytes in [
        "SSH-2.0-x\r\n",
        "EHLO x\r\n",
        "GETTING\r\n",
        "get / HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\0",
    ] {
        assert_eq!(look(Protocol::Auto, bytes.as_bytes()), Look::Opaque, "{bytes}");
    }
    assert_eq!(look(Protocol::Auto, b"GET \x01\r\n\r\n"), Look::Opaque);
    for bytes in ["", "G", "GE", "GET", "GET ", "P", "PROP"] {
        assert_eq!(look(Protocol::Auto, bytes.as_bytes()), Look::More, "{bytes}");
    }
    let two = "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n";
    assert!(
        matches!(look(Protocol::Auto, two.as_bytes()), Look::Bad(_)),
        "two hosts are an attack, or as good as one"
    );
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(129));
    assert!(matches!(look(Protocol::Auto, many.as_bytes()), Look::Bad(_)));
}

proptest! {
    #[test]
    fn never_panics_whatever_comes(bytes in prop::collection::vec(any::<u8>(), 0..400), like in 0..4_u8) {
        let mut all = match like {
            0 => vec![],
            1 => vec![22, 3, 1],
            2 => [&[22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3][..], &[0; 32]].concat(),
            _ => b"GET / HTTP/1.1\r\n".to_vec(),
        };
        all.extend(bytes);
        all.extend(b"\r\n\r\n");
        for protocol in [Protocol::Tcp, Protocol::Tls, Protocol::Auto] {
            look(protocol, &all);
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
