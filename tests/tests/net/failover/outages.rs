//! Backends that are killed, and backends that nothing is heard of any more.

use std::time::{Duration, Instant};

use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{Load, LoadPlan, Outcomes};
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use super::{Kill, MEASURING, PORT, SOON, backend, entry, kill, must_be_served_but_at, one_chain};

pub fn add(suite: &mut Suite) {
    suite.workers("failover::black_holed_backend", black_holed);
    suite.workers("failover::killed_backend", killed);
}

/// Three primaries are killed one after the other under 200 new connections a
/// second, until only the standby lives.
fn killed(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let mut primaries = [
        backend(lab, "b1", 11),
        backend(lab, "b2", 12),
        backend(lab, "b3", 13),
    ];
    let standby = backend(lab, "standby", 14);
    let mut entries: Vec<String> = primaries.iter().map(|b| entry(b, 0)).collect();
    entries.push(entry(&standby, 1));
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &one_chain(&entries, "")));
    let all: Vec<_> = primaries.iter().chain([&standby]).map(Backend::address).collect();
    proxy.await_serving("app", &all, SOON);

    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 200));
    let_pass(Duration::from_secs(2));
    let mut kills = Vec::new();
    for primary in &mut primaries {
        kills.push(kill(primary));
        let_pass(Duration::from_secs(2));
    }
    let end = Instant::now();
    let seen = load.stop();
    must_be_served_but_at(lab, &seen, &kills);

    for (n, one) in kills.iter().enumerate() {
        let next = kills.get(n + 1).map_or(end, |next| next.asked);
        let after = seen.begun(one.dead, next);
        lab.say(format!(
            "b{} killed: no outage longer than {:.1?}, no wait longer than {:.1?}; served by {:?}",
            n + 1,
            after.longest_gap(),
            after.longest_wait(),
            after.by_name(),
        ));
        assert_eq!(
            served_by_standby(&after.served_before(next)),
            n == 2,
            "the standby serves when no primary lives, and only then"
        );
    }
}

/// One of two primaries, then the other, is cut off: packets to it are dropped.
fn black_holed(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let hosts = [lab.host("b1", 11), lab.host("b2", 12), lab.host("standby", 13)];
    let backends = hosts
        .each_ref()
        .map(|host| Backend::start(host, PORT, Mode::ClientFirst));
    let all = backends.each_ref().map(Backend::address);
    let tiers = [
        entry(&backends[0], 0),
        entry(&backends[1], 0),
        entry(&backends[2], 1),
    ];
    let rules =
        "health: {interval: 1s, timeout: 500ms, fall: 2, rise: 2}\nconnect: {timeout: 500ms, attempts: 3}";
    // fall × interval + timeout, and connect.timeout × attempts.
    let (out_within, wait_within) = (Duration::from_millis(2500), Duration::from_millis(1500));
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &one_chain(&tiers, rules)));
    proxy.await_serving("app", &all, SOON);
    let out = |n: usize, since: Instant| {
        let address = all[n];
        proxy.await_chain("app", "it is out of rotation", out_within + MEASURING, |state| {
            state
                .endpoint(address)
                .is_some_and(|endpoint| endpoint.state == "Ejected")
        });
        let took = since.elapsed();
        assert!(took <= out_within + MEASURING, "{took:?}");
        took
    };

    // Monitors alone find out.
    let hole = hosts[0].black_hole(None);
    let took = out(0, Instant::now());
    lab.say(format!(
        "b1 cut off, no client: out of rotation after {took:.2?} of at most {out_within:?}"
    ));
    drop(hole);
    proxy.await_serving("app", &all, SOON);

    let mut plan = LoadPlan::new(proxy_host.at(PORT), 100);
    plan.deadline = Duration::from_secs(3); // longer than anybody may wait
    let load = Load::start(&client, plan);
    let_pass(Duration::from_secs(1));
    let mut holes = Vec::new();
    let mut kept = Vec::new();
    for (n, host) in hosts[..2].iter().enumerate() {
        let asked = Instant::now();
        kept.push(host.black_hole(None));
        let dead = Instant::now();
        holes.push(Kill { asked, dead });
        let took = out(n, dead);
        lab.say(format!(
            "b{} cut off under load: out of rotation after {took:.2?}",
            n + 1
        ));
        let_pass(Duration::from_secs(3));
    }
    let seen = load.stop();
    must_be_served_but_at(lab, &seen, &holes);
    for (n, hole) in holes.iter().enumerate() {
        let next = holes.get(n + 1).map_or_else(Instant::now, |next| next.asked);
        let after = seen.begun(hole.dead, next);
        let wait = after.longest_wait();
        lab.say(format!(
            "b{} cut off: nobody waited longer than {wait:.2?} of at most {wait_within:?}",
            n + 1
        ));
        assert!(wait <= wait_within + MEASURING, "{wait:?}");
        assert_eq!(served_by_standby(&after.served_before(next)), n == 1, "{after}");
    }
}

/// Whether the standby served any of them.
fn served_by_standby(seen: &Outcomes) -> bool {
    seen.by_name().contains_key("standby")
}
