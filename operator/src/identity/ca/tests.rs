use super::*;

mod property;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn term(from: i64, until: i64, signs_from: i64) -> Term {
    Term {
        validity: Validity {
            from: at(from),
            until: at(until),
        },
        signs_from: at(signs_from),
        armed: true,
    }
}

fn unarmed(term: Term) -> Term {
    Term { armed: false, ..term }
}

/// 90 days, published for a day, leaves of an hour.
fn lifetimes() -> Lifetimes {
    let hours = |hours| Duration::from_hours(hours);
    Lifetimes::new(hours(90 * 24), hours(24), hours(1)).unwrap()
}

fn given(from: i64, until: i64, kept: Option<usize>) -> Source {
    Source::Given {
        validity: Validity {
            from: at(from),
            until: at(until),
        },
        kept,
    }
}

#[test]
fn the_first_authority_signs_at_once() {
    let plan = plan(at(0), &[], Source::Own, &lifetimes());
    assert_eq!(plan.add, Some(at(0)));
    assert_eq!((plan.forget, plan.disarm), (vec![], vec![]));
    assert_eq!(signer(at(0), &[]), None);
}

#[test]
fn at_two_thirds_of_its_life_a_second_one_is_only_trusted_at_first() {
    let old = term(0, 90 * DAY, 0);
    let early = plan(at(60 * DAY - 1), &[old], Source::Own, &lifetimes());
    assert!(early.is_empty(), "{early:?}");
    let due = plan(at(60 * DAY), &[old], Source::Own, &lifetimes());
    assert_eq!(due.add, Some(at(61 * DAY)));
    assert_eq!(
        (due.forget, due.disarm),
        (vec![], vec![]),
        "the old one still signs"
    );

    let both = [old, term(60 * DAY, 150 * DAY, 61 * DAY)];
    assert_eq!(signer(at(61 * DAY - 1), &both), Some(0));
    assert_eq!(signer(at(61 * DAY), &both), Some(1));
    assert!(
        plan(at(61 * DAY - 1), &both, Source::Own, &lifetimes()).is_empty(),
        "no third one meanwhile"
    );
}

#[test]
fn who_stopped_signing_loses_its_key_soon_and_its_trust_once_no_leaf_can_be_left() {
    let both = [term(0, 90 * DAY, 0), term(60 * DAY, 150 * DAY, 61 * DAY)];
    let minute = 60;
    assert!(plan(at(61 * DAY + 10 * minute - 1), &both, Source::Own, &lifetimes()).is_empty());
    let disarm = plan(at(61 * DAY + 10 * minute), &both, Source::Own, &lifetimes());
    assert_eq!(
        (disarm.disarm, disarm.forget, disarm.add),
        (vec![0], vec![], None)
    );

    let disarmed = [unarmed(both[0]), both[1]];
    let week = MAX_LEAF_LIFETIME.as_secs().cast_signed();
    assert!(plan(at(61 * DAY + week - 1), &disarmed, Source::Own, &lifetimes()).is_empty());
    let forget = plan(at(61 * DAY + week), &disarmed, Source::Own, &lifetimes());
    assert_eq!(
        (forget.forget, forget.disarm, forget.add),
        (vec![0], vec![], None)
    );
}

#[test]
fn nobody_waits_when_nobody_can_sign() {
    let expired = [term(0, 90 * DAY, 0)];
    let plan_then = plan(at(90 * DAY + 1), &expired, Source::Own, &lifetimes());
    assert_eq!(
        (plan_then.forget, plan_then.add),
        (vec![0], Some(at(90 * DAY + 1)))
    );

    let keyless = [unarmed(term(0, 90 * DAY, 0))];
    assert_eq!(
        plan(at(DAY), &keyless, Source::Own, &lifetimes()).add,
        Some(at(DAY))
    );

    // The operator was down while the old one expired: the new one signs before its time.
    let late = [
        term(0, 90 * DAY, 0),
        term(90 * DAY - HOUR, 180 * DAY, 91 * DAY - HOUR),
    ];
    assert_eq!(signer(at(90 * DAY), &late), Some(0));
    assert_eq!(signer(at(90 * DAY + 1), &late), Some(1));
}

#[test]
fn what_somebody_else_writes_is_taken_over_the_same_way() {
    let first = plan(at(0), &[], given(-DAY, 30 * DAY, None), &lifetimes());
    assert_eq!(first.add, Some(at(0)));

    let kept = [term(-DAY, 30 * DAY, 0)];
    assert!(
        plan(at(29 * DAY), &kept, given(-DAY, 30 * DAY, Some(0)), &lifetimes()).is_empty(),
        "theirs to renew"
    );
    let renewed = plan(at(20 * DAY), &kept, given(20 * DAY, 50 * DAY, None), &lifetimes());
    assert_eq!((renewed.add, renewed.forget), (Some(at(21 * DAY)), vec![]));
    assert!(plan(at(20 * DAY), &kept, Source::Unreadable, &lifetimes()).is_empty());
    let expired = given(-40 * DAY, -10 * DAY, None);
    assert!(
        plan(at(20 * DAY), &kept, expired, &lifetimes()).is_empty(),
        "an expired one is of no use"
    );
}

#[test]
fn one_that_is_given_again_moves_to_the_end_and_stays_trusted_throughout() {
    let kept = [unarmed(term(0, 90 * DAY, 0)), term(10 * DAY, 100 * DAY, 11 * DAY)];
    let back = plan(at(13 * DAY), &kept, given(0, 90 * DAY, Some(0)), &lifetimes());
    assert_eq!(
        (back.forget, back.add),
        (vec![0], Some(at(13 * DAY))),
        "it was published long enough before"
    );

    let young = [
        term(10 * DAY, 100 * DAY, 11 * DAY),
        term(10 * DAY + HOUR, 80 * DAY, 11 * DAY + HOUR),
    ];
    let back = plan(
        at(10 * DAY + 2 * HOUR),
        &young,
        given(10 * DAY, 100 * DAY, Some(0)),
        &lifetimes(),
    );
    assert_eq!(
        back.add,
        Some(at(11 * DAY)),
        "not before it would have signed anyway"
    );
}

#[test]
fn lifetimes_that_leave_a_gap_are_refused_in_words() {
    let hours = |hours| Duration::from_hours(hours);
    let cases = [
        ((90 * 24, 24, 0), "more than 0s"),
        ((900 * 24, 24, 8 * 24), "at most"),
        ((90 * 24, 1, 2), "published for at least 2h"),
        ((74, 24, 1), "live for at least 75h"),
    ];
    for ((ca, propagation, certificate), words) in cases {
        let error = Lifetimes::new(hours(ca), hours(propagation), hours(certificate)).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let standard = Lifetimes::default();
    assert_eq!(
        Lifetimes::new(standard.ca, standard.propagation, standard.certificate),
        Ok(standard)
    );
}
