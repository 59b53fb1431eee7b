//! The reader of MQTT. Whatever a client says: no panic, one decision, and an answer that is one whole packet. Whatever both
//! sides say, and however it is cut: the same farewell, or none.

use bolero::{TypeGenerator, check};
use switchyard_fuzz::decides_once;
use switchyard_proxy::dialect::{Heard, Place, Step, Watch, mqtt};

/// What both sides of a session say, and how many bytes come at a time.
#[derive(Clone, Debug, TypeGenerator)]
struct Session {
    /// Otherwise the client speaks as it should.
    strange: bool,
    up: Vec<u8>,
    down: Vec<u8>,
    step: u8,
}

fn place() -> Place {
    match Place::new("b.example", 1883) {
        Some(place) => place,
        None => unreachable!("a place"),
    }
}

fn main() {
    // A fuzzing engine takes the first over and does not come back.
    check!().for_each(|bytes: &[u8]| {
        client(bytes);
        // The same bytes as a server's.
        server(bytes, 1);
    });
    check!().with_type::<Session>().for_each(session);
}

fn client(bytes: &[u8]) {
    let to = place();
    let read = |said: &[u8]| {
        let heard = Heard {
            said,
            turns: 0,
            to: &to,
            nonce: 7,
        };
        match mqtt::read(&heard) {
            Step::More => None,
            step => Some(step),
        }
    };
    decides_once(bytes, read);
    match read(bytes) {
        None | Some(Step::NotMine) => {}
        Some(Step::Done(answer)) => {
            assert!(bytes.starts_with(&[0x10]));
            is_packet(&answer, 0x20);
        }
        step => unreachable!("{step:?}"),
    }
}

const CONNECT: &[u8] = b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02me";

fn server(down: &[u8], step: usize) {
    let mut whole = mqtt::Session::default();
    whole.up(CONNECT);
    whole.down(down);
    let mut cut = mqtt::Session::default();
    cut.up(CONNECT);
    for piece in down.chunks(step) {
        cut.down(piece);
    }
    same(&whole, &cut, down);
}

fn session(session: &Session) {
    let Session {
        strange,
        up,
        down,
        step,
    } = session;
    if !strange {
        return server(down, usize::from(*step).max(1));
    }
    let (mut whole, mut cut) = (mqtt::Session::default(), mqtt::Session::default());
    whole.up(up);
    whole.down(down);
    for piece in up.chunks(usize::from(*step).max(1)) {
        cut.up(piece);
    }
    cut.down(down);
    same(&whole, &cut, down);
}

fn same(whole: &mqtt::Session, cut: &mqtt::Session, down: &[u8]) {
    let to = place();
    let farewell = whole.farewell(&to);
    assert_eq!(farewell, cut.farewell(&to));
    assert_eq!(whole.is_over(), cut.is_over());
    if let Some(packet) = farewell {
        is_packet(&packet, if down.is_empty() { 0x20 } else { 0xe0 });
    }
}

fn is_packet(packet: &[u8], kind: u8) {
    let [first, length, body @ ..] = packet else {
        unreachable!("{packet:?}")
    };
    assert_eq!((*first, usize::from(*length)), (kind, body.len()));
    assert!(packet.ends_with(b"\x1c\x00\x0eb.example:1883"), "{packet:?}");
}
