//! The reader of relay headers. Whatever the bytes: no panic, one decision, nothing taken that was not signed; what is signed
//! says the same when it is written and read again.

use bolero::{TypeGenerator, check};
use switchyard_fuzz::decides_once;
use switchyard_proxy::proxy_protocol::relayed::{MOST_HOPS, RelayKeys, Relayed};
use switchyard_proxy::proxy_protocol::{Addresses, MAX_LENGTH};
use switchyard_snapshot::{ChainId, GossipKey, Private};

/// A header to write, what a client says after it, and a change on its way.
#[derive(Clone, Debug, TypeGenerator)]
struct Written {
    source: ([u8; 4], u16),
    destination: ([u8; 4], u16),
    chain: Vec<u8>,
    home: Vec<u8>,
    to: Vec<u8>,
    hops: Vec<Vec<u8>>,
    time: u64,
    nonce: [u8; 16],
    after: Vec<u8>,
    changed: (usize, u8),
}

fn main() {
    assert!(keys().is_some());
    // A fuzzing engine takes the first over and does not come back.
    check!().for_each(foreign);
    check!().with_type::<Written>().for_each(read_again);
}

/// The key that the corpus is signed with.
fn keys() -> Option<RelayKeys> {
    let key = GossipKey {
        key: Private::new("01".repeat(32)),
    };
    RelayKeys::new(&[key])
}

fn foreign(bytes: &[u8]) {
    let Some(keys) = keys() else { return };
    decides_once(bytes, |bytes| keys.open(bytes).transpose());
    if let Ok(Some((relayed, length))) = keys.open(bytes) {
        assert!(length <= bytes.len() && length <= MAX_LENGTH, "{length}");
        let again = keys.seal(&relayed).unwrap_or_default();
        assert_eq!(keys.open(&again), Ok(Some((relayed, again.len()))));
    }
}

fn read_again(written: &Written) {
    let Some(keys) = keys() else { return };
    let text = |bytes: &[u8]| -> String {
        bytes
            .iter()
            .take(253)
            .map(|b| char::from(b'a' + b % 26))
            .collect()
    };
    let chain = |bytes: &[u8]| ChainId {
        namespace: text(bytes.get(..3).unwrap_or_default()),
        name: text(bytes),
    };
    let relayed = Relayed {
        addresses: Addresses {
            source: written.source.into(),
            destination: written.destination.into(),
        },
        chain: chain(&written.chain),
        home: chain(&written.home),
        to: text(&written.to),
        hops: written.hops.iter().take(MOST_HOPS).map(|hop| text(hop)).collect(),
        time: written.time,
        nonce: written.nonce,
    };
    let header = keys.seal(&relayed).unwrap_or_default();
    let whole = [header.as_slice(), &written.after].concat();
    assert_eq!(keys.open(&whole), Ok(Some((relayed, header.len()))));
    let (at, by) = written.changed;
    let mut forged = header;
    let at = at % forged.len();
    if let Some(byte) = forged.get_mut(at)
        && by != 0
    {
        *byte ^= by;
        assert!(
            !matches!(keys.open(&forged), Ok(Some(_))),
            "byte {at} changed by {by:#x}"
        );
    }
}
