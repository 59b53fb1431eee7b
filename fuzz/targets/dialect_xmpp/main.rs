//! The reader of XMPP stream headers. Whatever the bytes: no panic, one decision; and the answer has the elements and
//! attributes that it shall have, and no other, whatever of the client's was echoed.

use bolero::check;
use switchyard_fuzz::decides_once;
use switchyard_proxy::dialect::{Heard, Place, Step, xmpp};

fn main() {
    let Some(to) = Place::new("2001:db8::1", 5222) else {
        unreachable!("a place")
    };
    check!().for_each(|bytes: &[u8]| {
        let read = |said: &[u8]| {
            let heard = Heard {
                said,
                turns: 0,
                to: &to,
                nonce: 7,
            };
            match xmpp::read(&heard) {
                Step::More => None,
                step => Some(step),
            }
        };
        decides_once(bytes, read);
        match read(bytes) {
            None | Some(Step::NotMine) => {}
            Some(Step::Done(answer)) => is_well_formed(&answer),
            step => unreachable!("{step:?}"),
        }
    });
}

fn is_well_formed(answer: &[u8]) {
    let Ok(answer) = std::str::from_utf8(answer) else {
        unreachable!("{answer:?} is no UTF-8")
    };
    let count = |c| answer.matches(c).count();
    // The declaration, stream and error, see-other-host, and three ends.
    assert_eq!((count('<'), count('>')), (7, 7), "{answer}");
    let attributes = 8 + usize::from(answer.contains("' to='"));
    assert_eq!((count('\''), count('"')), (2 * attributes, 0), "{answer}");
    assert!(!answer.contains(char::is_control), "{answer:?}");
    assert!(
        answer.contains(">[2001:db8::1]:5222</see-other-host>"),
        "{answer}"
    );
    for reference in answer.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;", "apos;"];
        assert!(known.iter().any(|known| reference.starts_with(known)), "{answer}");
    }
}
