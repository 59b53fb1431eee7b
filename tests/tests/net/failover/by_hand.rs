//! What only the user decides: Manual chains, suspended chains; and how many
//! endpoints a tier must have.

use std::time::{Duration, Instant};

use switchyard_tests::backend::Backend;
use switchyard_tests::client::{End, Load, LoadPlan, Outcome, SessionPlan, Sessions};
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use super::{
    Kill, MEASURING, PORT, Pair, QUICK_HEALTH, SOON, await_open, await_tier, backend, entry, kill,
    must_be_served_but_at, must_leave_paced, one_chain, only,
};

pub fn add(suite: &mut Suite) {
    suite.workers("failover::suspend", suspend);
    suite.workers("failover::manual", manual);
    suite.workers("failover::min_healthy", min_healthy);
}

/// Manual never changes its tier by itself; an edit does, and moves the sessions, paced.
fn manual(lab: &Lab, workers: usize) {
    let rules = |active: &str| {
        format!(
            "{QUICK_HEALTH}\nconnect: {{timeout: 500ms, attempts: 2}}\n\
             failover: {{mode: Manual, active: {active}, pace: 50}}"
        )
    };
    let mut pair = Pair::start(lab, workers, &rules("primary"));
    let killed = kill(&mut pair.primary);
    let load = pair.load(50);
    let_pass(Duration::from_secs(3));
    let dead = load.stop();
    lab.say(format!("the primary is dead and nobody switched\n{dead}"));
    assert_eq!(dead.failed().count(), dead.len(), "nobody is sent to the backup");
    assert!(
        dead.longest_wait() <= Duration::from_secs(1) + MEASURING,
        "{:?}",
        dead.longest_wait()
    );
    pair.await_tier(0);
    let _ = killed; // nobody was connected then

    pair.primary.revive();
    pair.await_both_serving();
    let load = pair.load(50);
    let sessions = Sessions::open(&pair.client, &SessionPlan::idle(pair.at(), 200));
    eventually("a client has been served", SOON, || {
        let seen = load.so_far();
        (!seen.is_empty()).then_some(()).ok_or_else(|| seen.to_string())
    });
    let asked = Instant::now();
    pair.proxy.rewrite(&pair.manifests(&rules("backup")));
    let switched = pair.await_tier(1);
    lab.say(format!("switched {:.2?} after the edit", switched - asked));
    await_open(&sessions, 0, SOON);
    let seen = load.stop();
    lab.say(seen.to_string());
    seen.must_all_be_served();
    only(&seen.served_before(asked), "primary");
    only(&seen.begun_since(switched), "backup");
    let first = must_leave_paced(lab, &sessions.close(), 50);
    assert!(first >= asked);
}

/// A tier with fewer endpoints than it must have is down, though one lives.
fn min_healthy(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let mut primaries = [
        backend(lab, "b1", 11),
        backend(lab, "b2", 12),
        backend(lab, "b3", 13),
    ];
    let standbys = [backend(lab, "standby1", 14), backend(lab, "standby2", 15)];
    let mut entries: Vec<String> = primaries.iter().map(|b| entry(b, 0)).collect();
    entries.extend(standbys.iter().map(|b| entry(b, 1)));
    let rules = format!("{QUICK_HEALTH}\nfailover: {{minHealthy: 2, failback: Immediate}}");
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &one_chain(&entries, &rules)));
    let all: Vec<_> = primaries.iter().chain(&standbys).map(Backend::address).collect();
    proxy.await_serving("app", &all, SOON);

    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 100));
    let first = kill(&mut primaries[0]);
    let_pass(Duration::from_secs(2));
    let second = kill(&mut primaries[1]);
    let over = await_tier(&proxy, "app", 1);
    let_pass(Duration::from_secs(1));
    let revived = Instant::now();
    primaries[1].revive();
    let back = await_tier(&proxy, "app", 0);
    let_pass(Duration::from_secs(1));
    let seen = load.stop();
    must_be_served_but_at(lab, &seen, &[first, second]);
    let two_live = seen.begun_since(first.dead).served_before(second.asked);
    assert!(
        !two_live.by_name().keys().any(|name| name.starts_with("standby")),
        "two of three live: {two_live}"
    );
    let few = seen.begun_since(over).served_before(revived);
    few.must_all_be_served();
    assert!(
        few.by_name().keys().all(|name| name.starts_with("standby")),
        "one of three lives: {few}"
    );
    let again = seen.begun_since(back);
    again.must_all_be_served();
    assert!(
        !again.by_name().keys().any(|name| name.starts_with("standby")),
        "two of three live again: {again}"
    );
}

/// A suspended chain refuses at once, and its sessions leave, paced; then it serves again.
fn suspend(lab: &Lab, workers: usize) {
    let rules = |suspend: bool| format!("{QUICK_HEALTH}\nfailover: {{pace: 50}}\nsuspend: {suspend}");
    let pair = Pair::start(lab, workers, &rules(false));
    let sessions = Sessions::open(&pair.client, &SessionPlan::idle(pair.at(), 400));
    let load = pair.load(50);
    let asked = Instant::now();
    pair.proxy.rewrite(&pair.manifests(&rules(true)));
    pair.proxy
        .await_chain("app", "it is suspended", SOON, |state| state.serving().is_empty());
    let suspended = Instant::now();
    await_open(&sessions, 0, 2 * SOON);
    let resumed = Instant::now();
    pair.proxy.rewrite(&pair.manifests(&rules(false)));
    pair.await_both_serving();
    let again = Instant::now();
    let_pass(Duration::from_secs(1));
    let seen = load.stop();
    lab.say(format!(
        "suspended {:.2?} after the edit\n{seen}",
        suspended - asked
    ));

    let refused = seen.begun_since(suspended).ended_before(resumed);
    assert!(refused.len() > 200, "{}", refused.len());
    assert_eq!(
        refused.failed().count(),
        refused.len(),
        "nobody is served: {refused}"
    );
    assert!(
        refused.iter().all(|o| matches!(o.end, End::Reset | End::Refused)),
        "{refused}"
    );
    lab.say(format!("refused within {:.1?}", refused.longest_wait()));
    assert!(
        refused.longest_wait() <= MEASURING,
        "at once is not {:?}",
        refused.longest_wait()
    );
    let spans = [
        Kill {
            asked,
            dead: suspended,
        },
        Kill {
            asked: resumed,
            dead: again,
        },
    ];
    // Who was under way at either edit may have been refused, and who came between them was.
    let excused = |o: &&Outcome| spans.iter().any(|span| span.met(o));
    let between = |o: &&Outcome| o.begun >= suspended && o.begun < resumed;
    let rest = seen.failed().filter(|o| !excused(o) && !between(o));
    assert_eq!(rest.count(), 0, "{seen}");
    only(&seen.begun_since(again), "primary");
    must_leave_paced(lab, &sessions.close(), 50);
}
