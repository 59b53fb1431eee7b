//! The reader of a TLS client's first message. Whatever the bytes: no panic, one decision, a name that can be one, and the
//! same name that a TLS server reads from them.

use bolero::{TypeGenerator, check};
use switchyard_fuzz::decides_once;
use switchyard_proxy::detect::{Look, tls};

/// A `ClientHello` and how it is sent.
#[derive(Clone, Debug, TypeGenerator)]
struct Hello {
    session: [u8; 32],
    before: Vec<(u16, Vec<u8>)>,
    /// Labels' lengths and letters.
    name: Vec<u8>,
    after: Vec<(u16, Vec<u8>)>,
    record: u8,
}

fn main() {
    // A fuzzing engine takes the first over and does not come back.
    check!().for_each(foreign);
    check!().with_type::<Hello>().for_each(well_formed);
}

fn foreign(bytes: &[u8]) {
    decides_once(bytes, |bytes| match tls::look(bytes) {
        Look::More => None,
        decided => Some(decided),
    });
    let looked = tls::look(bytes);
    assert!(
        !matches!(looked, Look::Http(_) | Look::Opaque),
        "{looked:?} is no answer to TLS"
    );
    let Look::Tls(ours) = looked else {
        return;
    };
    if let Some(name) = &ours {
        assert!(!name.is_empty() && name.len() <= 253, "{name:?}");
        assert!(name.bytes().all(|byte| byte > b' ' && byte != 0x7f), "{name:?}");
    }
    if let Some(theirs) = server_name(bytes) {
        assert_eq!(ours, Some(theirs), "a server behind us would take it for another");
    }
}

/// The name by which rustls would choose a certificate; none: it takes no such client, or there is no name.
fn server_name(mut bytes: &[u8]) -> Option<String> {
    let mut acceptor = rustls::server::Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let name = accepted.client_hello().server_name()?.to_lowercase();
            return Some(name.strip_suffix('.').unwrap_or(&name).to_owned());
        }
    }
    None
}

fn well_formed(hello: &Hello) {
    let name: String = hello
        .name
        .iter()
        .take(60)
        .map(|byte| char::from(b'a' + byte % 26))
        .collect();
    let name = format!("x{name}.example");
    let bytes = hello.bytes(&name);
    assert_eq!(tls::look(&bytes), Look::Tls(Some(name)));
    foreign(&bytes);
    for end in 0..bytes.len() {
        assert_eq!(tls::look(&bytes[..end]), Look::More, "cut at {end}");
    }
}

impl Hello {
    fn bytes(&self, name: &str) -> Vec<u8> {
        let named = vector16(&[&[0][..], &vector16(name.as_bytes())].concat());
        // Server name is extension 0: of two the first would count.
        let other = |extensions: &[(u16, Vec<u8>)]| -> Vec<u8> {
            let few = extensions.iter().take(8);
            few.flat_map(|(kind, data)| {
                [
                    &(*kind).max(1).to_be_bytes()[..],
                    &vector16(&data[..data.len().min(300)]),
                ]
                .concat()
            })
            .collect()
        };
        let extensions = [
            other(&self.before),
            vec![0, 0],
            vector16(&named),
            other(&self.after),
        ]
        .concat();
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(32);
        body.extend(self.session);
        body.extend(vector16(&[0x13, 0x01]));
        body.extend([1, 0]);
        body.extend(vector16(&extensions));
        let length = (body.len() as u32).to_be_bytes();
        let message = [&[1], &length[1..], &body].concat();
        message
            .chunks(usize::from(self.record).max(1))
            .flat_map(|part| [&[22, 3, 1][..], &vector16(part)].concat())
            .collect()
    }
}

/// A vector with a length of two bytes before it.
fn vector16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}
