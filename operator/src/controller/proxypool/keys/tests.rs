//! Rings through time: tables for what is found, a property for every sequence of looks.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Found, KEY_BYTES, Key, Plan, ROTATED_AT, plan};

const PERIOD: Duration = Duration::from_hours(12);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn key(n: u8) -> Key {
    Key::new([n; KEY_BYTES])
}

/// The Secret that a plan asks for, as the API server would tell it.
fn secret(plan: &Plan) -> Value {
    json!({"metadata": {"annotations": {ROTATED_AT: plan.ring.rotated_at()}}, "data": plan.ring.data()})
}

/// Which keys stand where; 0 is none. The plan's times in seconds.
fn shape(plan: &Plan) -> (u8, u8, u8, i64) {
    let number = |key: Option<&Key>| key.map_or(0, |key| key.0[0]);
    let ring = &plan.ring;
    let second = ring.rotated_at.as_second() - at(0).as_second();
    (
        number(ring.previous.as_ref()),
        number(Some(&ring.current)),
        number(Some(&ring.next)),
        second,
    )
}

fn encoded(n: u8, bytes: usize) -> Value {
    use base64::Engine as _;
    json!(base64::engine::general_purpose::STANDARD.encode(vec![n; bytes]))
}

#[test]
fn what_is_found_decides() {
    let hour = 3600;
    let full = json!({"previous": encoded(1, 32), "current": encoded(2, 32), "next": encoded(3, 32)});
    let rotated = |seconds: i64| json!({ROTATED_AT: at(seconds).to_string()});
    let cases = [
        ("nothing", json!({}), json!({}), (0, 8, 9, 0)),
        ("young", full.clone(), rotated(-hour), (1, 2, 3, -hour)),
        (
            "a second before the step",
            full.clone(),
            rotated(-12 * hour + 1),
            (1, 2, 3, -12 * hour + 1),
        ),
        ("at the step", full.clone(), rotated(-12 * hour), (2, 3, 8, 0)),
        (
            "ten periods late: one step",
            full.clone(),
            rotated(-120 * hour),
            (2, 3, 8, 0),
        ),
        ("no time: count from now", full.clone(), json!({}), (1, 2, 3, 0)),
        (
            "a time that is no time",
            full.clone(),
            json!({ROTATED_AT: "yesterday"}),
            (1, 2, 3, 0),
        ),
        ("a time to come", full, rotated(hour), (1, 2, 3, 0)),
        (
            "no next",
            json!({"current": encoded(2, 32)}),
            rotated(-hour),
            (0, 2, 8, 0),
        ),
        (
            "no current",
            json!({"next": encoded(3, 32)}),
            rotated(-hour),
            (0, 3, 8, 0),
        ),
        (
            "current of a wrong size",
            json!({"current": encoded(2, 31), "next": encoded(3, 32)}),
            rotated(-hour),
            (0, 3, 8, 0),
        ),
        (
            "current is no base64",
            json!({"current": "%", "next": encoded(3, 32)}),
            rotated(-hour),
            (0, 3, 8, 0),
        ),
        (
            "only previous",
            json!({"previous": encoded(1, 32)}),
            rotated(-hour),
            (1, 8, 9, 0),
        ),
    ];
    for (what, data, annotations, expected) in cases {
        let found = Found::read(&json!({"metadata": {"annotations": annotations}, "data": data}));
        let plan = plan(at(0), PERIOD, found, [key(8), key(9)]);
        assert_eq!(shape(&plan), expected, "{what}");
        let age = SignedDuration::from_secs(-expected.3);
        assert_eq!(
            plan.next_step_in,
            PERIOD.checked_sub(Duration::try_from(age).unwrap()).unwrap(),
            "{what}"
        );
    }
}

#[test]
fn a_plan_that_was_carried_out_asks_for_nothing() {
    let first = plan(at(0), PERIOD, Found::default(), [key(1), key(2)]);
    let again = plan(at(60), PERIOD, Found::read(&secret(&first)), [key(3), key(4)]);
    assert!(first.ring == again.ring, "the Secret would be written again");
    assert_eq!(
        again.next_step_in,
        PERIOD.checked_sub(Duration::from_mins(1)).unwrap()
    );
}

proptest! {
    /// Whoever reads the Secret at least once per period can always read what anybody else writes.
    #[test]
    fn nobody_meets_a_key_that_was_not_told_a_period_before(looks in prop::collection::vec(0_i64..40 * 3600, 1..40)) {
        let mut secret_now: Option<Value> = None;
        let mut now = 0;
        let mut fresh = 0_u8;
        // For each key: when it was first told, when it began to write, when it stopped to.
        let mut told = std::collections::BTreeMap::new();
        let mut writing: Option<(u8, i64)> = None;
        for wait in looks {
            now += wait;
            let found = secret_now.as_ref().map(Found::read).unwrap_or_default();
            fresh += 2;
            let plan = plan(at(now), PERIOD, found, [key(fresh - 1), key(fresh)]);
            let (previous, current, next, _) = shape(&plan);
            prop_assert!(current != next && previous != current);
            for key in [previous, current, next] {
                told.entry(key).or_insert(now);
            }
            if let Some((before, since)) = writing && before != current {
                prop_assert!(now - told[&current] >= 12 * 3600, "{} writes {} s after it was told", current, now - told[&current]);
                prop_assert!(now - since >= 12 * 3600);
                prop_assert_eq!(previous, before, "what was just written can no longer be read");
            }
            if writing.is_none_or(|(before, _)| before != current) {
                writing = Some((current, now));
            }
            prop_assert!(plan.next_step_in <= PERIOD && !plan.next_step_in.is_zero());
            secret_now = Some(secret(&plan));
        }
    }
}
