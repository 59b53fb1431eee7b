//! Four ways of going back to a primary that lives again.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use switchyard_tests::client::{Load, LoadPlan, SessionPlan, Sessions};
use switchyard_tests::eventually::{let_pass, throughout};
use switchyard_tests::lab::Lab;
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use super::{
    MEASURING, PORT, Pair, QUICK_HEALTH, QUICK_INTERVAL, SOON, await_open, await_tier, backend, chain, entry,
    kill, must_be_served_but_at, must_leave_paced, only, pool,
};

pub fn add(suite: &mut Suite) {
    suite.workers("failover::scheduled", scheduled);
    suite.workers("failover::delayed", delayed);
    suite.workers("failover::sticky", sticky);
    suite.workers("failover::immediate", immediate);
}

/// Stays on the backup, with its sessions, until the backup fails.
fn sticky(lab: &Lab, workers: usize) {
    let mut pair = Pair::start(
        lab,
        workers,
        &format!("{QUICK_HEALTH}\nfailover: {{failback: Sticky}}"),
    );
    let load = pair.load(50);
    let_pass(Duration::from_secs(1));
    let first = kill(&mut pair.primary);
    pair.await_tier(1);
    let sessions = Sessions::open(&pair.client, &SessionPlan::idle(pair.at(), 20));
    pair.primary.revive();
    pair.await_both_serving();
    let revived = Instant::now();
    throughout("the backup stays active", Duration::from_secs(3), || {
        match pair.proxy.chain("app").active {
            Some(active) if active.tier == 1 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(sessions.open_now(), 20, "no session is moved");
    let second = kill(&mut pair.backup);
    pair.await_tier(0);
    let back = Instant::now();
    pair.backup.revive();
    pair.await_both_serving();
    let_pass(Duration::from_secs(1));
    let seen = load.stop();
    must_be_served_but_at(lab, &seen, &[first, second]);
    only(
        &seen.begun(first.dead, first.dead + Duration::from_millis(500)),
        "backup",
    );
    // Whether they were all served is judged above: one that was open at the second kill may not have been.
    let between = seen.begun_since(revived).served_before(second.asked).by_name();
    assert_eq!(between.keys().collect::<Vec<_>>(), ["backup"], "{between:?}");
    only(&seen.begun_since(back), "primary");
}

/// Goes back as soon as the primary has passed `rise` probes; sessions follow, paced.
fn immediate(lab: &Lab, workers: usize) {
    let rules = format!("{QUICK_HEALTH}\nfailover: {{failback: Immediate, pace: 50}}");
    let mut pair = Pair::start(lab, workers, &rules);
    let load = pair.load(50);
    let killed = kill(&mut pair.primary);
    pair.await_tier(1);
    let sessions = Sessions::open(&pair.client, &SessionPlan::idle(pair.at(), 200));
    assert!(
        sessions
            .so_far()
            .iter()
            .all(|s| s.served_by.as_ref().is_some_and(|by| by.name == "backup"))
    );
    let reviving = Instant::now();
    pair.primary.revive();
    let revived = Instant::now();
    let back = pair.await_tier(0);
    // Two passes, the first of which may be an interval away.
    let within = 3 * QUICK_INTERVAL + MEASURING;
    lab.say(format!(
        "back {:.2?} after the primary lived again",
        back - revived
    ));
    assert!(back - revived <= within, "{:?}", back - revived);
    await_open(&sessions, 0, SOON);
    let seen = load.stop();
    must_be_served_but_at(lab, &seen, &[killed]);
    only(&seen.begun_since(back), "primary");
    let first = must_leave_paced(lab, &sessions.close(), 50);
    assert!(
        first >= reviving,
        "sessions leave once the chain is back, not before"
    );
}

/// Goes back once the primary has been up for the delay without a break; the moment is shown.
fn delayed(lab: &Lab, workers: usize) {
    let delay = Duration::from_secs(3);
    let rules = format!("{QUICK_HEALTH}\nfailover: {{failback: Delayed, delay: 3s, pace: 100}}");
    let mut pair = Pair::start(lab, workers, &rules);
    let load = pair.load(50);
    let first = kill(&mut pair.primary);
    pair.await_tier(1);
    assert_eq!(
        pair.proxy.chain("app").failback_at,
        None,
        "nothing to go back to yet"
    );
    let sessions = Sessions::open(&pair.client, &SessionPlan::idle(pair.at(), 400));

    // A relapse starts the timer anew.
    pair.primary.revive();
    pair.await_both_serving();
    let early = planned(&pair.proxy, "app");
    let_pass(delay / 4); // the relapse has to come before the delay is over
    kill(&mut pair.primary); // nobody is on it
    pair.proxy
        .await_chain("app", "no failback is planned", SOON, |state| {
            state.failback_at.is_none()
        });
    let reviving = Instant::now();
    pair.primary.revive();
    pair.await_both_serving();
    let up = Instant::now();
    let shown = planned(&pair.proxy, "app");
    assert!(shown > early, "{shown} is not after {early}");
    let back = pair.await_tier(0);
    let (took, late) = (back - up, Timestamp::now().duration_since(shown));
    lab.say(format!(
        "back {took:.2?} after the primary was up again, {late:#} after the moment that was shown"
    ));
    assert!(back - reviving >= delay, "too early: {:?}", back - reviving);
    assert!(took <= delay + MEASURING, "too late: {took:?}");
    assert!(
        late.abs() <= SignedDuration::try_from(MEASURING).unwrap(),
        "{late}"
    );
    await_open(&sessions, 0, SOON);
    let seen = load.stop();
    must_be_served_but_at(lab, &seen, &[first]);
    only(
        &seen
            .begun_since(first.dead + MEASURING)
            .served_before(reviving + delay),
        "backup",
    );
    only(&seen.begun_since(back), "primary");
    must_leave_paced(lab, &sessions.close(), 100);
}

/// The moment that `/endpoints` shows for the failback.
#[track_caller]
fn planned(proxy: &Switchyard, chain: &str) -> Timestamp {
    let state = proxy.await_chain(chain, "a failback is planned", SOON, |state| {
        state.failback_at.is_some()
    });
    state
        .failback_at
        .unwrap()
        .parse()
        .expect("a moment, as RFC 3339 writes it")
}

/// Goes back when prime time starts: by UTC, by another zone's clock, not on an excepted date, not on another day.
fn scheduled(lab: &Lab, workers: usize) {
    let chains = ["utc", "kathmandu", "excepted", "tomorrow"];
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let (mut primary, backup) = (backend(lab, "primary", 11), backend(lab, "backup", 12));
    let clocks = (Instant::now(), Timestamp::now());
    // A whole second, far enough away for everything that comes before.
    let start = Timestamp::from_second(clocks.1.as_second() + 13).unwrap();
    let start_at = clocks.0 + Duration::try_from(start.duration_since(clocks.1)).unwrap();
    let mut documents = vec![pool(&chains)];
    for name in chains {
        let rules = format!(
            "{QUICK_HEALTH}\nfailover: {{failback: Scheduled, pace: 50}}\n{}",
            schedule(name, start)
        );
        documents.push(chain(name, &[entry(&primary, 0), entry(&backup, 1)], &rules));
    }
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifest::join(&documents)));
    let both = [primary.address(), backup.address()];
    for name in chains {
        proxy.await_serving(name, &both, SOON);
    }

    let killed = kill(&mut primary);
    for name in chains {
        await_tier(&proxy, name, 1);
    }
    let sessions = Sessions::open(&client, &SessionPlan::idle(proxy_host.at(PORT), 300));
    primary.revive();
    for name in chains {
        proxy.await_serving(name, &both, SOON);
    }
    let loads: Vec<Load> = (PORT..)
        .zip(chains)
        .map(|(port, _)| Load::start(&client, LoadPlan::new(proxy_host.at(port), 25)))
        .collect();
    let left = start_at.saturating_duration_since(Instant::now());
    assert!(
        left >= Duration::from_secs(2),
        "the machine was too slow: {left:?} left until the start"
    );
    for (name, today) in chains.into_iter().zip([true, true, false, false]) {
        let shown = planned(&proxy, name);
        lab.say(format!(
            "{name}: failback planned at {shown}, prime time starts at {start}"
        ));
        assert_eq!(shown == start, today, "{name}: {shown}");
    }
    let_pass(left + Duration::from_secs(3));
    let _ = killed; // nobody was connected then
    for ((name, load), today) in chains.into_iter().zip(loads).zip([true, true, false, false]) {
        let seen = load.stop();
        lab.say(format!("{name}\n{seen}"));
        seen.must_all_be_served();
        only(&seen.served_before(start_at), "backup");
        let then = seen.begun_since(start_at + MEASURING);
        only(&then, if today { "primary" } else { "backup" });
    }
    await_open(&sessions, 0, SOON);
    let first = must_leave_paced(lab, &sessions.close(), 50);
    assert!(
        first >= start_at - MEASURING,
        "no session leaves before prime time"
    );
}

/// A schedule whose prime time starts at `start`, as `name` has it.
fn schedule(name: &str, start: Timestamp) -> String {
    let zone = match name {
        "kathmandu" => "Asia/Kathmandu", // UTC+05:45, all year
        _ => "UTC",
    };
    let local = start.to_zoned(TimeZone::get(zone).unwrap());
    let day = match name {
        "tomorrow" => local.tomorrow().unwrap(),
        _ => local.clone(),
    };
    let except = match name {
        "excepted" => format!("\"{}\"", local.date()),
        _ => String::new(),
    };
    let (day, time) = (
        day.strftime("%a").to_string(),
        local.strftime("%H:%M:%S").to_string(),
    );
    format!("schedule: {{timeZone: {zone}, starts: [{{days: [{day}], at: \"{time}\"}}], except: [{except}]}}")
}
