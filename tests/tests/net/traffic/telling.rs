//! What the proxy tells: a line per connection, metrics that move, states.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use switchyard_tests::client::{End, Wire};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Metrics, Plan, Switchyard};

use crate::scene::{PORT, QUICK_HEALTH, SOON, backend, entry, kill, one_listener};

pub fn add(suite: &mut Suite) {
    suite.workers("traffic::access_log", access_log);
    suite.workers("traffic::metrics", metrics);
}

/// One line for each connection, with who, where, how much, and how it ended.
fn access_log(lab: &Lab, workers: usize) {
    let (client, stranger, proxy_host) = (
        lab.host("client", 100),
        lab.host("stranger", 101),
        lab.host("proxy", 2),
    );
    let mut b1 = backend(lab, "b1", 11);
    let manifests = one_listener(
        "protocol: TCP, allowedSources: [10.77.0.100/32]",
        &[entry(&b1, 0)],
        &format!("{QUICK_HEALTH}\nconnect: {{timeout: 500ms, attempts: 2}}"),
    );
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    proxy.await_serving("app", &[b1.address()], SOON);
    let mut seen = BTreeSet::new();
    let connect = |host| Wire::connect(host, proxy_host.at(PORT)).expect("a connection");
    for n in 0..60 {
        let mut wire = connect(&client);
        seen.insert(wire.local().to_string());
        wire.ask().expect("an answer");
        if n % 2 == 0 {
            wire.fin().unwrap();
            assert_eq!(wire.end(SOON).1, End::Fin);
        } else {
            wire.reset();
        }
    }
    // The reset may be faster than the connect.
    let refused =
        Wire::connect(&stranger, proxy_host.at(PORT)).map_or_else(|end| end, |mut wire| wire.end(SOON).1);
    assert_eq!(refused, End::Reset);
    kill(&mut b1);
    proxy.await_serving("app", &[], SOON);
    let mut unserved = connect(&client);
    assert_eq!(unserved.end(SOON).1, End::Reset);

    let log = eventually("every connection has its line", SOON, || {
        let log = proxy.access_log();
        if log.len() >= 62 {
            Ok(log)
        } else {
            Err(format!("{} lines", log.len()))
        }
    });
    assert_eq!(log.len(), 62, "one line each, and no other");
    judge(lab, &log, &seen);
}

/// That these lines tell what happened to the connections of these clients.
fn judge(lab: &Lab, log: &[Value], seen: &BTreeSet<String>) {
    let clients: BTreeSet<String> = log
        .iter()
        .filter(|line| line["chain"] == "edge/app" && line["backend"] == "b1")
        .map(|line| line["client"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(clients, *seen);
    let from = |host: &str, end: &str| {
        let client = |line: &&Value| line["client"].as_str().unwrap().starts_with(host);
        log.iter()
            .filter(|line| line["end"] == end)
            .filter(client)
            .count()
    };
    assert_eq!(from("10.77.0.101:", "refused:sourceNotAllowed"), 1);
    assert_eq!(from("10.77.0.100:", "refused:noEndpoint"), 1);
    let ends = |end: &str| log.iter().filter(|line| line["end"] == end).count();
    let counts = [
        "clientClosed",
        "clientReset",
        "refused:sourceNotAllowed",
        "refused:noEndpoint",
    ]
    .map(ends);
    lab.say(format!("ends in the access log: {counts:?}; a line: {}", log[0]));
    assert_eq!(counts, [30, 30, 1, 1]);
    let asked = "who are you?\n".len();
    for line in log.iter().filter(|line| line["end"] == "clientClosed") {
        assert_eq!(line["listener"], "app");
        assert_eq!(line["chain"], "edge/app");
        assert_eq!(line["backend"], "b1");
        assert_eq!(line["endpoint"], "10.77.0.11:1650");
        assert_eq!(
            (line["bytesUp"].as_u64(), line["attempts"].as_u64()),
            (Some(asked as u64), Some(1))
        );
        assert!(line["bytesDown"].as_u64().unwrap() > 20, "{line}");
        line["start"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .expect("a moment");
        assert!(
            line["durationMs"].is_u64() && line["connectMs"].is_u64(),
            "{line}"
        );
        assert_eq!(line["fault"], "client");
    }
}

/// What happened is counted, under names that stay.
fn metrics(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let (mut primary, standby) = (backend(lab, "primary", 11), backend(lab, "standby", 12));
    let manifests = one_listener(
        "protocol: TCP",
        &[entry(&primary, 0), entry(&standby, 1)],
        QUICK_HEALTH,
    );
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    proxy.await_serving("app", &[primary.address(), standby.address()], SOON);
    let connect = || {
        let mut wire = Wire::connect(&client, proxy_host.at(PORT)).expect("a connection");
        wire.ask().expect("an answer");
        wire
    };
    let mut held: Vec<Wire> = (0..10).map(|_| connect()).collect();
    for mut wire in held.drain(..6) {
        wire.fin().unwrap();
        assert_eq!(wire.end(SOON).1, End::Fin);
    }
    kill(&mut primary);
    proxy.await_chain("app", "the standby is active", SOON, |s| {
        s.active.as_ref().is_some_and(|a| a.tier == 1)
    });
    drop(held); // the other side has ended them already
    let after = connect();
    let metrics = await_metrics(&proxy);
    lab.say(format!("{} series", metrics.series().len()));
    assert!(
        metrics
            .series()
            .iter()
            .all(|(name, _)| name.starts_with("switchyard_") || name.starts_with("process_"))
    );
    drop(after);
}

/// Awaits that metrics tell of 11 sessions of 13 bytes each, of which 6 were closed by their clients and 4 died with
/// the primary.
fn await_metrics(proxy: &Switchyard) -> Metrics {
    let chain = [("chain", "edge/app")];
    let closed = [("chain", "edge/app"), ("end", "clientClosed")];
    let over = [("chain", "edge/app"), ("kind", "FailedOver")];
    let ejected = [
        ("chain", "edge/app"),
        ("backend", "primary"),
        ("state", "Ejected"),
    ];
    let wanted = [
        (
            "switchyard_connections_accepted_total",
            &[("listener", "app")][..],
            11.0,
        ),
        ("switchyard_connections_active", &[("listener", "app")], 1.0),
        ("switchyard_sessions_total", &chain, 11.0),
        ("switchyard_sessions_active", &chain, 1.0),
        ("switchyard_sessions_ended_total", &closed, 6.0),
        ("switchyard_sessions_ended_total", &chain, 10.0),
        ("switchyard_connect_seconds_count", &chain, 11.0),
        (
            "switchyard_relayed_bytes_total",
            &[("chain", "edge/app"), ("direction", "up")],
            11.0 * 13.0,
        ),
        ("switchyard_active_tier", &chain, 1.0),
        ("switchyard_epoch", &chain, 1.0),
        ("switchyard_transitions_total", &over, 1.0),
        ("switchyard_endpoints", &ejected, 1.0),
        ("switchyard_ready", &[], 1.0),
    ];
    // Bytes of open sessions are counted about once a second.
    let patience = Duration::from_secs(3);
    eventually("the metrics say what happened", patience, || {
        let metrics = proxy.metrics();
        let wrong: Vec<String> = wanted
            .iter()
            .map(|(name, labels, value)| (name, labels, metrics.sum(name, labels), value))
            .filter(|(_, _, is, value)| (is - *value).abs() > 0.01)
            .map(|(name, labels, is, value)| format!("{name}{labels:?} is {is}, not {value}"))
            .collect();
        if wrong.is_empty() {
            Ok(metrics)
        } else {
            Err(format!("{wrong:#?}"))
        }
    })
}
