use super::*;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).unwrap()
}

fn schedule(seed: u64) -> Schedule {
    Schedule::new(fastrand::Rng::with_seed(seed))
}

/// An hour, from 0 on.
fn hour() -> Life {
    (at(0), at(3_600_000))
}

#[test]
fn the_first_certificate_is_asked_for_at_once_by_the_token() {
    let mut schedule = schedule(1);
    assert_eq!(schedule.wait(at(0), None), Duration::ZERO);
    assert_eq!(schedule.due(at(0), None), Some(Means::Token));
}

#[test]
fn it_is_renewed_by_itself_before_two_thirds_of_its_life_and_proxies_are_spread() {
    let mut moments: Vec<i64> = (0..200)
        .map(|seed| {
            let mut schedule = schedule(seed);
            let due = (0..3600).find(|second| schedule.due(at(second * 1000), Some(hour())).is_some());
            let due = due.expect("due within its life");
            assert_eq!(
                schedule.due(at(due * 1000), Some(hour())),
                Some(Means::Certificate)
            );
            due
        })
        .collect();
    moments.sort_unstable();
    let (first, last) = (moments[0], moments[moments.len() - 1]);
    assert!(first >= 2040 && last <= 2400, "{first} to {last} s");
    assert!(last - first > 300, "spread over {} s only", last - first);
}

#[test]
fn an_expired_one_proves_nothing() {
    let mut schedule = schedule(1);
    assert_eq!(schedule.due(at(3_600_000), Some(hour())), Some(Means::Token));
}

#[test]
fn a_refused_renewal_gives_way_to_the_token_at_once_and_the_token_then_waits() {
    let mut schedule = schedule(1);
    let now = at(2_400_000);
    schedule.failed(now, Means::Certificate, Failure::Refused);
    assert_eq!(schedule.wait(now, Some(hour())), Duration::ZERO);
    assert_eq!(schedule.due(now, Some(hour())), Some(Means::Token));
    schedule.failed(now, Means::Token, Failure::Refused);
    assert!(schedule.wait(now, Some(hour())) >= Duration::from_millis(250));
    assert_eq!(schedule.due(now, Some(hour())), None, "it does not hammer");
    schedule.succeeded();
    let again = Some((now, at(2_400_000 + 3_600_000)));
    assert_eq!(
        schedule.due(at(2_400_000 + 2_400_000), again),
        Some(Means::Certificate),
        "trusted again"
    );
}

#[test]
fn an_operator_that_is_gone_is_asked_every_second_and_one_that_refuses_less_often() {
    for (how, means, last) in [
        (Failure::Unheard, Means::Certificate, Duration::from_secs(1)),
        (Failure::Wrong, Means::Certificate, Duration::from_secs(5)),
        (Failure::Refused, Means::Token, Duration::from_secs(5)),
    ] {
        let mut schedule = schedule(7);
        let mut now = at(2_400_000);
        let life = Some(hour()).filter(|_| means == Means::Certificate);
        for attempt in 0..12 {
            schedule.failed(now, means, how);
            let wait = schedule.wait(now, life);
            now = plus(now, wait);
            assert_eq!(
                schedule.due(now, life),
                Some(means),
                "what is valid still proves it"
            );
            let longest = FIRST_RETRY.saturating_mul(1 << attempt).min(last);
            assert!(
                wait >= longest / 2 && wait <= longest,
                "{how:?} {attempt}: {wait:?} of {longest:?}"
            );
        }
    }
}

#[test]
fn a_clock_that_is_set_is_looked_at() {
    let mut schedule = schedule(1);
    assert!(
        schedule.wait(at(0), Some(hour())) <= Duration::from_mins(1),
        "it looks often"
    );
    schedule.failed(at(3_000_000), Means::Certificate, Failure::Unheard);
    let back = at(0);
    assert!(
        schedule.wait(back, Some(hour())) <= LAST_RETRY,
        "set back, it does not wait for the difference"
    );
}

#[test]
fn a_certificate_that_nobody_wants_gives_way_to_the_token_before_its_time_and_once() {
    let mut schedule = schedule(1);
    let now = at(1_000);
    assert_eq!(schedule.due(now, Some(hour())), None);
    schedule.doubted(now);
    assert_eq!(schedule.due(now, Some(hour())), Some(Means::Token));
    schedule.failed(now, Means::Token, Failure::Unheard);
    schedule.doubted(now);
    assert_eq!(
        schedule.due(now, Some(hour())),
        None,
        "each new refusal is no reason to hammer"
    );
}
