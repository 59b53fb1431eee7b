use super::*;
use crate::chain::fixture::health;
use crate::endpoint::EndpointId;

/// A record with a clock in milliseconds.
struct Rig {
    start: Instant,
    health: Health,
    record: Ejection,
}

impl Rig {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            health: health(),
            record: Ejection::default(),
        }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn failed(&mut self, millis: u64, in_a_row: u32) {
        let failed = ConnectFailed {
            endpoint: EndpointId(1),
            in_a_row,
            why: "no answer within 3s".into(),
            at: self.at(millis),
        };
        self.record.failed(&failed, &self.health, self.at(millis));
    }

    fn confirmed(&mut self, millis: u64, passed: bool) -> bool {
        let result = if passed {
            Ok(())
        } else {
            Err("connection refused".to_owned())
        };
        self.record.confirmed(result, &self.health, self.at(millis))
    }

    /// Three live failures in a row while confirming probes pass; how long the ejection lasts, in seconds.
    fn three_failures(&mut self, millis: u64) -> u64 {
        for in_a_row in 1..=3 {
            self.failed(millis, in_a_row);
            self.confirmed(millis, true);
        }
        match self.record.says() {
            Live::Ejected { until, .. } => (until - self.at(millis)).as_secs(),
            other => panic!("not ejected: {other:?}"),
        }
    }
}

#[test]
fn one_failure_is_a_suspicion_and_a_second_one_a_fact() {
    let mut rig = Rig::new();
    rig.failed(0, 1);
    assert_eq!(
        (rig.record.says(), rig.record.wants_confirming()),
        (Live::Fine, true)
    );
    rig.confirmed(3, false);
    assert_eq!(
        rig.record.says(),
        Live::Confirmed {
            why: "connection refused"
        }
    );
    assert!(!rig.confirmed(10, true));
    assert!(!rig.confirmed(12, false));
    assert!(!rig.confirmed(14, true));
    assert_eq!(
        rig.record.says(),
        Live::Confirmed {
            why: "connection refused"
        }
    );
    assert!(rig.confirmed(16, true), "rise is 2");
    assert_eq!(
        (rig.record.says(), rig.record.wants_confirming()),
        (Live::Fine, false)
    );
}

#[test]
fn a_probe_that_passes_ends_the_suspicion() {
    let mut rig = Rig::new();
    rig.failed(0, 1);
    rig.confirmed(3, true);
    assert_eq!(
        (rig.record.says(), rig.record.wants_confirming()),
        (Live::Fine, false)
    );
    rig.confirmed(4, false);
    assert_eq!(rig.record.says(), Live::Fine, "nobody asked for that probe");
}

#[test]
fn two_failures_too_far_apart_are_two_suspicions() {
    let mut rig = Rig::new();
    rig.failed(0, 1);
    rig.confirmed(1_501, false);
    assert_eq!(
        (rig.record.says(), rig.record.wants_confirming()),
        (Live::Fine, true)
    );
    rig.confirmed(3_001, false);
    assert_eq!(
        rig.record.says(),
        Live::Confirmed {
            why: "connection refused"
        }
    );
}

#[test]
fn ejections_in_a_row_grow_and_the_row_ends_with_quiet() {
    let mut rig = Rig::new();
    assert_eq!(rig.three_failures(0), 10);
    assert!(!rig.record.expire(rig.at(9_999)));
    assert!(rig.record.expire(rig.at(10_000)));
    assert_eq!(rig.record.says(), Live::Fine);
    assert_eq!(rig.three_failures(19_999), 20);
    assert!(rig.record.expire(rig.at(39_999)));
    assert_eq!(rig.three_failures(50_000), 30);
    assert!(rig.record.expire(rig.at(80_000)));
    assert_eq!(
        rig.three_failures(110_000),
        10,
        "it served for as long as it was out"
    );
}

#[test]
fn no_ejection_outlasts_its_limit() {
    let table = [
        (10, 1, 10),
        (10, 30, 300),
        (10, 31, 300),
        (400, 1, 400),
        (400, 9, 400),
        (1, u32::MAX, 300),
    ];
    for (eject_for, nth, seconds) in table {
        let passive = Passive {
            consecutive_failures: 3,
            eject_for: Duration::from_secs(eject_for),
        };
        assert_eq!(
            length_of(&passive, nth).as_secs(),
            seconds,
            "{eject_for} s, number {nth}"
        );
    }
}

#[test]
fn failures_in_a_row_leave_it_to_the_probe_while_one_is_out() {
    let mut rig = Rig::new();
    (1..=9).for_each(|in_a_row| rig.failed(u64::from(in_a_row), in_a_row));
    assert_eq!(rig.record.says(), Live::Fine);
    rig.confirmed(10, false);
    assert_eq!(
        rig.record.says(),
        Live::Confirmed {
            why: "connection refused"
        }
    );
}

#[test]
fn failures_in_a_row_eject_when_the_probe_is_lost() {
    let mut rig = Rig::new();
    (1..=3).for_each(|in_a_row| rig.failed(0, in_a_row));
    rig.failed(1_501, 4);
    assert!(matches!(rig.record.says(), Live::Ejected { failures: 4, .. }));
}

#[test]
fn without_passive_health_only_confirmed_failures_count() {
    let mut rig = Rig::new();
    rig.health.passive = None;
    for in_a_row in 1..=50 {
        rig.failed(0, in_a_row);
        rig.confirmed(0, true);
    }
    assert_eq!(rig.record.says(), Live::Fine);
}
