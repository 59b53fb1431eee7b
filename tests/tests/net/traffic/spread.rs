//! Who gets the next connection: the four balances, affinity, slow start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use switchyard_tests::backend::Backend;
use switchyard_tests::client::{Load, LoadPlan, Outcome, Outcomes, Wire};
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use crate::scene::{
    PORT, QUICK_HEALTH, SOON, backend, chain, entry, entry_with, kill, listener, one_chain, pool, pool_of,
};

pub fn add(suite: &mut Suite) {
    suite.workers("traffic::slow_start", slow_start);
    suite.workers("traffic::affinity", affinity);
    suite.workers("traffic::balances", balances);
}

fn share(seen: &Outcomes, name: &str) -> f64 {
    seen.by_name().get(name).copied().unwrap_or_default() as f64 / seen.len() as f64
}

/// Many addresses of one host.
fn many_addresses(host: &Host, count: u8) -> Vec<IpAddr> {
    let addresses: Vec<IpAddr> = (1..=count).map(|n| Ipv4Addr::new(10, 77, 1, n).into()).collect();
    host.add_addresses(&addresses);
    addresses
}

/// Who serves a new connection from each of these addresses.
fn who_serves(client: &Host, from: &[IpAddr], proxy: &Host, port: u16) -> BTreeMap<IpAddr, String> {
    let serve = |from: &IpAddr| {
        let mut wire = Wire::connect_from(client, *from, proxy.at(port)).expect("a connection");
        let name = wire.ask().unwrap_or_else(|end| panic!("{from}: {end}")).name;
        (*from, name)
    };
    from.iter().map(serve).collect()
}

fn balances(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = [
        backend(lab, "b1", 11),
        backend(lab, "b2", 12),
        backend(lab, "b3", 13),
    ];
    let even = backends.each_ref().map(|b| entry(b, 0));
    let weighted = [entry_with(&backends[0], "weight: 3"), entry(&backends[1], 0)];
    let manifests = manifest::join(&[
        pool(&["turns", "random", "least", "hash"]),
        chain("turns", &weighted, "balance: RoundRobin"),
        chain("random", &weighted, "balance: Random"),
        chain("least", &even, "balance: LeastConnections"),
        chain("hash", &even, "balance: SourceHash"),
    ]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    let all = backends.each_ref().map(Backend::address);
    for (name, count) in [("turns", 2), ("random", 2), ("least", 3), ("hash", 3)] {
        proxy.await_serving(name, &all[..count], SOON);
    }

    let loads = [0, 1].map(|n| Load::start(&client, LoadPlan::new(proxy_host.at(PORT + n), 100)));
    let_pass(Duration::from_secs(6));
    let [turns, random] = loads.map(Load::stop);
    for (what, seen, off) in [("RoundRobin", &turns, 0.02), ("Random", &random, 0.09)] {
        seen.must_all_be_served();
        let share = share(seen, "b1");
        lab.say(format!(
            "{what}, weights 3:1: {share:.3} of {} to the first",
            seen.len()
        ));
        assert!((share - 0.75).abs() <= off, "{what}: {share}");
    }

    let least = PORT + 2;
    let connect = || {
        let mut wire = Wire::connect(&client, proxy_host.at(least)).expect("a connection");
        (wire.ask().expect("an answer").name, wire)
    };
    let mut held: Vec<(String, Wire)> = (0..30).map(|_| connect()).collect();
    let count = |held: &[(String, Wire)], name: &str| held.iter().filter(|(by, _)| by == name).count();
    let counts = ["b1", "b2", "b3"].map(|name| count(&held, name));
    lab.say(format!("LeastConnections: {counts:?} of 30"));
    assert_eq!(counts, [10, 10, 10]);
    held.retain(|(name, _)| name != "b2");
    proxy.await_chain("least", "b2 has no connection", SOON, |state| {
        state
            .endpoint(all[1])
            .is_some_and(|endpoint| endpoint.connections == 0)
    });
    let next: Vec<(String, Wire)> = (0..10).map(|_| connect()).collect();
    assert_eq!(count(&next, "b2"), 10, "who has the fewest gets the next");

    let sources = many_addresses(&client, 40);
    let first = who_serves(&client, &sources, &proxy_host, PORT + 3);
    for _ in 0..2 {
        assert_eq!(
            who_serves(&client, &sources, &proxy_host, PORT + 3),
            first,
            "the same source, the same endpoint"
        );
    }
    let used: BTreeSet<&String> = first.values().collect();
    lab.say(format!("SourceHash: 40 sources on {} endpoints", used.len()));
    assert_eq!(used.len(), 3);
}

/// The same source, the same endpoint: across a failure, and across the return, until it stayed away for the `ttl`.
fn affinity(lab: &Lab, workers: usize) {
    let ttl = Duration::from_secs(4);
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let mut backends = [
        backend(lab, "b1", 11),
        backend(lab, "b2", 12),
        backend(lab, "b3", 13),
    ];
    let entries = backends.each_ref().map(|b| entry(b, 0));
    let pool = pool_of(
        &[listener("app", PORT, "protocol: TCP")],
        "affinity: {by: SourceIP, ttl: 4s}",
    );
    let manifests = manifest::join(&[pool, chain("app", &entries, QUICK_HEALTH)]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    let all = backends.each_ref().map(Backend::address);
    proxy.await_serving("app", &all, SOON);
    let sources = many_addresses(&client, 60);
    let serve = || who_serves(&client, &sources, &proxy_host, PORT);

    let home = serve();
    assert_eq!(serve(), home, "the same source, the same endpoint");
    let used: BTreeSet<&String> = home.values().collect();
    assert_eq!(used.len(), 3, "60 sources are spread");

    kill(&mut backends[0]);
    let away = serve();
    let moved: Vec<&IpAddr> = sources
        .iter()
        .filter(|source| home[*source] != away[*source])
        .collect();
    assert!(
        moved.iter().all(|source| home[*source] == "b1"),
        "only those of the dead one move"
    );
    assert!(away.values().all(|name| name != "b1"));
    assert_eq!(serve(), away, "and they stay together");
    lab.say(format!(
        "{} of 60 sources were on b1, moved when it died",
        moved.len()
    ));

    // They keep coming meanwhile: who stays away for the ttl goes home.
    backends[0].revive();
    proxy.await_chain("app", "b1 is back", SOON, |state| {
        assert_eq!(serve(), away, "who moved stays where its sessions are");
        state.serving().len() == all.len()
    });
    for _ in 0..4 {
        let_pass(ttl / 4);
        assert_eq!(serve(), away, "as long as it keeps coming");
    }
    let_pass(ttl + Duration::from_millis(500));
    assert_eq!(serve(), home, "who stayed away for the ttl is at home again");
}

/// An endpoint that comes back gets its share little by little.
fn slow_start(lab: &Lab, workers: usize) {
    let warm = Duration::from_secs(5);
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let mut backends = [backend(lab, "b1", 11), backend(lab, "b2", 12)];
    let entries = backends.each_ref().map(|b| entry(b, 0));
    let manifests = one_chain(&entries, &format!("{QUICK_HEALTH}\nslowStart: 5s"));
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    let all = backends.each_ref().map(Backend::address);
    proxy.await_serving("app", &all, SOON);
    let_pass(warm); // who serves since the start is warm then
    kill(&mut backends[0]);
    proxy.await_serving("app", &all[1..], SOON);
    backends[0].revive();
    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 200));
    proxy.await_serving("app", &all, SOON);
    let shown = Instant::now();
    let_pass(warm + Duration::from_secs(3));
    let seen = load.stop();
    seen.must_all_be_served();
    // The first that it served tells better when it was back than the moment at which that was shown. Whom it serves is decided
    // right before the first byte, not when the client begins.
    let by_b1 = seen
        .iter()
        .filter(|o| o.served.as_ref().is_some_and(|(_, by)| by.name == "b1"));
    let back = by_b1
        .filter_map(Outcome::first_byte)
        .min()
        .expect("it serves again");
    assert!(
        back < shown + Duration::from_secs(1),
        "nobody in the first second: {seen}"
    );
    let second = |n: u64| back + Duration::from_secs(n);
    let shares: Vec<f64> = (0..8)
        .map(|n| share(&seen.served(second(n), second(n + 1)), "b1"))
        .collect();
    lab.say(format!(
        "slowStart {warm:?}: its share in each second: {shares:.2?}"
    ));
    // Its weight grows evenly from a tenth to the whole: its share from 1/11 to 1/2.
    assert!(shares[0] < 0.25, "{shares:?}");
    assert!(shares[2] > shares[0] && shares[2] < 0.45, "{shares:?}");
    assert!(shares[4] > shares[2], "{shares:?}");
    for late in &shares[6..] {
        assert!((late - 0.5).abs() < 0.05, "{shares:?}");
    }
}
