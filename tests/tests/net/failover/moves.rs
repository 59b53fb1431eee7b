//! Sessions that leave an endpoint: because it is down, because it left DNS.

use std::time::Duration;

use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{End, Session, SessionPlan, Sessions};
use switchyard_tests::dns::{DnsServer, Kind};
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use super::{MEASURING, PORT, QUICK_HEALTH, SOON, await_open, backend, chain, entry, must_leave_paced, pool};

pub fn add(suite: &mut Suite) {
    suite.workers("failover::drain_vanished", drain_vanished);
    suite.workers("failover::on_down", on_down);
}

/// Sessions to the `n`-th listener.
fn sessions(client: &Host, proxy: &Host, n: u16, count: usize) -> Sessions {
    Sessions::open(client, &SessionPlan::idle(proxy.at(PORT + n), count))
}

/// That these sessions live: each answered once more, then ended as the client wanted.
#[track_caller]
fn must_live(sessions: &[Session]) {
    let dead: Vec<_> = sessions
        .iter()
        .filter(|s| !matches!(s.ended, Some((_, End::Finished))))
        .collect();
    assert!(
        dead.is_empty(),
        "{} of {} did not live, such as {:?}",
        dead.len(),
        sessions.len(),
        dead[0]
    );
}

/// An endpoint whose monitor fails, while the sessions on it would go on: `Close` closes them, `Keep` leaves them.
fn on_down(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let watched = lab.host("primary", 11);
    let primary = Backend::start(&watched, PORT, Mode::ClientFirst);
    let mut monitored = Backend::start(&watched, 9070, Mode::ClientFirst);
    let standby = backend(lab, "standby", 12);
    let _standby_monitored = Backend::start(&lab.host("beside", 13), 9070, Mode::ClientFirst);
    let health = "health: {interval: 300ms, timeout: 1s, monitors: [{tcp: {port: 9070}}]}";
    let backends = [entry(&primary, 0), entry(&standby, 1)];
    let close = format!("{health}\nfailover: {{onDown: Close, pace: 50}}");
    let manifests = manifest::join(&[
        pool(&["close", "keep"]),
        chain("close", &backends, &close),
        chain("keep", &backends, health),
    ]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    proxy.await_serving("close", &[primary.address()], SOON);
    proxy.await_serving("keep", &[primary.address()], SOON);

    let closed = sessions(&client, &proxy_host, 0, 400);
    let kept = sessions(&client, &proxy_host, 1, 100);
    assert_eq!((closed.open_now(), kept.open_now()), (400, 100));
    monitored.kill();
    await_open(&closed, 0, 2 * SOON);
    must_leave_paced(lab, &closed.close(), 50);
    assert_eq!(kept.open_now(), 100);
    must_live(&kept.close());
    lab.say("100 sessions on the chain that keeps them lived");
}

/// An address leaves DNS: its sessions leave after a while, unless it comes back; those of others, and of a chain that
/// does not want it, stay.
fn drain_vanished(lab: &Lab, workers: usize) {
    // Longer than it takes to leave DNS and to come back.
    let after = Duration::from_secs(5);
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let (stays, goes) = (backend(lab, "stays", 11), backend(lab, "goes", 12));
    let a = |b: &Backend| format!("A {}", b.address().ip());
    let (both, one) = ([a(&stays), a(&goes)], [a(&stays)]);
    let mut dns = DnsServer::start(&lab.host("dns", 53), Kind::Knot, |zone| {
        zone.set("app", 1, &both);
    });
    lab.say(dns.version());
    let backends = [format!("- {{name: app, host: app.example.test, port: {PORT}}}")];
    let rules = format!("{QUICK_HEALTH}\nresolution: {{nameservers: [10.77.0.53]}}");
    let drains = format!("{rules}\nfailover: {{pace: 50}}\ndrainVanished: {{after: 5s}}");
    let manifests = manifest::join(&[
        pool(&["drains", "keeps"]),
        chain("drains", &backends, &drains),
        chain("keeps", &backends, &rules),
    ]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    for name in ["drains", "keeps"] {
        proxy.await_serving(name, &[stays.address(), goes.address()], SOON);
    }
    let drained = sessions(&client, &proxy_host, 0, 800);
    let kept = sessions(&client, &proxy_host, 1, 100);
    let of = |sessions: &[Session], name: &str| -> Vec<Session> {
        let by = |s: &&Session| s.served_by.as_ref().is_some_and(|by| by.name == name);
        sessions.iter().filter(by).cloned().collect()
    };
    assert_eq!(
        of(&drained.so_far(), "goes").len(),
        400,
        "they were dealt out evenly"
    );

    // Away for less than `after`: nothing moves.
    dns.edit(|zone| {
        zone.set("app", 1, &one);
    });
    proxy.await_serving("drains", &[stays.address()], SOON);
    dns.edit(|zone| {
        zone.set("app", 1, &both);
    });
    proxy.await_serving("drains", &[stays.address(), goes.address()], SOON);
    let_pass(after);
    assert_eq!(drained.open_now(), 800, "it came back in time");

    let change = dns.edit(|zone| {
        zone.set("app", 1, &one);
    });
    await_open(&drained, 400, 3 * SOON);
    assert_eq!(kept.open_now(), 100);
    let all = drained.close();
    let first = must_leave_paced(lab, &of(&all, "goes"), 50);
    // The zone changed between these two moments.
    let (most, least) = (first - change.asked, first - change.served);
    lab.say(format!("the first left {most:.2?} after its address left DNS"));
    assert!(most >= after, "{most:?}");
    // TTL and promised second after that, then `after`.
    let within = after + Duration::from_secs(2) + MEASURING;
    assert!(least <= within, "{least:?}");
    must_live(&of(&all, "stays"));
    must_live(&kept.close());
}
