//! A proxy's life from outside: it starts, or says why not; it drains, and ends.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{End, Load, LoadPlan, Wire};
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::process::Program;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard, program};

use crate::scene::{MEASURING, PORT, SOON, backend, chain, entry, listener, one_chain, pool_of};

pub fn add(suite: &mut Suite) {
    suite.workers("traffic::drain", drain);
    suite.workers("traffic::drain_timeout", drain_timeout);
    suite.workers("traffic::port_is_taken", port_is_taken);
}

/// A port that somebody has, another Switchyard even: exit 1 with the listener and the address; who has it goes on.
fn port_is_taken(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let b1 = backend(lab, "b1", 11);
    let manifests = one_chain(&[entry(&b1, 0)], "");
    let thief = Backend::start(&proxy_host, PORT, Mode::ClientFirst);
    must_not_start(lab, &proxy_host, workers, &manifests, "a backend has the port");
    drop(thief);

    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 100));
    must_not_start(
        lab,
        &proxy_host,
        workers,
        &manifests,
        "another Switchyard has the port",
    );
    let_pass(Duration::from_secs(1));
    let seen = load.stop();
    lab.say(seen.to_string());
    seen.must_all_be_served();
    drop(proxy);
}

fn must_not_start(lab: &Lab, proxy_host: &Host, workers: usize, manifests: &str, what: &str) {
    let directory = proxy_host.directory(&format!("second {what}"));
    let file = directory.join("manifests.yaml");
    std::fs::write(&file, manifests).unwrap();
    let mut command = proxy_host.command(&program().to_string_lossy());
    command
        .args(["run", "-f"])
        .arg(&file)
        .args(["--admin", "127.0.0.1:17001"]);
    command.args([
        "--bind",
        &proxy_host.ip().to_string(),
        "--workers",
        &workers.to_string(),
    ]);
    let mut second = Program::start(proxy_host, "second", &directory, command);
    let status = second.await_end(SOON);
    let said = second.output();
    lab.say(format!("{what}: {status}\n{said}"));
    assert_eq!(status.code(), Some(1));
    let port = format!("port {PORT} of {}", proxy_host.ip());
    for word in ["listener \"app\"", &port, "another process listens there"] {
        assert!(said.contains(word), "no {word:?} in {said:?}");
    }
}

/// A proxy that drains for at most `timeout`.
fn start(lab: &Lab, workers: usize, timeout: &str) -> (Host, Host, Backend, Switchyard) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let b1 = backend(lab, "b1", 11);
    let drain = format!("drain: {{timeout: {timeout}}}");
    let pool = pool_of(&[listener("app", PORT, "protocol: TCP")], &drain);
    let manifests = manifest::join(&[pool, chain("app", &[entry(&b1, 0)], "")]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    (client, proxy_host, b1, proxy)
}

fn connect(client: &Host, proxy_host: &Host) -> Wire {
    let mut wire = Wire::connect(client, proxy_host.at(PORT)).expect("a connection");
    wire.ask().expect("an answer");
    wire
}

/// SIGTERM: nobody new, those inside may finish, then exit 0.
fn drain(lab: &Lab, workers: usize) {
    let (client, proxy_host, _b1, mut proxy) = start(lab, workers, "60s");
    let mut inside: Vec<Wire> = (0..20).map(|_| connect(&client, &proxy_host)).collect();
    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 200));
    let_pass(Duration::from_secs(1));
    let asked = Instant::now();
    proxy.program().signal(Signal::SIGTERM);
    eventually("the port is closed", SOON, || {
        match Wire::connect(&client, proxy_host.at(PORT)) {
            Err(End::Refused) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let refusing = Instant::now();
    let_pass(Duration::from_millis(500));
    let seen = load.stop();
    lab.say(format!("refuses {:.1?} after SIGTERM\n{seen}", refusing - asked));
    assert!(
        seen.failed().all(|o| o.end == End::Refused),
        "served, or refused; nobody is cut: {seen}"
    );
    // Who had begun right before, and met it after.
    assert!(seen.failed().all(|o| o.begun + MEASURING >= asked), "{seen}");
    assert_eq!(seen.ended_before(asked).failed().count(), 0, "{seen}");
    let ready = proxy.get("/readyz");
    assert!(matches!(ready, Ok((503, _))), "{ready:?}");
    for wire in &mut inside {
        assert_eq!(wire.ask().expect("sessions go on").name, "b1");
    }
    for mut wire in inside {
        assert!(proxy.program().runs());
        wire.fin().unwrap();
        assert_eq!(wire.end(SOON).1, End::Fin);
    }
    let left = Instant::now();
    let status = proxy.program().await_end(SOON);
    let took = left.elapsed();
    lab.say(format!("ended {took:.1?} after the last session left: {status}"));
    assert_eq!(status.code(), Some(0));
    assert!(took <= Duration::from_millis(500) + MEASURING, "{took:?}");
}

/// Who stays longer than the pool drains is closed with FIN.
fn drain_timeout(lab: &Lab, workers: usize) {
    let (client, proxy_host, _b1, mut proxy) = start(lab, workers, "2s");
    let mut stays = connect(&client, &proxy_host);
    let asked = Instant::now();
    proxy.program().signal(Signal::SIGTERM);
    let (lasted, end) = stays.end(SOON);
    let stayed = asked.elapsed();
    drop(stays);
    let status = proxy.program().await_end(SOON);
    let took = asked.elapsed();
    lab.say(format!(
        "who stayed was closed by {end} after {lasted:.2?}; {status} after {took:.2?}"
    ));
    assert_eq!((end, status.code()), (End::Fin, Some(0)));
    let limit = Duration::from_secs(2);
    assert!(stayed >= limit, "{stayed:?}");
    assert!(lasted <= limit + MEASURING, "{lasted:?}");
    assert!(took <= limit + Duration::from_secs(1), "{took:?}");
}
