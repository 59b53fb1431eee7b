use std::time::{Duration, Instant};

use switchyard_snapshot::Standing::{
    self, Blind, Dead, Degraded, Draining, Isolated, Live, Suspended, Unsure,
};

use super::*;
use crate::failover::council::{GRACE, Mate};
use crate::redirect::fixture::serving;

/// `1/1 0/0 -`: how each tier does; `-` waits for an answer.
fn tiers(text: &str) -> Vec<TierHealth> {
    let health = |(text, tier): (&str, u32)| {
        let numbers = text
            .split_once('/')
            .map(|(s, p)| (s.parse().unwrap(), p.parse().unwrap()));
        let (serving, proven) = numbers.unwrap_or((0, 0));
        TierHealth {
            tier,
            serving,
            proven,
            pending: numbers.is_none(),
        }
    };
    text.split(' ').zip(0..).map(health).collect()
}

/// A mate that has so many endpoints, and how long ago it said so.
type Word = (u32, bool, u64);

fn judged(tier: u32, health: &str, min_healthy: u32, mates: &[Word], reaches: bool) -> StandingReport {
    let now = Instant::now() + Duration::from_hours(1);
    let said: Vec<_> = mates.iter().map(|(up, ..)| serving(*up)).collect();
    let mates = mates.iter().zip(&said).map(|((_, answers, millis), said)| Mate {
        name: "b",
        answers: *answers,
        confirmed: now.checked_sub(Duration::from_millis(*millis)).unwrap(),
        said: Ok(said),
    });
    let lasts = Duration::from_secs(4);
    let council = Council::new(mates.collect(), lasts, now.checked_sub(GRACE).unwrap(), now);
    stand(&Facts {
        suspended: false,
        draining: false,
        tier,
        tiers: &tiers(health),
        min_healthy,
        stale: None,
        council: &council,
        reaches,
        empty: "all are out",
    })
}

#[test]
fn each_standing_and_its_reason() {
    type Case<'a> = (u32, &'a str, u32, &'a [Word], bool, Standing, &'a str);
    #[rustfmt::skip]
    let table: [Case<'_>; 14] = [
        (0, "2/2 1/1", 1, &[], true, Live, "2 endpoints of tier 0 serve"),
        (0, "1/0 1/1", 1, &[], true, Live, "1 endpoint of tier 0 serve"),
        (1, "0/0 1/1", 1, &[], true, Degraded, "tier 1 serves in the place of tier 0"),
        (0, "1/1 1/1", 2, &[], true, Degraded, "1 of at least 2 endpoints of tier 0 serve"),
        (0, "- 1/1", 1, &[(1, true, 0)], true, Unsure, "all are out"),
        // a mate serves by its fresh word: ours is the fault
        (0, "0/0", 1, &[(1, true, 0)], true, Blind, "b serves, and nobody does here: all are out"),
        // its word is old, or it does not answer: nobody knows
        (0, "0/0", 1, &[(1, true, 5_000)], true, Unsure, "nobody serves here: all are out. b: its word is 5 s old"),
        (0, "0/0", 1, &[(0, true, 5_000)], true, Unsure, "nobody serves here: all are out. b: its word is 5 s old"),
        (0, "0/0", 1, &[(0, false, 5_000)], true, Unsure, "nobody serves here: all are out. b: it does not answer, and may be alive"),
        // all say the same
        (0, "0/0", 1, &[(0, true, 0)], true, Dead, "all are out; so say all of the pool"),
        (0, "0/0", 1, &[(0, true, 0), (0, true, 4_000)], true, Dead, "all are out; so say all of the pool"),
        (0, "0/0", 1, &[(0, true, 0), (1, true, 0)], true, Blind, "b serves, and nobody does here: all are out"),
        // a lone one that reaches something speaks for the pool
        (0, "0/0", 1, &[], true, Dead, "all are out"),
        (0, "0/0", 1, &[], false, Isolated, "no endpoint, no resolver and no other proxy is reached: all are out"),
    ];
    for (tier, health, min, mates, reaches, standing, reason) in table {
        let found = judged(tier, health, min, mates, reaches);
        assert_eq!(
            (found.standing, found.reason.as_str()),
            (standing, reason),
            "{health} {mates:?}"
        );
    }
}

#[test]
fn what_the_user_and_the_proxy_want_comes_first() {
    let council = Council::alone(Instant::now());
    let health = tiers("1/1");
    let mut facts = Facts {
        suspended: true,
        draining: true,
        tier: 0,
        tiers: &health,
        min_healthy: 1,
        stale: Some("SERVFAIL"),
        council: &council,
        reaches: true,
        empty: "",
    };
    assert_eq!(stand(&facts).standing, Suspended);
    facts.suspended = false;
    assert_eq!(stand(&facts).standing, Draining);
    facts.draining = false;
    let stale = stand(&facts);
    assert_eq!(stale.standing, Degraded);
    assert_eq!(stale.reason, "tier 0 serves, by stale addresses: SERVFAIL");
}

#[test]
fn one_that_has_just_started_proves_nothing() {
    let now = Instant::now();
    let mut unproven = serving(1);
    unproven.tiers[0].proven = 0;
    let mate = Mate {
        name: "b",
        answers: true,
        confirmed: now,
        said: Ok(&unproven),
    };
    let council = Council::new(vec![mate], Duration::from_secs(4), now, now);
    let found = stand(&Facts {
        suspended: false,
        draining: false,
        tier: 0,
        tiers: &tiers("0/0"),
        min_healthy: 1,
        stale: None,
        council: &council,
        reaches: true,
        empty: "all are out",
    });
    assert_eq!(found.standing, Unsure);
    assert_eq!(
        found.reason,
        "nobody serves here: all are out. b: it still sees tier 0 up"
    );
}
