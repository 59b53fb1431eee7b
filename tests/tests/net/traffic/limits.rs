//! Limits of connections, and clients that take too long to say what they want.

use std::iter;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use switchyard_tests::backend::Backend;
use switchyard_tests::client::{End, Load, LoadPlan, Wire};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use crate::scene::{
    MEASURING, PORT, SOON, backend, chain, chain_on, entry, entry_with, listener, one_chain, one_listener,
    pool_of,
};

pub fn add(suite: &mut Suite) {
    suite.workers("traffic::slow_clients", slow_clients);
    suite.workers("traffic::max_connections", max_connections);
    suite.workers(
        "traffic::max_connections_of_endpoints",
        max_connections_of_endpoints,
    );
}

/// Who comes when all places are taken waits, and is served when one leaves.
fn max_connections(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let b1 = backend(lab, "b1", 11);
    let manifests = one_listener("protocol: TCP, maxConnections: 10", &[entry(&b1, 0)], "");
    let _proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    let connect = || Wire::connect(&client, proxy_host.at(PORT)).expect("the kernel takes connections");
    let mut inside: Vec<Wire> = (0..10).map(|_| connect()).collect();
    for wire in &mut inside {
        wire.ask().expect("ten are served");
    }
    for _ in 0..3 {
        let mut next = connect();
        next.say("who are you?\n").unwrap();
        let (waited, end) = next.end(Duration::from_millis(500));
        assert_eq!(end, End::Timeout, "it waits, neither served nor refused");
        let left = Instant::now();
        drop(inside.remove(0));
        let greeting = next.greeting().expect("it is served once a place is free");
        lab.say(format!(
            "{} served the next {:.1?} after one left; it had waited {waited:.1?}",
            greeting.name,
            left.elapsed()
        ));
        assert!(left.elapsed() <= MEASURING, "{:?}", left.elapsed());
        inside.push(next);
    }
}

/// More than an endpoint may have wait for a place there, until `connect.timeout`.
fn max_connections_of_endpoints(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = [backend(lab, "b1", 11), backend(lab, "b2", 12)];
    let entries = backends.each_ref().map(|b| entry_with(b, "maxConnections: 5"));
    let manifests = one_chain(&entries, "connect: {timeout: 3s, attempts: 2}");
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    proxy.await_serving("app", &backends.each_ref().map(Backend::address), SOON);
    let connect = || Wire::connect(&client, proxy_host.at(PORT)).expect("a connection");
    let mut held: Vec<(String, Wire)> = Vec::new();
    for _ in 0..10 {
        let mut wire = connect();
        held.push((wire.ask().expect("ten are served").name, wire));
    }
    let on_b1 = held.iter().filter(|(name, _)| name == "b1").count();
    assert_eq!(on_b1, 5, "five each");

    let mut next = connect();
    next.say("who are you?\n").unwrap();
    assert_eq!(next.end(Duration::from_millis(300)).1, End::Timeout, "it waits");
    let leaves = held.iter().position(|(name, _)| name == "b1").unwrap();
    let left = Instant::now();
    held.remove(leaves);
    assert_eq!(
        next.greeting().expect("served").name,
        "b1",
        "the place that came free"
    );
    let took = left.elapsed();
    lab.say(format!("served {took:.1?} after a place came free"));
    assert!(took <= MEASURING, "{took:?}");

    let came = Instant::now();
    let mut none = connect();
    none.say("who are you?\n").unwrap();
    let (waited, end) = none.end(SOON);
    let stayed = came.elapsed();
    lab.say(format!("no place came free: {end} after {waited:.2?}"));
    assert_eq!(end, End::Reset);
    let timeout = Duration::from_secs(3);
    assert!(stayed >= timeout, "{stayed:?}");
    assert!(waited <= timeout + MEASURING, "{waited:?}");
}

/// One that begins a request and says a byte of it now and then: its time runs from the beginning.
fn must_close_dribbler(lab: &Lab, client: &Host, to: SocketAddr, limit: Duration) {
    let begun = Instant::now();
    let mut dribbler = Wire::connect(client, to).expect("a connection");
    let connected = Instant::now();
    dribbler.say("GET /").expect("it is open");
    let end = loop {
        match dribbler.end(Duration::from_millis(150)).1 {
            End::Timeout if begun.elapsed() > 5 * limit => panic!("it may go on for ever"),
            End::Timeout => dribbler.say(b"x").unwrap_or_default(),
            end => break end,
        }
    };
    // The time begins somewhere in between.
    let (most, least) = (begun.elapsed(), connected.elapsed());
    lab.say(format!("a byte now and then: {end} after {least:.2?}"));
    assert!(matches!(end, End::Reset | End::Fin), "{end}");
    assert!(most >= limit, "not for its slowness: {most:?}");
    assert!(least <= limit + MEASURING, "{least:?}");
}

/// Connects, says this and no more: how that ended, and how long after it was connected. Whoever began to speak HTTP is told in
/// HTTP.
fn outwait(client: &Host, to: SocketAddr, says: &[u8], in_http: bool) -> (End, Duration) {
    let mut wire = Wire::connect(client, to).expect("a connection");
    let begun = Instant::now();
    wire.say(says).expect("it is open");
    if !in_http {
        let (_, end) = wire.end(SOON);
        return (end, begun.elapsed());
    }
    let told = wire.line();
    assert!(
        matches!(&told, Ok(status) if status.starts_with("HTTP/1.1 408 ")),
        "{told:?}"
    );
    let (_, end) = wire.rest();
    (end, begun.elapsed())
}

/// Clients that say nothing, too little, or a byte at a time: closed by `handshakeTimeout`; others do not notice.
fn slow_clients(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let b1 = backend(lab, "b1", 11);
    let entries = [entry(&b1, 0)];
    let (tls, auto) = (PORT + 1, PORT + 2);
    let limit = Duration::from_secs(1);
    let manifests = manifest::join(&[
        pool_of(
            &[
                listener("app", PORT, "protocol: TCP, handshakeTimeout: 1s"),
                listener(
                    "tls",
                    tls,
                    "protocol: TLS, tls: {mode: Passthrough}, handshakeTimeout: 1s",
                ),
                listener("auto", auto, "protocol: Auto, handshakeTimeout: 1s"),
            ],
            "",
        ),
        chain("app", &entries, ""),
        chain_on("tls", "tls", &entries, "hostnames: [a.example.test]"),
        chain_on("auto", "auto", &entries, "hostnames: [a.example.test]"),
    ]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    proxy.await_serving("app", &[b1.address()], SOON);
    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 100));

    must_close_dribbler(lab, &client, proxy_host.at(auto), limit);
    // The record header of a ClientHello that never comes, and a request without an end.
    let hello: &[u8] = b"\x16\x03\x01\x02\x00\x01";
    let request: &[u8] = b"GET / HTTP/1.1\r\nHost: a.exam";
    let cases = [
        ("silent", tls, &b""[..]),
        ("hello", tls, hello),
        ("hello", auto, hello),
        ("request", auto, request),
    ];
    // Each on its own thread, which sees the end when it comes.
    let longest = thread::scope(|scope| {
        let slow: Vec<_> = cases
            .iter()
            .flat_map(|case| iter::repeat_n(case, 25))
            .map(|&(what, port, says)| {
                let (client, to) = (&client, proxy_host.at(port));
                let wait = move || outwait(client, to, says, what == "request");
                (what, port, scope.spawn(wait))
            })
            .collect();
        let mut longest = Duration::ZERO;
        for (what, port, waiting) in slow {
            let (end, lasted) = waiting.join().unwrap_or_else(|panic| resume_unwind(panic));
            assert!(matches!(end, End::Reset | End::Fin), "{what} on {port}: {end}");
            longest = longest.max(lasted);
        }
        longest
    });
    lab.say(format!(
        "100 slow clients were closed, the last after {longest:.2?} of {limit:?}"
    ));
    let seen = load.stop();
    lab.say(format!("others meanwhile: {seen}"));
    seen.must_all_be_served();
    let wait = seen.longest_wait();
    assert!(wait < limit, "others notice: {wait:?}");
    assert!(longest <= limit + MEASURING, "{longest:?}");
}
