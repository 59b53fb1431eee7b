//! Active/passive without leaks, and monitors that disagree.

use std::time::{Duration, Instant};

use switchyard_tests::backend::{Backend, Mode, Nginx};
use switchyard_tests::client::{Load, LoadPlan, SessionPlan, Sessions};
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use super::{
    MEASURING, PORT, QUICK_HEALTH, SOON, backend, entry, kill, must_be_served_but_at, one_chain, only,
};

pub fn add(suite: &mut Suite) {
    suite.workers("failover::one_of_three_primaries", strict);
    suite.workers("failover::two_monitors", two_monitors);
}

/// As long as one of three primaries lives, whichever it is, nobody reaches the standby.
fn strict(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let mut primaries = [
        backend(lab, "b1", 11),
        backend(lab, "b2", 12),
        backend(lab, "b3", 13),
    ];
    let standby = backend(lab, "standby", 14);
    let mut entries: Vec<String> = primaries.iter().map(|b| entry(b, 0)).collect();
    entries.push(entry(&standby, 1));
    let manifests = one_chain(&entries, QUICK_HEALTH);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    let [b1, b2, b3] = primaries.each_ref().map(Backend::address);
    proxy.await_serving("app", &[b1, b2, b3, standby.address()], SOON);

    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 200));
    let mut kills = vec![kill(&mut primaries[0]), kill(&mut primaries[1])];
    let_pass(Duration::from_secs(3));
    primaries[0].revive();
    proxy.await_serving("app", &[b1, b3, standby.address()], SOON);
    kills.push(kill(&mut primaries[2]));
    let_pass(Duration::from_secs(3));
    let seen = load.stop();
    must_be_served_but_at(lab, &seen, &kills);
    assert!(
        !seen.by_name().contains_key("standby"),
        "the standby served: {seen}"
    );
    only(&seen.begun_since(kills[2].dead), "b1");
}

/// A port that answers and a health page that does not: out, with the reason in words; the sessions stay.
fn two_monitors(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    lab.say(Nginx::version());
    let hosts = [lab.host("b1", 11), lab.host("b2", 12)];
    let backends = hosts
        .each_ref()
        .map(|host| Backend::start(host, PORT, Mode::ClientFirst));
    let mut ports = hosts
        .each_ref()
        .map(|host| Backend::start(host, 9070, Mode::ServerFirst));
    let pages = hosts.each_ref().map(|host| Nginx::start(host, 9075));
    let rules = "health: {interval: 300ms, timeout: 1s, monitors: [\
                 {tcp: {port: 9070, expect: '\"name\"'}}, {http: {port: 9075, path: /healthz}}]}";
    let entries = [entry(&backends[0], 0), entry(&backends[1], 0)];
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &one_chain(&entries, rules)));
    let [b1, b2] = backends.each_ref().map(Backend::address);
    proxy.await_serving("app", &[b1, b2], SOON);
    let sessions = Sessions::open(&client, &SessionPlan::idle(proxy_host.at(PORT), 20));
    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 100));

    // Each monitor in turn, while the other passes.
    pages[0].answer_healthy(false);
    let out = must_be_out(
        lab,
        &proxy,
        Instant::now(),
        "10.77.0.11:1650",
        &["http:9075/healthz", "503"],
    );
    let_pass(Duration::from_secs(1));
    let back = Instant::now();
    pages[0].answer_healthy(true);
    proxy.await_serving("app", &[b1, b2], SOON);
    let_pass(Duration::from_secs(1));
    ports[0].kill();
    let again = must_be_out(
        lab,
        &proxy,
        Instant::now(),
        "10.77.0.11",
        &["tcp:9070", "refused"],
    );
    let_pass(Duration::from_secs(1));
    let seen = load.stop();
    lab.say(seen.to_string());
    seen.must_all_be_served();
    only(&seen.begun_since(out).served_before(back), "b2");
    only(&seen.begun_since(again), "b2");
    assert!(
        seen.begun(back, again).by_name().contains_key("b1"),
        "it came back in between"
    );
    assert_eq!(sessions.open_now(), 20, "sessions are kept by default");
}

/// Awaits that b1 is out, and that `switchyard explain` says of it each of `words`; says when it was out.
fn must_be_out(lab: &Lab, proxy: &Switchyard, since: Instant, name: &str, words: &[&str]) -> Instant {
    // fall × interval, and the time of a probe that is answered at once.
    let within = Duration::from_millis(600) + MEASURING;
    proxy.await_chain("app", "b1 is out", within, |state| {
        state
            .endpoints
            .iter()
            .any(|e| e.backend == "b1" && e.state == "Ejected")
    });
    let out = Instant::now();
    let (code, text, complaints) = proxy.command(&["explain", name, "--admin", "127.0.0.1:17000"]);
    lab.say(format!(
        "out after {:.2?}; switchyard explain {name}:\n{text}",
        out - since
    ));
    assert_eq!(code, Some(0), "{complaints}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in what explain says:\n{text}");
    }
    out
}
