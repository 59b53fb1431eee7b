//! How connections end: FIN from either side, resets at every point, idleness,
//! peers that vanish, peers that do not read.

use std::time::{Duration, Instant};

use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{Dialog, End, Load, LoadPlan, SessionPlan, Sessions, Wire};
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use crate::scene::{MEASURING, PORT, SOON, entry, one_chain, one_listener};

pub fn add(suite: &mut Suite) {
    suite.workers("traffic::idle_timeout", idle_timeout);
    suite.workers("traffic::resets", resets);
    suite.workers("traffic::client_leaves_before_connect", leaves_before_connect);
    suite.workers("traffic::half_close", half_close);
    suite.workers("traffic::slow_reader", slow_reader);
}

/// A backend that does as it is told, behind a proxy.
struct Told {
    client: Host,
    proxy_host: Host,
    backend: Backend,
    proxy: Switchyard,
}

impl Told {
    fn start(lab: &Lab, workers: usize) -> Self {
        let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
        let backend = Backend::start(&lab.host("b1", 11), PORT, Mode::Told);
        let plan = Plan::new(workers, &one_chain(&[entry(&backend, 0)], ""));
        let proxy = Switchyard::start_ready(&proxy_host, plan);
        proxy.await_serving("app", &[backend.address()], SOON);
        Self {
            client,
            proxy_host,
            backend,
            proxy,
        }
    }

    fn connect(&self) -> Wire {
        Wire::connect(&self.client, self.proxy_host.at(PORT)).expect("a connection")
    }

    /// A connection that a backend has answered, and where the backend saw it come from.
    fn served(&self) -> (Wire, std::net::SocketAddr) {
        let mut wire = self.connect();
        wire.say("name\n").unwrap();
        let greeting = wire.greeting().expect("an answer");
        (wire, greeting.peer)
    }

    /// How the backend saw the connection from `peer` end.
    #[track_caller]
    fn backend_saw(&self, peer: std::net::SocketAddr) -> switchyard_tests::backend::Ended {
        eventually("the backend's connection ends", SOON, || {
            let found = self.backend.ended().into_iter().find(|ended| ended.peer == peer);
            found.ok_or_else(|| "it is open".to_owned())
        })
    }
}

/// Each side may finish speaking first, and still hears everything.
fn half_close(lab: &Lab, workers: usize) {
    let told = Told::start(lab, workers);
    let bulk = 3_000_000;

    // The client finishes; the backend says much, and how much it heard, after that.
    let (mut wire, peer) = told.served();
    let order = format!("bytes {bulk}\nand no more\n");
    wire.say(&order).unwrap();
    wire.fin().unwrap();
    assert!(
        wire.take(bulk)
            .expect("all of it")
            .iter()
            .all(|byte| *byte == b'x')
    );
    let heard = "name\n".len() + order.len();
    assert_eq!(wire.line().expect("the last word"), format!("received {heard}"));
    assert_eq!(wire.end(SOON).1, End::Fin);
    assert_eq!(told.backend_saw(peer).how, "fin");

    // The backend finishes; the client goes on.
    let (mut wire, peer) = told.served();
    wire.say("fin\n").unwrap();
    assert_eq!(wire.end(SOON).1, End::Fin);
    let lines = "still here\n".repeat(100_000);
    wire.say(&lines).expect("the other direction is open");
    wire.fin().unwrap();
    let saw = told.backend_saw(peer);
    assert_eq!(
        (saw.how.as_str(), saw.received as usize),
        ("fin", "name\nfin\n".len() + lines.len())
    );
    lab.say(format!(
        "{bulk} bytes after the client's FIN, {} after the backend's",
        lines.len()
    ));
}

/// A reset of one side is a reset for the other: idle, in the middle of bytes, right after connect, many at once.
fn resets(lab: &Lab, workers: usize) {
    let mut told = Told::start(lab, workers);
    let base = told.proxy.program().descriptors();
    let reset_kinds = ["connection reset", "broken pipe"];

    let (wire, peer) = told.served();
    wire.reset();
    let saw = told.backend_saw(peer).how;
    assert_eq!(saw, "connection reset", "the client reset an idle session");

    let (mut wire, peer) = told.served();
    wire.say("bytes 100000000\n").unwrap();
    wire.take(10_000).unwrap();
    wire.reset();
    let saw = told.backend_saw(peer).how;
    assert!(
        reset_kinds.contains(&saw.as_str()),
        "the client reset in the middle: {saw}"
    );

    let (mut wire, _) = told.served();
    wire.say("reset\n").unwrap();
    assert_eq!(wire.end(SOON).1, End::Reset, "the backend reset an idle session");

    let (mut wire, _) = told.served();
    wire.say("bytes 1000000\nreset\n").unwrap();
    let (_, end) = wire.rest();
    assert_eq!(end, End::Reset, "the backend reset in the middle");

    // After the client's FIN, while the backend still speaks.
    let (mut wire, peer) = told.served();
    wire.say("bytes 100000000\n").unwrap();
    wire.fin().unwrap();
    wire.take(10_000).unwrap();
    wire.reset();
    let saw = told.backend_saw(peer).how;
    assert!(
        reset_kinds.contains(&saw.as_str()),
        "the client reset after its FIN: {saw}"
    );

    for n in 0..300 {
        let mut wire = told.connect();
        if n % 2 == 0 {
            wire.say("name\n").unwrap();
        }
        wire.reset();
    }
    eventually("nothing of them is left", SOON, || {
        match told.proxy.program().descriptors() {
            now if now <= base + 4 => Ok(()),
            now => Err(format!("{now} descriptors; {base} before")),
        }
    });
    let (_wire, _) = told.served();
    lab.say("resets were passed on, 300 of them left nothing behind");

    // A backend that resets whoever comes: everybody hears of it at once.
    told.backend.kill();
    let resetting = Backend::start(&lab.host("b2", 12), PORT, Mode::Reset);
    let health = "health: {interval: 1s, fall: 100}";
    told.proxy.rewrite(&one_chain(&[entry(&resetting, 0)], health));
    told.proxy.await_chain("app", "it leads to b2", SOON, |state| {
        state.endpoint(resetting.address()).is_some()
    });
    let mut plan = LoadPlan::new(told.proxy_host.at(PORT), 50);
    plan.dialog = Dialog::Listen;
    let load = Load::start(&told.client, plan);
    let_pass(Duration::from_secs(1));
    let seen = load.stop();
    lab.say(format!("a backend that resets: {seen}"));
    assert!(seen.iter().all(|o| o.end == End::Reset), "{seen}");
    assert!(told.proxy.program().runs());
}

/// A client that leaves while it is being connected takes its attempt with it.
fn leaves_before_connect(lab: &Lab, workers: usize) {
    let (client, proxy_host, host) = (lab.host("client", 100), lab.host("proxy", 2), lab.host("b1", 11));
    let b1 = Backend::start(&host, PORT, Mode::ClientFirst);
    let rules = "connect: {timeout: 10s, attempts: 1}\nhealth: {interval: 60s}";
    let mut proxy = Switchyard::start_ready(
        &proxy_host,
        Plan::new(workers, &one_chain(&[entry(&b1, 0)], rules)),
    );
    proxy.await_serving("app", &[b1.address()], SOON);
    let base = proxy.program().descriptors();
    let _hole = host.black_hole(None);
    let connect = || Wire::connect(&client, proxy_host.at(PORT)).expect("a connection");
    let mut wires: Vec<Wire> = (0..20).map(|_| connect()).collect();
    for wire in &mut wires[..10] {
        wire.say("who are you?\n").unwrap();
    }
    eventually("attempts are under way", SOON, || {
        match proxy.program().descriptors() {
            now if now >= base + 30 => Ok(()), // two each; `base` may count what has gone since
            now => Err(format!("{now} descriptors; {base} before")),
        }
    });
    let left = Instant::now();
    for wire in wires {
        wire.reset();
    }
    eventually(
        "nothing of them is left",
        Duration::from_secs(1),
        || match proxy.program().descriptors() {
            now if now <= base + 4 => Ok(()),
            now => Err(format!("{now} descriptors; {base} before")),
        },
    );
    lab.say(format!(
        "20 attempts were given up {:.1?} after their clients reset",
        left.elapsed()
    ));
    let log = eventually("it is in the log", SOON, || {
        let log = proxy.access_log();
        if log.len() == 20 {
            Ok(log)
        } else {
            Err(format!("{} lines", log.len()))
        }
    });
    assert!(
        log.iter()
            .all(|line| line["end"] == "refused:clientGone" && line["fault"] == "client"),
        "{:?}",
        log[0]
    );
}

/// Sessions on which no byte moves are closed after `idleTimeout`, those of clients that vanished too; others are not.
fn idle_timeout(lab: &Lab, workers: usize) {
    let (client, proxy_host, lost) = (
        lab.host("client", 100),
        lab.host("proxy", 2),
        lab.host("lost", 101),
    );
    let b1 = Backend::start(&lab.host("b1", 11), PORT, Mode::ClientFirst);
    let limit = Duration::from_secs(2);
    // Idleness is looked at about once a second.
    let slack = Duration::from_secs(1) + MEASURING;
    let manifests = one_listener("protocol: TCP, idleTimeout: 2s", &[entry(&b1, 0)], "");
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    proxy.await_serving("app", &[b1.address()], SOON);

    let active = SessionPlan::busy(proxy_host.at(PORT), 20, limit / 8);
    let active = Sessions::open(&client, &active);
    let mut idle = Wire::connect(&client, proxy_host.at(PORT)).unwrap();
    let asked = Instant::now();
    idle.ask().unwrap();
    let (lasted, end) = idle.end(SOON);
    let stayed = asked.elapsed();
    lab.say(format!(
        "an idle session ended by {end} after {lasted:.2?} of {limit:?}"
    ));
    assert_eq!(end, End::Fin);
    assert!(stayed >= limit, "{stayed:?}");
    assert!(lasted <= limit + slack, "{lasted:?}");

    let vanishing = Sessions::open(&lost, &SessionPlan::idle(proxy_host.at(PORT), 30));
    assert_eq!((vanishing.open_now(), active.open_now()), (30, 20));
    let hole = lost.black_hole(None);
    let gone = Instant::now();
    let held = || {
        let ours = b1.held();
        if ours <= 20 {
            Ok(())
        } else {
            Err(format!("{ours} held"))
        }
    };
    eventually("the backend's side of vanished clients ends", limit + slack, held);
    lab.say(format!(
        "30 clients vanished; their sessions were gone {:.2?} later",
        gone.elapsed()
    ));
    drop(hole);
    assert_eq!(active.open_now(), 20, "sessions in use are not idle");
    assert!(
        active
            .close()
            .iter()
            .all(|s| matches!(s.ended, Some((_, End::Finished))))
    );
}

/// Peers that do not read: what the proxy holds for them is bounded, and nothing is lost once they do.
fn slow_reader(lab: &Lab, workers: usize) {
    let mut told = Told::start(lab, workers);
    let (count, bulk) = (20, 16_000_000);
    let (_warm, _) = told.served();
    let before = told.proxy.program().resident();
    let mut readers: Vec<Wire> = (0..count)
        .map(|_| {
            let mut wire = Wire::narrow(&told.client, told.proxy_host.at(PORT), 4096).expect("a connection");
            wire.say(format!("bytes {bulk}\n")).unwrap();
            wire
        })
        .collect();
    // And backends that do not read.
    let mut writers: Vec<Wire> = (0..5)
        .map(|_| {
            let (mut wire, _) = told.served();
            wire.say("deaf\n").unwrap();
            wire
        })
        .collect();
    let sent: usize = writers
        .iter_mut()
        .map(|wire| wire.fill(Duration::from_millis(500)))
        .sum();
    let grown = told.proxy.program().resident().saturating_sub(before);
    lab.say(format!(
        "{count} clients do not read {bulk} bytes each, 5 backends did not read what they were sent ({sent} bytes \
         were taken on the way): the proxy's memory grew by {} KiB",
        grown / 1024
    ));
    // A buffer of at most 64 KiB for each direction that stands still, and what an allocator keeps.
    let most = (count as u64 + 5) * 64 * 1024 + 2 * 1024 * 1024;
    assert!(grown <= most, "{grown} > {most}");
    for wire in &mut readers[..3] {
        assert!(
            wire.take(bulk)
                .expect("all of it")
                .iter()
                .all(|byte| *byte == b'x')
        );
    }
}
