//! What a client speaks, from its first bytes. Whatever the bytes and the listener: no panic, one decision, an answer that
//! such a listener can give; and whoever speaks HTTP is taken for it.

use bolero::{TypeGenerator, check};
use switchyard_fuzz::decides_once;
use switchyard_proxy::detect::http::PREFACE;
use switchyard_proxy::detect::{LIMIT, Look, http, look, look_inside};
use switchyard_snapshot::{HttpVersion, Protocol};

const PROTOCOLS: [Protocol; 5] = [
    Protocol::Tcp,
    Protocol::Tls,
    Protocol::Http,
    Protocol::Https,
    Protocol::Auto,
];

/// A request with nothing wrong.
#[derive(Clone, Debug, TypeGenerator)]
struct Request {
    method: u8,
    path: Vec<u8>,
    old: bool,
    rest: Vec<u8>,
}

fn main() {
    // A fuzzing engine takes the first over and does not come back.
    check!().for_each(foreign);
    check!().with_type::<Request>().for_each(well_formed);
}

fn foreign(bytes: &[u8]) {
    // Nobody looks at more.
    let bytes = &bytes[..bytes.len().min(LIMIT)];
    for protocol in PROTOCOLS {
        for look in [look, look_inside] {
            decides_once(bytes, |bytes| match look(protocol, bytes) {
                Look::More => None,
                decided => Some(decided),
            });
        }
        let looked = look(protocol, bytes);
        let possible = match protocol {
            Protocol::Tcp => looked == Look::Opaque,
            Protocol::Tls | Protocol::Https => !matches!(looked, Look::Http(_) | Look::Opaque),
            Protocol::Http => !matches!(looked, Look::Tls(_) | Look::Opaque),
            Protocol::Auto => true,
        };
        assert!(possible, "{looked:?} on a listener that speaks {protocol:?}");
        let inside = look_inside(protocol, bytes);
        assert!(!matches!(inside, Look::Tls(_)), "TLS within TLS is opaque");
        for looked in [looked, inside] {
            if looked == Look::Http(HttpVersion::Http2) {
                assert!(bytes.starts_with(PREFACE), "HTTP/2 without its preface");
            }
        }
    }
    // Where anything may be spoken, no more is taken for HTTP than where only that is.
    if let Look::Http(version) = http::look(bytes) {
        assert_eq!(http::expect(bytes), Look::Http(version));
    }
}

fn well_formed(request: &Request) {
    let letters = |bytes: &[u8], most: usize| -> String {
        let few = bytes.iter().take(most);
        few.map(|byte| char::from(b'a' + byte % 26)).collect()
    };
    let method = ["GET", "POST", "PUT", "OPTIONS", "PROPFIND"][usize::from(request.method % 5)];
    let line = format!(
        "{method} /{} HTTP/1.{}\r\n",
        letters(&request.path, 200),
        u8::from(!request.old)
    );
    let mut bytes = line.clone().into_bytes();
    bytes.extend(&request.rest);

    let http = Look::Http(HttpVersion::Http1);
    assert_eq!(look(Protocol::Http, &bytes), http);
    assert_eq!(look(Protocol::Auto, &bytes), http);
    for end in 0..line.len() {
        assert_eq!(http::look(&bytes[..end]), Look::More, "cut at {end}");
    }
}
