//! The proxy dies and starts again in the middle of going back.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;

use super::{MEASURING, Pair, QUICK_HEALTH, SOON, kill, only};

pub fn add(suite: &mut Suite) {
    suite.workers("failover::restart_in_delayed", delayed);
    suite.workers("failover::restart_in_sticky", sticky);
}

/// On the backup, with the primary alive again, as far as anybody can see.
fn failed_over(lab: &Lab, workers: usize, failover: &str) -> Pair {
    let mut pair = Pair::start(lab, workers, &format!("{QUICK_HEALTH}\nfailover: {failover}"));
    kill(&mut pair.primary);
    pair.await_tier(1);
    pair.primary.revive();
    pair.await_both_serving();
    pair
}

/// Killed, and then stopped: each time it starts on the backup.
fn sticky(lab: &Lab, workers: usize) {
    let mut pair = failed_over(lab, workers, "{failback: Sticky}");
    let before = pair.proxy.chain("app").active.expect("a tier is active");
    for how in ["killed", "stopped"] {
        match how {
            "killed" => pair.proxy.program().kill(),
            _ => assert!(pair.proxy.stop(SOON).success()),
        }
        pair.proxy.start_again();
        pair.proxy.await_ready(SOON);
        let load = pair.load(100);
        let_pass(Duration::from_secs(2));
        pair.await_both_serving();
        let seen = load.stop();
        lab.say(format!("{how} and started again\n{seen}"));
        only(&seen, "backup");
        let after = pair.proxy.chain("app").active.expect("a tier is active");
        assert_eq!((after.tier, after.epoch), (1, before.epoch), "{}", after.reason);
        assert_eq!(after.since, before.since);
    }
}

/// The timer goes on: the restart neither shortens nor lengthens it.
fn delayed(lab: &Lab, workers: usize) {
    let mut pair = failed_over(lab, workers, "{failback: Delayed, delay: 8s}");
    let planned = |pair: &Pair| -> Timestamp {
        let state = pair
            .proxy
            .await_chain("app", "a failback is planned", SOON, |s| s.failback_at.is_some());
        state
            .failback_at
            .unwrap()
            .parse()
            .expect("a moment, as RFC 3339 writes it")
    };
    let before = planned(&pair);
    let_pass(Duration::from_secs(2));
    pair.proxy.program().kill();
    pair.proxy.start_again();
    pair.proxy.await_ready(SOON);
    let load = pair.load(50);
    let after = planned(&pair);
    let off = after.duration_since(before).abs();
    lab.say(format!(
        "failback planned at {before}; after the restart at {after}"
    ));
    assert!(off <= SignedDuration::from_millis(50), "{off}");
    let back = pair.await_tier(0);
    let late = Timestamp::now().duration_since(before);
    let_pass(Duration::from_secs(1));
    let seen = load.stop();
    lab.say(format!("back {late:#} after that moment\n{seen}"));
    assert!(
        late.abs() <= SignedDuration::try_from(MEASURING).unwrap(),
        "{late}"
    );
    seen.must_all_be_served();
    only(&seen.served_before(back - 2 * MEASURING), "backup");
    only(&seen.begun(back, Instant::now()), "primary");
}
