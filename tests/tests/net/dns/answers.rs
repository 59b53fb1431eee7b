//! Answers of unusual shape: a part of the truth, too long for a datagram,
//! IPv6 alone, and one answer for many chains.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{End, SessionPlan, Sessions};
use switchyard_tests::dns::{DnsServer, Kind};
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::Lab;
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use super::{PORT, PROMISED, SOON, TTL_SECONDS, a, backends, load, manifests};

pub fn add(suite: &mut Suite) {
    suite.workers("dns::fifty_chains_one_query_per_ttl", fifty_chains);
    suite.workers("dns::one_of_three_answers", one_of_three);
    suite.workers("dns::truncated_answers", truncated);
    suite.workers("dns::ipv6_only", ipv6_only);
}

/// Every second the answer is another one of three addresses. One chain follows at once, the other waits until an
/// address has been missing for 10 s.
fn one_of_three(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = backends(lab, 3);
    let mut dns = DnsServer::start(&lab.host("dns", 53), Kind::Knot, |zone| {
        zone.set("app", TTL_SECONDS, &[a(&backends[0])]);
    });
    lab.say(dns.version());
    let manifests = manifests(&[
        ("follow", "app", ""),
        (
            "wait",
            "app",
            "resolution: {nameservers: [10.77.0.53], missingFor: 10s}\ndrainVanished: {after: 1s}",
        ),
    ]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    let mut turn = backends.iter().cycle().skip(1);
    let mut next = || {
        let listed = turn.next().expect("it has no end");
        dns.edit(|zone| {
            zone.set("app", TTL_SECONDS, &[a(listed)]);
        });
        let_pass(Duration::from_secs(1));
    };

    let loads = [
        load(&client, &proxy_host, PORT),
        load(&client, &proxy_host, PORT + 1),
    ];
    (0..3).for_each(|_| next());
    let all: Vec<SocketAddr> = backends.iter().map(Backend::address).collect();
    // Names are asked for at their own times: an address may be missed once or twice.
    let known = Instant::now();
    while proxy.chain("wait").serving().len() < 3 {
        assert!(known.elapsed() < SOON, "{:#?}", proxy.chain("wait"));
        next();
    }
    proxy.await_serving("wait", &all, SOON);
    let sessions = [PORT, PORT + 1].map(|port| {
        let plan = SessionPlan::busy(proxy_host.at(port), 30, Duration::from_millis(200));
        Sessions::open(&client, &plan)
    });
    let begun = Instant::now();
    (0..15).for_each(|_| next());
    let end = Instant::now();

    let [follow, wait] = loads.map(switchyard_tests::client::Load::stop);
    lab.say(format!("missingFor 0s\n{follow}missingFor 10s\n{wait}"));
    follow.must_all_be_served();
    wait.must_all_be_served();
    assert_eq!(follow.by_name().len(), 3, "it follows: {follow}");
    let wait = wait.begun(begun, end);
    for (name, count) in wait.by_name() {
        let share = count as f64 / wait.len() as f64;
        assert!(
            (share - 1.0 / 3.0).abs() < 0.03,
            "{name} served {share:.3} of them, not a third"
        );
    }
    for sessions in sessions {
        let held = sessions.close();
        let kept = held
            .iter()
            .filter(|s| matches!(s.ended, Some((_, End::Finished))))
            .count();
        assert_eq!(kept, 30, "sessions were moved: {held:?}");
    }
    lab.say(format!("60 sessions, none moved in {:.1?}", end - begun));
}

fn truncated(lab: &Lab, workers: usize) {
    const ADDRESSES: u8 = 120;
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let host = lab.host("many", 20);
    let addresses: Vec<IpAddr> = (1..=ADDRESSES)
        .map(|n| Ipv4Addr::new(10, 77, 1, n).into())
        .collect();
    host.add_addresses(&addresses);
    let _backend = Backend::start(&host, PORT, Mode::ClientFirst);
    let dns = DnsServer::start(&lab.host("dns", 53), Kind::Bind, |zone| {
        let records: Vec<String> = addresses.iter().map(|address| format!("A {address}")).collect();
        zone.set("app", TTL_SECONDS, &records);
    });
    lab.say(dns.version());
    let over_udp = dns.dig(&["+ignore", "app.example.test", "A"]).unwrap();
    assert!(over_udp.contains(" tc"), "not truncated over UDP: {over_udp}");

    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests(&[("app", "app", "")])));
    let all: Vec<SocketAddr> = addresses.iter().map(|ip| SocketAddr::new(*ip, PORT)).collect();
    proxy.await_serving("app", &all, SOON);
    let load = load(&client, &proxy_host, PORT);
    let_pass(Duration::from_secs(5));
    let seen = load.stop();
    let queries = dns.queries("app", "A");
    lab.say(format!(
        "{} A records; queries: {queries:?}\n{seen}",
        addresses.len()
    ));
    seen.must_all_be_served();
    assert_eq!(
        seen.by_address().len(),
        addresses.len(),
        "some address got no client"
    );
    assert!(queries.tcp > 0 && queries.all > queries.tcp, "{queries:?}");
}

/// No machine here has an IPv4 address. One name has only AAAA, the other has A records too, which lead nowhere.
fn ipv6_only(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host_v6_only("client", 100), lab.host_v6_only("proxy", 2));
    let start = |n: u8| {
        let host = lab.host_v6_only(&format!("b{n}"), 10 + n);
        Backend::start(&host, PORT, Mode::ClientFirst)
    };
    let (b1, b2) = (start(1), start(2));
    let mut dns = DnsServer::start(&lab.host_v6_only("dns", 53), Kind::Nsd, |zone| {
        zone.set("only", TTL_SECONDS, &["AAAA fd77::11"]);
        zone.set("both", TTL_SECONDS, &["AAAA fd77::11", "A 10.77.0.11"]);
    });
    lab.say(dns.version());
    let resolution = "resolution: {nameservers: [\"fd77::53\"]}";
    let manifests = manifests(&[("only", "only", resolution), ("both", "both", resolution)]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    proxy.await_serving("only", &[b1.address()], SOON);
    proxy.await_serving("both", &[b1.address()], SOON);

    let loads = [
        load(&client, &proxy_host, PORT),
        load(&client, &proxy_host, PORT + 1),
    ];
    let_pass(Duration::from_secs(2));
    let change = dns.edit(|zone| {
        zone.set("only", TTL_SECONDS, &["AAAA fd77::12"]);
        zone.set("both", TTL_SECONDS, &["AAAA fd77::12", "A 10.77.0.11"]);
    });
    let_pass(PROMISED + Duration::from_secs(1));
    for (load, what) in loads
        .into_iter()
        .zip(["AAAA", "AAAA and an A that leads nowhere"])
    {
        let seen = load.stop();
        lab.say(format!("{what}\n{seen}"));
        seen.must_all_be_served();
        let after = seen.begun_since(change.served + PROMISED).by_name();
        assert_eq!(after.keys().collect::<Vec<_>>(), [b2.name()], "{what}");
    }
}

/// Forty-nine chains behind one TLS listener and one behind a TCP listener name the same host.
fn fifty_chains(lab: &Lab, workers: usize) {
    const TTL: u32 = 4;
    const WINDOW: Duration = Duration::from_secs(24);
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = backends(lab, 1);
    let dns = DnsServer::start(&lab.host("dns", 53), Kind::Bind, |zone| {
        zone.set("app", TTL, &[a(&backends[0])]);
    });
    lab.say(dns.version());
    let listeners = format!(
        "listeners:\n- {{name: app, port: {PORT}, protocol: TCP}}\n\
         - {{name: tls, port: 8443, protocol: TLS, tls: {{mode: Passthrough}}}}"
    );
    let rest = format!(
        "backends: [{{name: primary, host: app.example.test, port: {PORT}}}]\n\
         resolution: {{nameservers: [10.77.0.53]}}"
    );
    let mut documents = vec![manifest::pool("edge", &listeners)];
    documents.push(manifest::chain(
        "app",
        &format!("poolRef: {{name: edge, listener: app}}\n{rest}"),
    ));
    for n in 1..50 {
        let spec = format!("poolRef: {{name: edge, listener: tls}}\nhostnames: [c{n}.example.com]\n{rest}");
        documents.push(manifest::chain(&format!("c{n}"), &spec));
    }
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifest::join(&documents)));
    for chain in ["app", "c1", "c49"] {
        proxy.await_serving(chain, &[backends[0].address()], SOON);
    }

    let load = load(&client, &proxy_host, PORT);
    let count = || [dns.queries("app", "A"), dns.queries("app", "AAAA")];
    let reading = Instant::now();
    let before = count();
    let read = Instant::now();
    let_pass(WINDOW);
    let least = read.elapsed();
    let after = count();
    let most = reading.elapsed();
    let seen = load.stop();
    lab.say(seen.to_string());
    seen.must_all_be_served();
    let asked = after[0].all - before[0].all;
    let denied = after[1].all - before[1].all;
    lab.say(format!(
        "50 chains, TTL {TTL} s, {most:.2?}: {asked} queries for A, {denied} for AAAA"
    ));
    // Refreshed between 0.9 and 1.0 of the TTL; one more or less, by where the window begins. A machine that stands still
    // makes the window longer: what counts is how long it was.
    let times = |window: Duration, every: Duration| (window.as_millis() / every.as_millis()) as usize;
    let ttl = Duration::from_secs(TTL.into());
    let expected = times(least, ttl) - 1..=times(most, ttl * 9 / 10) + 1;
    assert!(
        expected.contains(&asked),
        "{asked} queries for A in {most:?} at TTL {TTL} s, not {expected:?}"
    );
    assert!(
        denied <= times(most, Duration::from_secs(1)),
        "{denied} queries for AAAA in {most:?}, negative TTL 1 s"
    );
}
