//! Backends that die and addresses that vanish while requests come over connections that stay open.

use std::time::{Duration, Instant};

use switchyard_tests::backend::Nginx;
use switchyard_tests::client::{RequestPlan, Requests};
use switchyard_tests::dns::{DnsServer, Kind};
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use crate::scene::{MEASURING, PORT, SOON, listener, pool_of};

pub fn add(suite: &mut Suite) {
    suite.workers_alone("http::outages::backend_killed", backend_killed);
    suite.workers_alone("http::outages::address_vanishes", address_vanishes);
}

/// The load that is promised to survive.
const PER_SECOND: u32 = 2_000;
/// No request may be seen so long after the TTL of a record that is gone.
const GONE: Duration = Duration::from_secs(1);

fn load(client: &Host, proxy: &Host) -> Requests {
    let plan = RequestPlan {
        to: proxy.at(80),
        host: "app.example.test".to_owned(),
        per_second: PER_SECOND,
        clients: 64,
    };
    Requests::start(client, plan)
}

fn web() -> String {
    pool_of(&[listener("web", 80, "protocol: HTTP")], "")
}

/// A process is killed under load, another machine falls silent: every request is answered, by who lives.
fn backend_killed(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let hosts = [lab.host("b1", 11), lab.host("b2", 12), lab.host("b3", 13)];
    let mut servers: Vec<Nginx> = hosts.iter().map(|host| Nginx::start(host, PORT)).collect();
    let chain = manifest::chain(
        "web",
        "poolRef: {name: edge}\nbackends:\n- {name: b1, host: 10.77.0.11, port: 1650}\n- {name: b2, host: 10.77.0.12, port: 1650}\n- {name: b3, host: 10.77.0.13, port: 1650}\n",
    );
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifest::join(&[web(), chain])));
    proxy.await_serving("web", &hosts.each_ref().map(|host| host.at(PORT)), SOON);
    lab.say(Nginx::version());

    let requests = load(&client, &proxy_host);
    let_pass(Duration::from_secs(3));
    let killed = Instant::now();
    drop(servers.remove(0));
    let_pass(Duration::from_secs(3));
    drop(servers.remove(0));
    let_pass(Duration::from_secs(3));
    let seen = requests.stop();
    lab.say(seen.to_string());
    let before = seen.0.iter().filter(|one| one.over < killed).count();
    lab.say(format!("{before} of them before the first was killed"));
    let failed = seen.failed();
    assert!(
        failed.is_empty(),
        "{} failed, such as {:?}",
        failed.len(),
        failed[0]
    );
    let expected = PER_SECOND as usize * 9;
    assert!(
        seen.0.len() > expected * 9 / 10,
        "the load was less than it should be: {}",
        seen.0.len()
    );
    assert!(seen.by_body().len() == 3, "all three have served");
}

/// An address leaves the DNS, its server lives: one second after the TTL nobody is sent there, over connections that are
/// open either.
fn address_vanishes(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let hosts = [lab.host("b1", 11), lab.host("b2", 12)];
    let _servers: Vec<Nginx> = hosts.iter().map(|host| Nginx::start(host, PORT)).collect();
    let mut dns = DnsServer::start(&lab.host("dns", 53), Kind::Knot, |zone| {
        zone.set("app", 1, &["A 10.77.0.11", "A 10.77.0.12"]);
    });
    let chain = manifest::chain(
        "web",
        "poolRef: {name: edge}\nbackends: [{name: app, host: app.example.test, port: 1650}]\nresolution: {nameservers: [10.77.0.53]}\n",
    );
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifest::join(&[web(), chain])));
    proxy.await_serving("web", &hosts.each_ref().map(|host| host.at(PORT)), SOON);
    let requests = load(&client, &proxy_host);
    let_pass(Duration::from_secs(3));
    let change = dns.edit(|zone| {
        zone.set("app", 1, &["A 10.77.0.12"]);
    });
    let_pass(Duration::from_secs(5));
    let seen = requests.stop();
    lab.say(seen.to_string());
    let ttl = Duration::from_secs(1);
    let last = seen
        .0
        .iter()
        .filter(|one| matches!(&one.what, Ok((_, body)) if body == "b1"))
        .map(|one| one.over)
        .max();
    let last = last.expect("b1 has served before");
    let after = last.saturating_duration_since(change.served);
    lab.say(format!(
        "the last answer of b1 came {after:?} after the server stopped naming it"
    ));
    let failed = seen.failed();
    assert!(
        failed.is_empty(),
        "{} failed, such as {:?}",
        failed.len(),
        failed[0]
    );
    assert!(after < ttl + GONE + MEASURING, "{after:?}");
    assert_eq!(seen.by_body().len(), 2);
}
