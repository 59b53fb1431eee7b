use std::net::SocketAddr;
use std::time::{Duration, Instant};

use switchyard_snapshot::{Affinity, Balance, Chain, Listener, Protocol};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::route::Routing;
use crate::session::end::{ConnectError, Refusal};
use crate::testing::eventually;
use crate::testing::rig::{
    self, Control, Echo, apply, ask, assert_reset, candidate, client, listener, nobody, rest, routing,
    within, workers,
};

/// A server that never answers a SYN: its accept queue is full. Kept full for as long as the value lives.
struct BlackHole {
    address: SocketAddr,
    _kept: (tokio::net::TcpListener, Vec<TcpStream>),
}

impl BlackHole {
    async fn new(ip: &str) -> Self {
        let at: SocketAddr = SocketAddr::new(ip.parse().unwrap(), 0);
        let socket = if at.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }
        .unwrap();
        socket.bind(at).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            queue.push(stream.unwrap());
        }
        Self {
            address,
            _kept: (listener, queue),
        }
    }
}

fn hasty(timeout: u64, attempts: u32, delay: u64) -> Chain {
    let mut chain = rig::chain("c");
    chain.connect.timeout = Duration::from_millis(timeout);
    chain.connect.attempts = attempts;
    chain.connect.happy_eyeballs_delay = Duration::from_millis(delay);
    chain
}

fn main() -> Listener {
    listener("main", Protocol::Tcp)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pending_attempt_gets_a_competitor() {
    let (hole, alive) = (BlackHole::new("127.0.0.1").await, Echo::start("alive").await);
    let mut first = candidate(hole.address);
    first.rank = 0;
    let mut second = candidate(alive.address);
    second.rank = 1;
    let control = Control::new(hasty(30_000, 3, 100), vec![first, second]);
    let workers = workers(1);
    let at = apply(&workers, routing(vec![(main(), vec![&control])])).await["main"];
    let begun = Instant::now();
    // It waits for less than the first attempt alone would take.
    client(at, "alive").await;
    assert!(
        begun.elapsed() >= Duration::from_millis(100),
        "{:?}",
        begun.elapsed()
    );
    let view = control.handle.view().clone();
    assert_eq!(
        view.candidates[0].endpoint.connections(),
        0,
        "who lost the race has its place back"
    );
    assert_eq!(
        workers.counters().chains[control.id()].connect_errors,
        [0; ConnectError::ALL.len()],
        "and did not fail"
    );
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_waits_longer_than_all_its_attempts() {
    let hole = BlackHole::new("127.0.0.1").await;
    let mut control = Control::new(hasty(300, 2, 1000), vec![candidate(hole.address)]);
    let workers = workers(1);
    let at = apply(&workers, routing(vec![(main(), vec![&control])])).await["main"];
    let begun = Instant::now();
    assert_reset(at).await;
    let waited = begun.elapsed();
    assert!(
        (Duration::from_millis(300)..Duration::from_millis(1200)).contains(&waited),
        "{waited:?}"
    );
    let failed = within(control.failures.recv()).await.unwrap();
    assert_eq!(failed.why, "no answer within 300ms");
    let chain = &workers.counters().chains[control.id()];
    assert_eq!(chain.refused[Refusal::ConnectFailed.index()], 1);
    assert!(chain.connect_errors[ConnectError::TimedOut.index()] >= 1);
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_ejected_endpoint_is_sent_on_at_once() {
    let (hole, standby) = (BlackHole::new("127.0.0.1").await, Echo::start("standby").await);
    let mut control = Control::new(hasty(30_000, 3, 1000), vec![candidate(hole.address)]);
    let workers = workers(1);
    let at = apply(&workers, routing(vec![(main(), vec![&control])])).await["main"];
    let waiting = tokio::spawn(client(at, "standby"));
    let endpoint = control.handle.view().candidates[0].endpoint.clone();
    eventually("pending", Duration::from_secs(5), || endpoint.connections() == 1).await;
    // After the delay the race watches the views; before it, one attempt is all there is.
    control.publish(vec![candidate(standby.address)]);
    // Neither waits as long as the first attempt lasts.
    within(waiting).await.unwrap();
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_endpoint_that_restarts_is_tried_again() {
    let address = nobody();
    // More attempts than are over before somebody listens again.
    let mut control = Control::new(hasty(2000, 8, 250), vec![candidate(address)]);
    let workers = workers(1);
    let at = apply(&workers, routing(vec![(main(), vec![&control])])).await["main"];
    let waiting = tokio::spawn(client(at, "back"));
    within(control.failures.recv()).await.unwrap();
    let back = tokio::net::TcpListener::bind(address).await.unwrap();
    let (mut stream, _) = within(back.accept()).await.unwrap();
    stream.write_all(b"back").await.unwrap();
    within(waiting).await.unwrap();
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_an_endpoints_places_clients_wait_for_one() {
    let echo = Echo::start("e").await;
    for count in [1, 2] {
        let mut only = candidate(echo.address);
        only.max_connections = Some(1);
        let mut control = Control::new(hasty(700, 1, 250), vec![only.clone()]);
        let workers = workers(count);
        let at = apply(&workers, routing(vec![(main(), vec![&control])])).await["main"];
        let inside = client(at, "e").await;
        let waiting = tokio::spawn(client(at, "e"));
        // In its turn, not before.
        let begun = Instant::now();
        assert_reset(at).await;
        assert!(
            begun.elapsed() >= Duration::from_millis(700),
            "{:?}",
            begun.elapsed()
        );
        within(waiting).await.expect_err("nor did the first one get in");
        // The next one still waits when the place is free.
        control.chain.connect.timeout = Duration::from_secs(30);
        control.publish(vec![only]);
        let waiting = tokio::spawn(client(at, "e"));
        eventually("let in", Duration::from_secs(5), || {
            workers.counters().listeners["main"].active == 2
        })
        .await;
        drop(inside);
        within(waiting).await.unwrap();
        assert_eq!(
            workers.counters().chains[control.id()].refused[Refusal::EndpointsFull.index()],
            2
        );
        workers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_it_waits_is_noticed() {
    let mut control = Control::new(hasty(5000, 1, 250), vec![]);
    let workers = workers(1);
    let at = apply(&workers, routing(vec![(main(), vec![&control])])).await["main"];
    let gone = || workers.counters().chains[control.id()].refused[Refusal::ClientGone.index()];
    // Hangs up.
    drop(TcpStream::connect(at).await.unwrap());
    eventually("hung up", Duration::from_secs(5), || gone() == 1).await;
    // Resets, after it has asked.
    let mut rude = TcpStream::connect(at).await.unwrap();
    rude.write_all(b"question").await.unwrap();
    crate::socket::reset_on_close(&rude);
    drop(rude);
    eventually("reset", Duration::from_secs(5), || gone() == 2).await;
    // Has asked all it wants to ask: that is no leaving.
    let mut patient = TcpStream::connect(at).await.unwrap();
    patient.write_all(b"question").await.unwrap();
    patient.shutdown().await.unwrap();
    let echo = Echo::start("e").await;
    eventually("waits", Duration::from_secs(5), || {
        workers.counters().listeners["main"].active == 1
    })
    .await;
    control.publish(vec![candidate(echo.address)]);
    assert_eq!(rest(&mut patient).await, (b"equestion".to_vec(), Ok(())));
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_question_was_read_is_waited_for_too() {
    let mut control = Control::new(hasty(5000, 1, 250), vec![]);
    let workers = workers(1);
    let auto = listener("main", Protocol::Auto);
    let at = apply(&workers, routing(vec![(auto, vec![&control])])).await["main"];
    let mut patient = TcpStream::connect(at).await.unwrap();
    patient.write_all(b"question").await.unwrap();
    patient.shutdown().await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), rest(&mut patient)).await;
    assert!(early.is_err(), "turned away: {early:?}");
    let echo = Echo::start("e").await;
    control.publish(vec![candidate(echo.address)]);
    assert_eq!(rest(&mut patient).await, (b"equestion".to_vec(), Ok(())));
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn source_addresses_take_turns() {
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let control = Control::simple("c", &[echo.local_addr().unwrap()]);
    let workers = workers(1);
    let snat = ["127.0.0.5", "127.0.0.6", "::1"]
        .map(|ip| ip.parse().unwrap())
        .to_vec();
    let route = std::sync::Arc::into_inner(routing(vec![(main(), vec![&control])])).unwrap();
    let at = apply(&workers, Routing { snat, ..route }.into()).await["main"];
    let mut seen = Vec::new();
    for _ in 0..4 {
        let _client = TcpStream::connect(at).await.unwrap();
        seen.push(within(echo.accept()).await.unwrap().1.ip().to_string());
    }
    seen.sort();
    assert_eq!(seen, ["127.0.0.5", "127.0.0.5", "127.0.0.6", "127.0.0.6"]);

    // An address that this machine does not have: our fault, and another one is taken.
    let snat = ["192.0.2.1", "127.0.0.6"].map(|ip| ip.parse().unwrap()).to_vec();
    let route = std::sync::Arc::into_inner(routing(vec![(main(), vec![&control])])).unwrap();
    apply(&workers, Routing { snat, ..route }.into()).await;
    for _ in 0..2 {
        let _client = TcpStream::connect(at).await.unwrap();
        assert_eq!(
            within(echo.accept()).await.unwrap().1.ip().to_string(),
            "127.0.0.6"
        );
    }
    let snat = vec!["192.0.2.1".parse().unwrap()];
    let route = std::sync::Arc::into_inner(routing(vec![(main(), vec![&control])])).unwrap();
    apply(&workers, Routing { snat, ..route }.into()).await;
    assert_reset(at).await;
    let chain = &workers.counters().chains[control.id()];
    assert_eq!(chain.refused[Refusal::OutOfResources.index()], 1);
    let mut control = control;
    assert!(
        control.failures.try_recv().is_err(),
        "says nothing about the endpoint"
    );
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_stay_with_their_endpoint() {
    let (a, b, c) = (
        Echo::start("a").await,
        Echo::start("b").await,
        Echo::start("c").await,
    );
    let servers = [&a, &b, &c];
    for balance in [Balance::SourceHash, Balance::RoundRobin] {
        let mut chain = rig::chain("c");
        chain.balance = balance;
        let control = Control::new(chain, servers.map(|server| candidate(server.address)).to_vec());
        let workers = workers(2);
        let mut route = std::sync::Arc::into_inner(routing(vec![(main(), vec![&control])])).unwrap();
        if balance == Balance::RoundRobin {
            route.affinity = Some(Affinity {
                ttl: Duration::from_mins(1),
                prefix_v4: 32,
                prefix_v6: 64,
            });
        }
        let at = apply(&workers, route.into()).await["main"];
        let mut name = [0];
        let mut first = TcpStream::connect(at).await.unwrap();
        within(tokio::io::AsyncReadExt::read_exact(&mut first, &mut name))
            .await
            .unwrap();
        let name = String::from_utf8_lossy(&name).into_owned();
        for _ in 0..6 {
            client(at, &name).await;
        }
        workers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_affinity_stays_where_a_failure_sent_it() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let mut control = Control::simple("c", &[a.address, b.address]);
    let workers = workers(1);
    let mut route = std::sync::Arc::into_inner(routing(vec![(main(), vec![&control])])).unwrap();
    route.affinity = Some(Affinity {
        ttl: Duration::from_mins(1),
        prefix_v4: 32,
        prefix_v6: 64,
    });
    let at = apply(&workers, route.into()).await["main"];
    let mut name = [0];
    let mut first = TcpStream::connect(at).await.unwrap();
    within(tokio::io::AsyncReadExt::read_exact(&mut first, &mut name))
        .await
        .unwrap();
    let (home, other) = if name == *b"a" { (&a, "b") } else { (&b, "a") };
    let all = control.handle.view().candidates.clone();
    let address = home.address;
    home.stop();
    eventually("home is down", Duration::from_secs(5), || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    client(at, other).await;
    // Home is back, and still the client stays.
    let back = tokio::net::TcpListener::bind(address).await.unwrap();
    control.publish(all);
    for _ in 0..4 {
        client(at, other).await;
    }
    assert_eq!(control.handle.affinity.len(), 1);
    drop(back);
    ask(&mut first, "an open session is not moved").await;
    workers.stop().await;
}
