//! Sessions that go on, and certificates that change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustls::ClientConfig;
use rustls::HandshakeKind::{Full, Resumed};
use switchyard_snapshot::{Listener, Private, Protocol, TicketKey};

use crate::testing::rig::{Control, Echo, apply, expect, routing_with, workers};
use crate::testing::tls::{Authority, Client, ONLY, der, listener, open, shown};
use crate::tls::Keeper;
use crate::worker::Workers;

fn key(nth: u8) -> TicketKey {
    TicketKey {
        id: format!("{nth:02x}").repeat(16),
        key: Private::new(format!("{nth:02x}").repeat(32)),
    }
}

/// A proxy of its own.
struct Proxy {
    workers: Workers,
    keeper: Keeper,
}

impl Proxy {
    fn new() -> Self {
        Self {
            workers: workers(1),
            keeper: Keeper::default(),
        }
    }

    async fn apply(&self, keys: &[TicketKey], main: &Listener, chain: &Control) -> std::net::SocketAddr {
        let routing = routing_with(&self.keeper, keys, vec![(main.clone(), vec![chain])]);
        apply(&self.workers, routing).await[&main.name]
    }
}

/// A handshake, and long enough afterwards for its tickets to come.
async fn visit(config: &Arc<ClientConfig>, at: std::net::SocketAddr) -> rustls::HandshakeKind {
    let mut stream = open(config, at, "a.example").await.unwrap();
    expect(&mut stream, "e").await;
    stream.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_resumes_on_every_proxy_that_has_the_key() {
    let ca = Authority::new();
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    let main = listener("main", Protocol::Tls, vec![ca.issue(&["a.example"])]);
    let proxies = [Proxy::new(), Proxy::new(), Proxy::new()];
    let [one, two, three] = &proxies;
    for versions in ONLY {
        let mut client = Client::of(&ca);
        client.versions = versions;
        let at_one = one.apply(&[key(1)], &main, &chain).await;
        let at_two = two.apply(&[key(2), key(1)], &main, &chain).await;
        let at_three = three.apply(&[key(3)], &main, &chain).await;
        let config = client.config();
        assert_eq!(visit(&config, at_one).await, Full);
        assert_eq!(visit(&config, at_one).await, Resumed);
        assert_eq!(visit(&config, at_two).await, Resumed, "on another proxy");
        // That one sealed with a key that the first does not know yet, as happens while keys are rotated.
        let config = client.config();
        assert_eq!(visit(&config, at_two).await, Full);
        assert_eq!(visit(&config, at_one).await, Full);
        let config = client.config();
        assert_eq!(visit(&config, at_one).await, Full);
        assert_eq!(visit(&config, at_three).await, Full, "without the key");
        // The old key opens, then is forgotten.
        let config = client.config();
        assert_eq!(visit(&config, at_one).await, Full);
        let again = one.apply(&[key(4), key(1)], &main, &chain).await;
        assert_eq!(again, at_one);
        assert_eq!(visit(&config, at_one).await, Resumed);
        let config = client.config();
        one.apply(&[key(1)], &main, &chain).await;
        assert_eq!(visit(&config, at_one).await, Full);
        one.apply(&[key(4)], &main, &chain).await;
        assert_eq!(visit(&config, at_one).await, Full);
    }
    for Proxy { workers, .. } in proxies {
        workers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_shared_keys_sessions_outlive_a_change_of_the_configuration_but_not_of_whom_it_trusts() {
    let (ca, clients) = (Authority::new(), Authority::new());
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    let mut main = listener("main", Protocol::Tls, vec![ca.issue(&["a.example"])]);
    let proxy = Proxy::new();
    let mut client = Client::of(&ca);
    client.certificate = Some(clients.issue(&["somebody"]));
    let config = client.config();
    let at = proxy.apply(&[], &main, &chain).await;
    assert_eq!(visit(&config, at).await, Full);
    main.tls.as_mut().unwrap().certificates = vec![ca.issue(&["a.example"])];
    proxy.apply(&[], &main, &chain).await;
    assert_eq!(visit(&config, at).await, Resumed);
    // Who is asked for a certificate from now on has to show it.
    main.tls.as_mut().unwrap().client_ca = Some(clients.pem());
    proxy.apply(&[], &main, &chain).await;
    assert_eq!(visit(&config, at).await, Full);
    assert_eq!(visit(&config, at).await, Resumed);
    let other = listener("other", Protocol::Tls, vec![ca.issue(&["a.example"])]);
    let at_other = proxy.apply(&[], &other, &chain).await;
    let config = client.config();
    assert_eq!(visit(&config, at_other).await, Full);
    let at = proxy.apply(&[], &main, &chain).await;
    assert_eq!(visit(&config, at).await, Full, "a ticket of another listener");
    proxy.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_exchanged_without_a_handshake_lost_or_a_connection_touched() {
    let ca = Authority::new();
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    let mut main = listener("main", Protocol::Tls, vec![ca.issue(&["a.example"])]);
    let proxy = Proxy::new();
    let at = proxy.apply(&[], &main, &chain).await;
    let client = Client::of(&ca);
    let mut open_before = client.open(at, "a.example").await.unwrap();
    expect(&mut open_before, "e").await;
    let (done, handshakes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (client, done, handshakes) = (client.clone(), Arc::clone(&done), Arc::clone(&handshakes));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let mut stream = client.open(at, "a.example").await.unwrap();
                    expect(&mut stream, "e").await;
                    handshakes.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..30 {
        let next = ca.issue(&["a.example"]);
        main.tls.as_mut().unwrap().certificates = vec![next.clone()];
        proxy.apply(&[], &main, &chain).await;
        let stream = client.open(at, "a.example").await.unwrap();
        assert_eq!(shown(&stream), der(&next), "at once");
    }
    done.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    assert!(handshakes.load(Ordering::Relaxed) > 30, "{handshakes:?}");
    crate::testing::rig::ask(&mut open_before, "still there").await;
    assert_eq!(proxy.workers.counters().listeners["main"].tls_failed, 0);
    proxy.workers.stop().await;
}
