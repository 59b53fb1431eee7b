use proptest::prelude::*;
use switchyard_snapshot::Private;

use super::*;

fn key(nth: u8) -> TicketKey {
    TicketKey {
        id: format!("{nth:02x}").repeat(ID),
        key: Private::new(format!("{nth:02X}").repeat(SECRET)),
    }
}

fn shared(keys: &[TicketKey], context: u8) -> Tickets {
    let own = Arc::new(OwnKeys::new(Instant::now()).unwrap());
    Tickets::new(Keys::of(keys, &own).unwrap(), [context; 32])
}

proptest! {
    #[test]
    fn opens_what_it_sealed_and_nothing_that_was_touched(
        session in prop::collection::vec(any::<u8>(), 0..600), at in any::<prop::sample::Index>(), flip in 1..=255_u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let tickets = shared(&[key(1), key(2)], 0);
        let ticket = tickets.encrypt(&session).unwrap();
        prop_assert_eq!(tickets.decrypt(&ticket), Some(session.clone()));
        prop_assert!(session.len() < 16 || !ticket.windows(session.len()).any(|part| part == session));
        let mut touched = ticket.clone();
        touched[at.index(ticket.len())] ^= flip;
        prop_assert_eq!(tickets.decrypt(&touched), None);
        prop_assert_eq!(tickets.decrypt(&ticket[..cut.index(ticket.len())]), None);
    }

    #[test]
    fn opens_nothing_that_it_did_not_seal(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let tickets = shared(&[key(1)], 0);
        prop_assert_eq!(tickets.decrypt(&bytes), None);
        let known = [&[1; ID][..], &bytes].concat();
        prop_assert_eq!(tickets.decrypt(&known), None);
    }
}

#[test]
fn the_first_key_seals_and_all_open_in_the_same_context() {
    let ticket = shared(&[key(1), key(2)], 0).encrypt(b"session").unwrap();
    assert!(ticket.starts_with(&[1; ID]), "{ticket:?}");
    let opened = |keys: &[TicketKey], context| shared(keys, context).decrypt(&ticket);
    assert_eq!(opened(&[key(3), key(1)], 0).as_deref(), Some(&b"session"[..]));
    assert_eq!(opened(&[key(3), key(2)], 0), None, "its key is gone");
    assert_eq!(opened(&[key(1)], 1), None, "of another listener");
    let other = TicketKey {
        key: key(9).key,
        ..key(1)
    };
    assert_eq!(opened(&[other], 0), None, "another key of the same name");
    let again = shared(&[key(1)], 0).encrypt(b"session").unwrap();
    assert_ne!(
        ticket, again,
        "nobody can tell two tickets of one session to be that"
    );
}

#[test]
fn malformed_keys_are_refused_without_showing_them() {
    let own = Arc::new(OwnKeys::new(Instant::now()).unwrap());
    for broken in [
        TicketKey {
            id: "01".into(),
            ..key(1)
        },
        TicketKey {
            id: "zz".repeat(ID),
            ..key(1)
        },
        TicketKey {
            key: Private::new("c0ffee"),
            ..key(1)
        },
        TicketKey {
            key: Private::new("+1".repeat(SECRET)),
            ..key(1)
        },
        TicketKey {
            key: Private::new("é".repeat(SECRET)),
            ..key(1)
        },
    ] {
        let why = Keys::of(&[key(1), broken.clone()], &own).unwrap_err();
        assert!(why.starts_with("ticket key 2 of the pool is malformed"), "{why}");
        assert!(!why.contains(broken.key.reveal()), "{why}");
    }
    let shown = format!("{:?}", Keys::of(&[key(0xab)], &own).unwrap());
    assert!(
        !shown.to_lowercase().contains("abab") && !shown.contains("171"),
        "{shown}"
    );
}

#[test]
fn keys_of_its_own_change_with_time_and_open_for_as_long_again() {
    let begun = Instant::now();
    let own = Arc::new(OwnKeys::new(begun).unwrap());
    let tickets = |context| Tickets::new(Keys::of(&[], &own).unwrap(), [context; 32]);
    let hours = |n| begun + Duration::from_hours(n);
    let ticket = tickets(0).seal_at(begun, b"session").unwrap();
    let opened = |at| tickets(0).open_at(at, &ticket);
    assert!(opened(hours(11)).is_some());
    assert!(
        tickets(1).open_at(hours(11), &ticket).is_none(),
        "of another listener"
    );
    assert!(opened(hours(13)).is_some(), "by the key before");
    let next = tickets(0).seal_at(hours(13), b"session").unwrap();
    assert_ne!(ticket[..ID], next[..ID]);
    assert!(opened(hours(26)).is_none());
    assert!(tickets(0).open_at(hours(26), &next).is_some());
    // Nobody came for days.
    assert!(tickets(0).open_at(hours(99), &next).is_none());
}
