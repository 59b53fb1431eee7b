use jiff::ToSpan;
use proptest::prelude::*;

use super::*;

fn calendar(zone: &str, days: &str, at: &[&str], except: &[&str]) -> Calendar {
    let days: Vec<_> = days.split(' ').collect();
    let starts: Vec<_> = at
        .iter()
        .map(|at| serde_json::json!({"days": days, "at": at}))
        .collect();
    let schedule = serde_json::json!({"timeZone": zone, "starts": starts, "except": except});
    Calendar::new(&serde_json::from_value(schedule).unwrap()).unwrap()
}

const EVERY_DAY: &str = "Mon Tue Wed Thu Fri Sat Sun";

/// The starts of `at` between two moments, in UTC.
fn starts(calendar: &Calendar, from: &str, to: &str) -> Vec<String> {
    let to: Timestamp = to.parse().unwrap();
    let first = calendar.next_start(from.parse().unwrap());
    std::iter::successors(first, |last| calendar.next_start(*last))
        .take_while(|start| *start <= to)
        .map(|start| start.to_string())
        .collect()
}

#[test]
fn days_times_and_exceptions() {
    let work = calendar("Europe/London", "Mon Fri", &["18:30", "07:00"], &["2026-12-25"]);
    assert_eq!(
        starts(&work, "2026-12-18T12:00:00Z", "2026-12-29T00:00:00Z"),
        [
            "2026-12-18T18:30:00Z",
            "2026-12-21T07:00:00Z",
            "2026-12-21T18:30:00Z",
            "2026-12-28T07:00:00Z",
            "2026-12-28T18:30:00Z"
        ]
    );
    // a start is not after itself
    let start = "2026-12-21T07:00:00Z".parse().unwrap();
    assert_eq!(
        work.next_start(start).unwrap().to_string(),
        "2026-12-21T18:30:00Z"
    );
}

#[test]
fn a_skipped_start_comes_later_and_a_repeated_one_once() {
    // zone, time of day, around which days, and when the starts come
    #[rustfmt::skip]
    let table: [(&str, &str, &str, [&str; 3]); 8] = [
        // London 2026: 01:00 becomes 02:00 on 29 March, 02:00 becomes 01:00 on 25 October
        ("Europe/London", "01:30", "2026-03-28", ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]),
        ("Europe/London", "01:30", "2026-10-24", ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        // Lord Howe changes by half an hour
        ("Australia/Lord_Howe", "02:15", "2026-10-03", ["2026-10-02T15:45:00Z", "2026-10-03T15:45:00Z", "2026-10-04T15:15:00Z"]),
        ("Australia/Lord_Howe", "01:45", "2026-04-04", ["2026-04-03T14:45:00Z", "2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]),
        // Troll changes by two hours
        ("Antarctica/Troll", "02:30", "2026-03-28", ["2026-03-28T02:30:00Z", "2026-03-29T02:30:00Z", "2026-03-30T00:30:00Z"]),
        ("Antarctica/Troll", "01:30", "2026-10-24", ["2026-10-23T23:30:00Z", "2026-10-24T23:30:00Z", "2026-10-26T01:30:00Z"]),
        // a change at midnight
        ("America/Santiago", "00:00", "2026-09-05", ["2026-09-05T04:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"]),
        // Apia had no 30 December 2011: its start falls on that of the day after
        ("Pacific/Apia", "07:00", "2011-12-29", ["2011-12-29T17:00:00Z", "2011-12-30T17:00:00Z", "2011-12-31T17:00:00Z"]),
    ];
    for (zone, at, day, expected) in table {
        let calendar = calendar(zone, EVERY_DAY, &[at], &[]);
        let midnight: DateTime = format!("{day}T00:00").parse().unwrap();
        let from = midnight.to_zoned(calendar.zone.clone()).unwrap().timestamp();
        let mut all = starts(
            &calendar,
            &(from - 1.second()).to_string(),
            &(from + 90.hours()).to_string(),
        );
        all.truncate(expected.len());
        assert_eq!(all, expected, "{zone} {at}");
    }
}

#[test]
fn what_cannot_be_understood_is_named() {
    let parse = |text: &str| Calendar::new(&serde_json::from_str(text).unwrap()).unwrap_err();
    let zone = parse(r#"{"timeZone": "Mars/Olympus", "starts": []}"#);
    assert_eq!(zone, "schedule.timeZone \"Mars/Olympus\" is not known");
    let date = parse(r#"{"timeZone": "UTC", "starts": [], "except": ["2026-02-30"]}"#);
    assert_eq!(date, "schedule.except: \"2026-02-30\" is no date");
}

#[test]
fn no_start_is_no_start() {
    assert_eq!(
        calendar("UTC", EVERY_DAY, &[], &[]).next_start(Timestamp::UNIX_EPOCH),
        None
    );
    let calendar = calendar("UTC", "Mon", &["07:00"], &["2026-11-23", "2026-11-30"]);
    let next = calendar.next_start("2026-11-21T00:00:00Z".parse().unwrap());
    assert_eq!(next.unwrap().to_string(), "2026-12-07T07:00:00Z");
}

#[test]
fn far_jumps_of_the_clock_are_cheap_and_bring_one_start() {
    let calendar = calendar("Europe/London", EVERY_DAY, &["07:00", "12:00"], &[]);
    let mut clock = Clockwork::new("1970-01-01T00:00:00Z".parse().unwrap());
    let newest = clock.advance(&calendar, "2026-11-21T09:00:00Z".parse().unwrap());
    assert_eq!(newest.unwrap().to_string(), "2026-11-21T07:00:00Z");
    // a clock that was far ahead and is put right still brings the starts of the right time
    let mut clock = Clockwork::new("2026-11-21T06:00:00Z".parse().unwrap());
    assert!(
        clock
            .advance(&calendar, "2036-01-01T08:00:00Z".parse().unwrap())
            .is_some()
    );
    assert_eq!(
        clock.advance(&calendar, "2026-11-21T06:30:00Z".parse().unwrap()),
        None
    );
    let next = clock.advance(&calendar, "2026-11-21T07:00:00Z".parse().unwrap());
    assert_eq!(next.unwrap().to_string(), "2026-11-21T07:00:00Z");
}

/// Zones whose clocks change in many ways, between 2025 and 2030.
const ZONES: [&str; 9] = [
    "Europe/London",
    "America/New_York",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Apia",
    "America/Santiago",
    "Africa/Casablanca",
    "Asia/Gaza",
    "Asia/Kathmandu",
];

/// What a wall clock shows in `zone`, minute by minute from `from` on, for `days`.
fn minutes(zone: &TimeZone, from: Timestamp, days: i64) -> impl Iterator<Item = (Timestamp, DateTime)> {
    (0..days * 24 * 60).map(move |minute| {
        let at = from + minute.minutes();
        (at, zone.to_datetime(at))
    })
}

/// The starts that somebody sees who looks at that clock each minute: the moment it first shows the time on a day; where
/// it jumps over that time, as long after the jump's old time as the clock would have needed.
fn watched(zone: &TimeZone, at: Time, from: Timestamp, days: i64) -> BTreeSet<Timestamp> {
    let mut shown = BTreeSet::new();
    let mut found = BTreeSet::new();
    let mut before: Option<DateTime> = None;
    for (now, clock) in minutes(zone, from, days) {
        let expected = before.map(|before| before + 1.minute());
        if clock.time() == at && shown.insert(clock.date()) {
            found.insert(now);
        }
        if let Some(mut skipped) = expected {
            while skipped < clock {
                if skipped.time() == at && shown.insert(skipped.date()) {
                    let late = expected.unwrap().until(skipped).unwrap();
                    found.insert(now + late);
                }
                skipped += 1.minute();
            }
        }
        before = Some(clock);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Against somebody who watches the clock minute by minute, around every change of it: no start is missed, none
    /// comes twice, none comes that is not there.
    #[test]
    fn property_a_schedule_never_misses_nor_repeats_a_start(
        zone in prop::sample::select(&ZONES[..]),
        hour in prop_oneof![4 => 0u8..4, 1 => 4u8..24],
        minute in 0u8..60,
        year in 2025i16..=2030,
        change in 0usize..4,
    ) {
        let at = format!("{hour:02}:{minute:02}");
        let calendar = calendar(zone, EVERY_DAY, &[&at], &[]);
        let new_year = Date::new(year, 1, 1).unwrap().to_zoned(TimeZone::UTC).unwrap().timestamp();
        let change = calendar.zone.following(new_year).nth(change).map_or(new_year, |change| change.timestamp());
        let from = change - 50.hours();
        let to = from + (4 * 24).hours();
        let watched = watched(&calendar.zone, at.parse().unwrap(), from, 4);
        let first = calendar.next_start(from - 1.nanosecond());
        let computed: Vec<_> = std::iter::successors(first, |last| calendar.next_start(*last))
            .take_while(|start| *start < to)
            .collect();
        prop_assert!(computed.is_sorted_by(|a, b| a < b));
        // what begins or ends within a minute of the window's ends may be seen by one of the two only
        let inner = |start: &&Timestamp| **start >= from + 2.hours() && **start < to - 2.hours();
        prop_assert_eq!(
            computed.iter().filter(inner).collect::<Vec<_>>(),
            watched.iter().filter(inner).collect::<Vec<_>>()
        );
    }

    /// However often the clock is looked at, and whether it stands still or is set back by up to a day, every start
    /// it passes comes exactly once.
    #[test]
    fn property_a_start_comes_once(
        zone in prop::sample::select(&ZONES[..]),
        hour in 0u8..24,
        from in 0i64..2_000,
        looks in prop::collection::vec((0i64..1_800, prop::bool::weighted(0.15)), 1..60),
    ) {
        let calendar = calendar(zone, EVERY_DAY, &[&format!("{hour:02}:30")], &[]);
        let begin = "2025-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + (from * 24).hours();
        let mut clock = Clockwork::new(begin);
        let (mut now, mut latest) = (begin, begin);
        let mut came = Vec::new();
        for (minutes, back) in looks {
            now = if back { (now - minutes.min(1_440).minutes()).max(begin) } else { now + minutes.minutes() };
            latest = latest.max(now);
            came.extend(clock.advance(&calendar, now));
            if let Some(next) = clock.next(&calendar) {
                prop_assert!(next > now && !came.contains(&next));
            }
        }
        let distinct: BTreeSet<_> = came.iter().copied().collect();
        prop_assert_eq!(distinct.len(), came.len(), "a start came twice: {:?}", came);
        let first = calendar.next_start(begin);
        let passed: Vec<_> = std::iter::successors(first, |last| calendar.next_start(*last))
            .take_while(|start| *start <= latest)
            .collect();
        // a jump over several brings the newest of them; the looks here are at most 30 h apart
        prop_assert!(distinct.len() * 2 + 1 >= passed.len(), "{:?} of {:?}", came, passed);
        prop_assert!(passed.iter().rev().take(1).all(|last| distinct.contains(last) || now < *last));
        prop_assert!(distinct.iter().all(|start| passed.contains(start)));
    }
}
