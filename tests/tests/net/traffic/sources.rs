//! Who may connect, who is only a load balancer's probe, and where our own
//! connections come from.

use std::time::Duration;

use switchyard_tests::client::{End, Wire};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use crate::scene::{MEASURING, PORT, QUICK_HEALTH, SOON, backend, chain, entry, listener, pool_of};

pub fn add(suite: &mut Suite) {
    suite.workers("traffic::sources", sources);
}

fn sources(lab: &Lab, workers: usize) {
    let (allowed, stranger, prober) = (
        lab.host("allowed", 100),
        lab.host("stranger", 101),
        lab.host("prober", 102),
    );
    let proxy_host = lab.host("proxy", 2);
    let mut b1 = backend(lab, "b1", 11);
    let own = ["10.77.0.3".parse().unwrap(), "10.77.0.4".parse().unwrap()];
    proxy_host.add_addresses(&own);
    let fields = "protocol: TCP, maxConnections: 2, allowedSources: [10.77.0.100/32], monitorSources: [10.77.0.102/32]";
    let manifests = manifest::join(&[
        pool_of(
            &[listener("app", PORT, fields)],
            "snat: {addresses: [10.77.0.3, 10.77.0.4]}",
        ),
        chain("app", &[entry(&b1, 0)], QUICK_HEALTH),
    ]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    proxy.await_serving("app", &[b1.address()], SOON);
    let connect = |host: &Host| Wire::connect(host, proxy_host.at(PORT)).expect("a connection");

    let served = |host: &Host| {
        let mut wire = connect(host);
        let greeting = wire.ask().expect("served");
        assert!(
            own.contains(&greeting.peer.ip()),
            "from {}, none of the pool's addresses",
            greeting.peer
        );
        wire
    };
    // Probes are served, and take none of the two places.
    let first = served(&allowed);
    let probes: Vec<Wire> = (0..5).map(|_| served(&prober)).collect();
    let second = served(&allowed);
    drop((first, second, probes));
    // The reset may be faster than the connect.
    let (took, end) = Wire::connect(&stranger, proxy_host.at(PORT))
        .map_or_else(|end| (Duration::ZERO, end), |mut wire| wire.end(SOON));
    lab.say(format!("a stranger: {end} after {took:.1?}"));
    assert!(end == End::Reset && took <= MEASURING, "{end} after {took:?}");

    b1.kill();
    proxy.await_serving("app", &[], SOON);
    // Clients wait for a server to come back; a probe must not.
    let (took, end) = Wire::connect(&prober, proxy_host.at(PORT))
        .map_or_else(|end| (Duration::ZERO, end), |mut wire| wire.end(SOON));
    lab.say(format!("a probe while nobody serves: {end} after {took:.1?}"));
    assert!(end == End::Reset && took <= MEASURING, "{end} after {took:?}");

    let metrics = proxy.metrics();
    let accepted = metrics.sum("switchyard_connections_accepted_total", &[("listener", "app")]);
    assert_eq!(
        accepted as u64, 3,
        "two clients and a stranger; probes are not counted"
    );
    let clients: Vec<String> = proxy
        .access_log()
        .iter()
        .map(|l| l["client"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(
        !clients.iter().any(|client| client.starts_with("10.77.0.102")),
        "probes are not logged: {clients:?}"
    );
}
