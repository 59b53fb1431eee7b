//! A proxy that stops: it says so to every client, and what is under way ends as it should.

use std::time::Duration;

use switchyard_tests::backend::Nginx;
use switchyard_tests::client::frames::{Fate, Frames, GOAWAY};
use switchyard_tests::client::{End, Reply, RequestPlan, Requests, Wire};
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};
use switchyard_tests::{manifest, webservers};

use crate::scene::{PORT, SOON, listener, pool_of};

use super::frames::head;

pub fn add(suite: &mut Suite) {
    suite.workers("http::drain::clients_are_told", told);
    suite.workers("http::drain::under_load", under_load);
}

const FIELDS: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a.example"),
    (":path", "/bytes/30000000"),
];

fn told(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let node_host = lab.host("node", 12);
    let _node = webservers::node(&node_host, 3000);
    // Longer than a slow machine needs for 60 MB by small windows: whoever is left then is rightly cut.
    let manifests = manifest::join(&[
        pool_of(&[listener("web", 80, "protocol: HTTP")], "drain: {timeout: 60s}"),
        manifest::chain(
            "web",
            "poolRef: {name: edge}\nbackends: [{name: n, host: 10.77.0.12, port: 3000}]\n",
        ),
    ]);
    let mut proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    proxy.await_serving("web", &[node_host.at(3000)], SOON);

    // Idle clients of each version, and a response that is under way in each.
    let mut idle = Wire::connect(&client, proxy_host.at(80)).expect("a connection");
    idle.say("GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .expect("sent");
    assert_eq!(Reply::read(&mut idle).expect("a reply").status, 200);
    let mut idle2 = Frames::connect(&client, proxy_host.at(80)).expect("a connection");
    idle2.lives().expect("a connection of HTTP/2");
    let mut busy = Wire::narrow(&client, proxy_host.at(80), 8192).expect("a connection");
    busy.say("GET /bytes/30000000 HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .expect("sent");
    let mut line = busy.line().expect("a status line");
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while !line.trim().is_empty() {
        line = busy.line().expect("a header line");
    }
    let mut busy2 = Frames::connect(&client, proxy_host.at(80)).expect("a connection");
    // As much as the windows of a client that says nothing allow; the rest waits.
    busy2.say(&head(1, &FIELDS)).expect("sent");

    proxy.program().signal(nix::sys::signal::Signal::SIGTERM);
    assert!(
        matches!(idle.end(SOON).1, End::Fin | End::Reset),
        "an idle client of HTTP/1.1"
    );
    let goaway = loop {
        match idle2.read() {
            Ok(frame) if frame.kind == GOAWAY => break frame,
            Ok(_) => {}
            Err(end) => panic!("no GOAWAY, but {end}"),
        }
    };
    assert_eq!(&goaway.payload[4..8], [0; 4], "without an error");
    assert_eq!(idle2.end(), End::Fin, "an idle client of HTTP/2");

    // What is under way comes to its end.
    let body = busy.take(30_000_000).expect("all of the response");
    assert!(body.iter().all(|byte| *byte == b'x'));
    busy2.widen(1, 1 << 30).expect("sent");
    match busy2.fate(1) {
        Fate::Answered(200, body) => assert_eq!(body.len(), 30_000_000),
        other => panic!("a response under way in HTTP/2: {other:?}"),
    }
    assert!(
        matches!(busy.end(SOON).1, End::Fin | End::Reset),
        "then the connection ends"
    );
    assert_eq!(busy2.end(), End::Fin, "then the connection ends");
    let status = proxy.program().await_end(Duration::from_secs(10));
    assert!(status.success(), "{status}");
    lab.say("30 MB in each version came whole after the proxy was told to stop");
}

/// One of two proxies stops under load; whoever is told goes to the other one, and nobody fails.
fn under_load(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let b1 = lab.host("b1", 11);
    let _nginx = Nginx::start(&b1, PORT);
    let manifests = manifest::join(&[
        pool_of(&[listener("web", 80, "protocol: HTTP")], "drain: {timeout: 10s}"),
        manifest::chain(
            "web",
            "poolRef: {name: edge}\nbackends: [{name: b1, host: 10.77.0.11, port: 1650}]\n",
        ),
    ]);
    let mut proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    proxy.await_serving("web", &[b1.at(PORT)], SOON);
    let plan = RequestPlan {
        to: proxy_host.at(80),
        host: "a.example".to_owned(),
        per_second: 500,
        clients: 32,
    };
    let requests = Requests::start(&client, plan);
    let_pass(Duration::from_secs(2));
    // Its listeners go first; then each connection, with the response that is its last.
    let asked = std::time::Instant::now();
    proxy.program().signal(nix::sys::signal::Signal::SIGTERM);
    let status = proxy.program().await_end(Duration::from_secs(20));
    let seen = requests.stop();
    lab.say(seen.to_string());
    assert!(status.success(), "{status}");
    // New connections are refused from then on: that is what a load balancer is for. A connection that was open is told in
    // a response, or ends where nothing is under way.
    let failed: Vec<_> = seen
        .failed()
        .into_iter()
        .filter(|one| !matches!(one.what, Err(End::Refused)))
        .collect();
    lab.say(format!(
        "{} refused when the listener was gone",
        seen.failed().len() - failed.len()
    ));
    assert!(
        failed.is_empty(),
        "{} failed, such as {:?} {:?} after the signal",
        failed.len(),
        failed[0],
        failed[0].due.saturating_duration_since(asked)
    );
}
