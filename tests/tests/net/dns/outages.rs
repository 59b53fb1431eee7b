//! DNS is of no help: dead, silent, failing, denying, or down from the start.

use std::time::{Duration, Instant};

use switchyard_tests::backend::Backend;
use switchyard_tests::client::{End, Outcomes};
use switchyard_tests::dns::{DnsServer, Kind};
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use super::{PORT, SOON, TTL, TTL_SECONDS, a, backends, load, manifests};

const OUTAGE: Duration = Duration::from_mins(1);

pub fn add(suite: &mut Suite) {
    suite.workers("dns::resolver_is_dead_60_s", |lab, workers| {
        outage(lab, workers, Outage::Dead);
    });
    suite.workers("dns::resolver_is_silent_60_s", |lab, workers| {
        outage(lab, workers, Outage::Silent);
    });
    suite.workers("dns::resolver_says_servfail_60_s", |lab, workers| {
        outage(lab, workers, Outage::Servfail);
    });
    suite.workers("dns::nxdomain_flaps", nxdomain_flaps);
    suite.workers("dns::nxdomain_stays", nxdomain_stays);
    suite.workers("dns::is_down_at_start", is_down_at_start);
}

#[derive(Clone, Copy, Debug)]
enum Outage {
    /// Killed: its port refuses.
    Dead,
    /// Every packet to it is dropped.
    Silent,
    /// It answers SERVFAIL.
    Servfail,
}

fn outage(lab: &Lab, workers: usize, how: Outage) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = backends(lab, 3);
    let kind = match how {
        Outage::Dead => Kind::Nsd,
        Outage::Silent => Kind::Knot,
        Outage::Servfail => Kind::Bind,
    };
    let mut dns = DnsServer::start(&lab.host("dns", 53), kind, |zone| {
        zone.set("app", TTL_SECONDS, &[a(&backends[0]), a(&backends[1])]);
    });
    lab.say(dns.version());
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests(&[("app", "app", "")])));
    let known: Vec<_> = backends[..2].iter().map(Backend::address).collect();
    proxy.await_serving("app", &known, SOON);

    let load = load(&client, &proxy_host, PORT);
    let_pass(Duration::from_secs(1));
    let begun = Instant::now();
    let silence = match how {
        Outage::Dead => {
            dns.kill();
            None
        }
        Outage::Silent => Some(dns.silence()),
        Outage::Servfail => {
            dns.servfail(true);
            None
        }
    };
    let_pass(OUTAGE.saturating_sub(begun.elapsed()));
    let chain = proxy.chain("app");
    lab.say(format!(
        "{how:?} for {:.1?}; then: {:?}",
        begun.elapsed(),
        chain.endpoints
    ));
    // What changed meanwhile is found when the server is back.
    dns.edit(|zone| {
        zone.set("app", TTL_SECONDS, &[a(&backends[2])]);
    });
    drop(silence);
    match how {
        Outage::Dead => dns.revive(),
        Outage::Silent => {}
        Outage::Servfail => dns.servfail(false),
    }
    let back = Instant::now();
    proxy.await_serving("app", &[backends[2].address()], SOON);
    let_pass(TTL);
    let seen = load.stop();
    lab.say(seen.to_string());
    seen.must_all_be_served();
    for backend in &backends[..2] {
        let during = seen.begun(begun + TTL, back);
        let served = during.by_name().get(backend.name()).copied().unwrap_or_default();
        assert!(
            served * 3 > during.len(),
            "{} served {served} of {}",
            backend.name(),
            during.len()
        );
    }
    let first = seen.begun_since(back);
    let first = first
        .iter()
        .find(|o| o.served.as_ref().is_some_and(|(_, g)| g.name == "b3"));
    let found = first.expect("the new address serves").begun - back;
    lab.say(format!(
        "the change made during the outage was found {found:.2?} after the server was back"
    ));
}

/// Of two chains one keeps what it knows when the name is denied, the other drops it after three denials in a row.
fn two_policies() -> String {
    manifests(&[
        (
            "keep",
            "app",
            "resolution: {nameservers: [10.77.0.53], maxTTL: 1s}",
        ),
        (
            "drop",
            "app",
            "resolution: {nameservers: [10.77.0.53], maxTTL: 1s, onNXDOMAIN: Remove}",
        ),
    ])
}

/// The name comes and goes, too fast for three denials in a row: nobody notices.
fn nxdomain_flaps(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = backends(lab, 1);
    let mut dns = DnsServer::start(&lab.host("dns", 53), Kind::Bind, |zone| {
        zone.set("app", TTL_SECONDS, &[a(&backends[0])]);
    });
    lab.say(dns.version());
    let _proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &two_policies()));

    let loads = [
        load(&client, &proxy_host, PORT),
        load(&client, &proxy_host, PORT + 1),
    ];
    for _ in 0..6 {
        // Names are asked for each 0.9 s to 1.25 s: one denial or two.
        dns.edit(|zone| {
            zone.remove("app");
        });
        let_pass(Duration::from_millis(1400));
        dns.edit(|zone| {
            zone.set("app", TTL_SECONDS, &[a(&backends[0])]);
        });
        let_pass(Duration::from_millis(2600));
    }
    for (load, what) in loads.into_iter().zip(["Stale", "Remove"]) {
        let seen = load.stop();
        lab.say(format!("onNXDOMAIN: {what}, denied 6 times for 1.4 s\n{seen}"));
        seen.must_all_be_served();
    }
}

/// The name goes for good, and comes back.
fn nxdomain_stays(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = backends(lab, 1);
    let mut dns = DnsServer::start(&lab.host("dns", 53), Kind::Nsd, |zone| {
        zone.set("app", TTL_SECONDS, &[a(&backends[0])]);
    });
    lab.say(dns.version());
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &two_policies()));

    let keep = load(&client, &proxy_host, PORT);
    let denied = dns.edit(|zone| {
        zone.remove("app");
    });
    proxy.await_chain("drop", "its endpoint is removed", SOON, |chain| {
        chain.usable().is_empty()
    });
    let removed = denied.asked.elapsed();
    // Three denials are at least two pauses of 0.9 s apart.
    assert!(
        removed > Duration::from_millis(1800),
        "removed after {removed:?}: fewer than three denials"
    );
    let drop = load(&client, &proxy_host, PORT + 1);
    let_pass(Duration::from_secs(2));
    let (keep, drop) = (keep.stop(), drop.stop());
    let outage = denied.asked.elapsed();
    lab.say(format!("onNXDOMAIN: Stale, denied for {outage:.1?}\n{keep}"));
    keep.must_all_be_served();
    lab.say(format!("onNXDOMAIN: Remove, removed after {removed:.1?}\n{drop}"));
    assert_eq!(drop.failed().count(), drop.len(), "{drop}");
    failures_must_be_told(&drop);

    dns.edit(|zone| {
        zone.set("app", TTL_SECONDS, &[a(&backends[0])]);
    });
    proxy.await_serving("drop", &[backends[0].address()], SOON);
    let load = load(&client, &proxy_host, PORT + 1);
    let_pass(TTL);
    load.stop().must_all_be_served();
}

/// Those that were not served were told so, once nobody was found for them within `connect.timeout` (3 s).
#[track_caller]
fn failures_must_be_told(seen: &Outcomes) {
    for outcome in seen.failed() {
        let told = matches!(outcome.end, End::Fin | End::Reset | End::Refused);
        assert!(
            told && outcome.lasted < Duration::from_secs(4),
            "{outcome:?}\n{seen}"
        );
    }
}

/// The proxy runs, tells its clients clearly that it cannot serve them, and serves them once there is DNS. A name that
/// nobody can resolve must not keep the proxy from its other chains for ever: it is unready only while it is waiting
/// for first answers.
fn is_down_at_start(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = backends(lab, 1);
    let mut dns = DnsServer::dead(&lab.host("dns", 53), Kind::Knot, |zone| {
        zone.set("app", TTL_SECONDS, &[a(&backends[0])]);
    });
    lab.say(dns.version());
    let down = Instant::now();
    let mut proxy = Switchyard::start(&proxy_host, Plan::new(workers, &manifests(&[("app", "app", "")])));
    assert_eq!(proxy.get("/livez").map(|(status, _)| status), Ok(200));
    let (status, why) = proxy.get("/readyz").unwrap();
    lab.say(format!(
        "/readyz {:.1?} after the start: {status}: {why}",
        down.elapsed()
    ));
    assert_eq!(status, 503, "{why}");

    let load = load(&client, &proxy_host, PORT);
    let_pass(Duration::from_secs(8));
    assert!(proxy.program().runs());
    let (status, why) = proxy.get("/readyz").unwrap();
    lab.say(format!(
        "/readyz {:.1?} after the start: {status}: {why}",
        down.elapsed()
    ));

    let outage = down.elapsed();
    let back = Instant::now();
    dns.revive();
    proxy.await_serving("app", &[backends[0].address()], SOON);
    proxy.await_ready(SOON);
    let ready = Instant::now();
    let_pass(Duration::from_secs(2));
    let seen = load.stop();
    lab.say(seen.to_string());
    let first = seen.iter().find(|outcome| outcome.served.is_some());
    let first = first.expect("somebody is served").begun;
    lab.say(format!(
        "DNS was down for {outage:.1?} from the start; the first client was served {:.2?} after it came",
        first.saturating_duration_since(back)
    ));
    failures_must_be_told(&seen);
    seen.begun_since(ready).must_all_be_served();
}
