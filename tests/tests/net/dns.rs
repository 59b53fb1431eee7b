//! What a real DNS server does to clients: changes of every kind, and every
//! way in which it can be of no help. Each test runs with one data worker and
//! with two, and judges by what clients saw.

use std::time::Duration;

use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{Load, LoadPlan};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;

mod answers;
mod changes;
mod outages;

/// What clients connect to, and what backends listen on.
const PORT: u16 = 1650;

/// TTL of the records that change: the promise is that one second later than
/// this nobody is sent to the old address.
const TTL: Duration = Duration::from_secs(1);
const TTL_SECONDS: u32 = 1;
const PROMISED: Duration = Duration::from_secs(2);

/// For states that are awaited, not promised.
const SOON: Duration = Duration::from_secs(10);

pub fn add(suite: &mut Suite) {
    outages::add(suite); // these take longest
    answers::add(suite);
    changes::add(suite);
}

/// `count` backends `b1`, `b2`, … at 10.77.0.11, .12, …
fn backends(lab: &Lab, count: u8) -> Vec<Backend> {
    let start = |n: u8| {
        let host = lab.host(&format!("b{n}"), 10 + n);
        Backend::start(&host, PORT, Mode::ClientFirst)
    };
    (1..=count).map(start).collect()
}

/// The record `A` of a backend's address.
fn a(backend: &Backend) -> String {
    format!("A {}", backend.address().ip())
}

/// A pool with TCP listeners on [`PORT`] and the ports after it, one for each
/// chain; chain `NAME` has one backend, the DNS name `HOST`, and what `more`
/// adds to its spec.
fn manifests(chains: &[(&str, &str, &str)]) -> String {
    let ports = PORT..;
    let listeners: Vec<String> = ports
        .zip(chains)
        .map(|(port, (name, ..))| format!("- {{name: {name}, port: {port}, protocol: TCP}}"))
        .collect();
    let mut documents = vec![manifest::pool(
        "edge",
        &format!("listeners:\n{}", listeners.join("\n")),
    )];
    for (name, host, more) in chains {
        documents.push(chain(
            name,
            &format!("{{name: primary, host: {host}.example.test, port: {PORT}}}"),
            more,
        ));
    }
    manifest::join(&documents)
}

/// A chain on the listener of its own name, resolved by the lab's DNS server.
fn chain(name: &str, backend: &str, more: &str) -> String {
    let mut spec = format!("poolRef: {{name: edge, listener: {name}}}\nbackends: [{backend}]\n");
    if !more.contains("resolution:") {
        spec.push_str("resolution: {nameservers: [10.77.0.53]}\n");
    }
    manifest::chain(name, &format!("{spec}{more}\n"))
}

/// 100 new connections a second from a host of their own.
fn load(client: &Host, proxy: &Host, port: u16) -> Load {
    Load::start(client, LoadPlan::new(proxy.at(port), 100))
}
