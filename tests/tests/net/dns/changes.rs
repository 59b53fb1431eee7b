//! Records change: how long new connections still go to what was there before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{Load, LoadPlan, Outcomes};
use switchyard_tests::dns::{Change, DnsServer, Kind, Zone};
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::Lab;
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use super::{PORT, PROMISED, SOON, TTL_SECONDS, a, backends, chain, load, manifests};

pub fn add(suite: &mut Suite) {
    suite.workers("dns::a_record_changes", a_record_changes);
    suite.workers("dns::smallest_ttl_of_cname_chain", smallest_ttl_of_cname_chain);
    suite.workers("dns::srv_ports_weights_priorities", srv);
}

/// How long after the change connections to `old` were still begun. `seen` has nobody whom the next change met.
fn lag(seen: &Outcomes, change: Change, old: &str) -> Duration {
    let after = seen.begun_since(change.served);
    let last = after.last_begun_to(old);
    last.map_or(Duration::ZERO, |last| last - change.served)
}

/// Eight names change together, six times: each meets the proxy at another age of what it knows.
fn a_record_changes(lab: &Lab, workers: usize) {
    let names: Vec<String> = (1..=8).map(|n| format!("app{n}")).collect();
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = backends(lab, 2);
    let list = |zone: &mut Zone, backend: &Backend| {
        for name in &names {
            zone.set(name, TTL_SECONDS, &[a(backend)]);
        }
    };
    let mut dns = DnsServer::start(&lab.host("dns", 53), Kind::Knot, |zone| list(zone, &backends[0]));
    lab.say(dns.version());
    let chains: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), name.as_str(), ""))
        .collect();
    let _proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests(&chains)));

    let ports = PORT..PORT + names.len() as u16;
    let plan = |port| LoadPlan::new(proxy_host.at(port), 25);
    let loads: Vec<Load> = ports.map(|port| Load::start(&client, plan(port))).collect();
    let_pass(Duration::from_secs(2));
    let mut changes = Vec::new();
    for (round, pause) in (1..).zip([2100, 3300, 2600, 4400, 3700, 2900]) {
        let (old, new) = (&backends[(round + 1) % 2], &backends[round % 2]);
        let change = dns.edit(|zone| list(zone, new));
        changes.push((change, old.name(), new.name()));
        let_pass(Duration::from_millis(pause)); // longer than promised
    }
    let end = Instant::now();
    let mut lags = Vec::new();
    for load in loads {
        let seen = load.stop();
        lab.say(seen.to_string());
        seen.must_all_be_served();
        for (n, (change, old, new)) in changes.iter().enumerate() {
            let next = changes.get(n + 1).map_or(end, |(next, ..)| next.asked);
            let after = seen.begun_since(change.asked).served_before(next);
            assert!(
                after.by_name().contains_key(*new),
                "change {n}: nobody reached {new}: {after}"
            );
            lags.push(lag(&after, *change, old));
        }
    }
    lags.sort_unstable();
    let (middle, longest) = (lags[lags.len() / 2], lags[lags.len() - 1]);
    lab.say(format!(
        "TTL {TTL_SECONDS} s, {} changes: the old address was given out for {middle:.2?} more (median), {longest:.2?} (longest)",
        lags.len()
    ));
    assert!(longest <= PROMISED, "{lags:?}");
}

/// Of two chains of records, one has its short TTL at the alias, the other at the address.
fn smallest_ttl_of_cname_chain(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = backends(lab, 2);
    let (old, new) = (&backends[0], &backends[1]);
    let mut dns = DnsServer::start(&lab.host("dns", 53), Kind::Bind, |zone| {
        zone.set("alias", TTL_SECONDS, &["CNAME old"])
            .set("old", 30, &[a(old)])
            .set("new", 30, &[a(new)]);
        zone.set("address", 30, &["CNAME middle"])
            .set("middle", 30, &["CNAME end"]);
        zone.set("end", TTL_SECONDS, &[a(old)]);
    });
    lab.say(dns.version());
    let manifests = manifests(&[("alias", "alias", ""), ("address", "address", "")]);
    let _proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));

    let loads = [
        load(&client, &proxy_host, PORT),
        load(&client, &proxy_host, PORT + 1),
    ];
    let_pass(Duration::from_secs(3));
    let change = dns.edit(|zone| {
        zone.set("alias", TTL_SECONDS, &["CNAME new"]);
        zone.set("end", TTL_SECONDS, &[a(new)]);
    });
    let_pass(PROMISED + Duration::from_secs(2));
    for (load, what) in loads
        .into_iter()
        .zip(["CNAME 1 s, A 30 s", "CNAME 30 s, CNAME 30 s, A 1 s"])
    {
        let seen = load.stop();
        let lag = lag(&seen, change, old.name());
        lab.say(format!(
            "{what}: the old address was last given out {lag:.2?} after the change\n{seen}"
        ));
        seen.must_all_be_served();
        assert!(lag <= PROMISED, "{what}: {lag:?}");
        let after = seen.begun_since(change.served + PROMISED);
        assert_eq!(
            after.by_name(),
            BTreeMap::from([(new.name().to_owned(), after.len())]),
            "{what}"
        );
    }
}

fn srv(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let start = |n: u8| {
        let host = lab.host(&format!("b{n}"), 10 + n);
        Backend::start(&host, 1700 + u16::from(n), Mode::ClientFirst)
    };
    let mut backends: Vec<Backend> = (1..=4).map(start).collect();
    let mut dns = DnsServer::start(&lab.host("dns", 53), Kind::Knot, |zone| {
        for backend in &backends {
            zone.set(backend.name(), TTL_SECONDS, &[a(backend)]);
        }
        let records = ["SRV 10 3 1701 b1", "SRV 10 1 1702 b2", "SRV 20 1 1703 b3"];
        zone.set("_sync._tcp", TTL_SECONDS, &records);
    });
    lab.say(dns.version());
    let manifests = manifest::join(&[
        manifest::pool(
            "edge",
            &format!("listeners: [{{name: app, port: {PORT}, protocol: TCP}}]"),
        ),
        chain("app", "{name: primary, srv: _sync._tcp.example.test}", ""),
    ]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    let all: Vec<_> = backends[..3].iter().map(Backend::address).collect();
    proxy.await_serving("app", &all, SOON);

    // Weights: three to one; the second priority is not used while the first lives.
    let weighted = load(&client, &proxy_host, PORT);
    let_pass(Duration::from_secs(4));
    let seen = weighted.stop();
    lab.say(format!("weights 3:1, third of lower priority\n{seen}"));
    seen.must_all_be_served();
    let by_name = seen.by_name();
    assert!(!by_name.contains_key("b3"), "{seen}");
    let share = by_name["b1"] as f64 / seen.len() as f64;
    assert!(
        (share - 0.75).abs() < 0.03,
        "b1 served {share:.3} of them, not 0.75"
    );

    // Priorities: the next one serves once the first is dead.
    let failing_over = load(&client, &proxy_host, PORT);
    let_pass(Duration::from_secs(1));
    let killed = Instant::now();
    backends[0].kill();
    backends[1].kill();
    let dead = Instant::now();
    let_pass(Duration::from_secs(4));
    let seen = failing_over.stop();
    lab.say(format!("b1 and b2 killed\n{seen}"));
    lab.say(format!("open at the kill: {}", seen.open_at(killed).len()));
    let after = seen.begun_since(dead);
    after.must_all_be_served();
    assert_eq!(after.by_name(), BTreeMap::from([("b3".to_owned(), after.len())]));

    // Another target on another port.
    let changing = load(&client, &proxy_host, PORT);
    let_pass(Duration::from_secs(1));
    let change = dns.edit(|zone| {
        zone.set("_sync._tcp", TTL_SECONDS, &["SRV 10 1 1704 b4"]);
    });
    let_pass(PROMISED + Duration::from_secs(1));
    let seen = changing.stop();
    lab.say(format!(
        "b3 leaves the answer, b4 is in it: b3 last given out {:.2?} later\n{seen}",
        lag(&seen, change, "b3")
    ));
    seen.must_all_be_served();
    let after = seen.begun_since(change.served + PROMISED);
    assert_eq!(after.by_name(), BTreeMap::from([("b4".to_owned(), after.len())]));
}
