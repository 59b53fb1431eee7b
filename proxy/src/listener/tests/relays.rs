//! Two proxies: one whose chain serves nobody, and one that serves in its stead.

use std::collections::BTreeMap;

use switchyard_snapshot::{Dialect, Fallback};
use tokio::net::TcpSocket;
use tokio::task::AbortHandle;

use super::guests::{connect, serve_as, with_direct, without_keys};
use super::*;
use crate::chain::view::Detour;
use crate::testing::tls::{self, Authority, Client, der, shown};

/// A proxy with one chain.
struct Site {
    name: &'static str,
    workers: Workers,
    control: Control,
    direct: SocketAddr,
    at: SocketAddr,
}

impl Site {
    async fn new(name: &'static str, control: Control, main: Listener) -> Self {
        let workers = workers(1);
        let me = format!("test/pool/{name}");
        let (direct, at) = serve_as(&me, &workers, main, vec![&control]).await;
        Self {
            name,
            workers,
            control,
            direct,
            at,
        }
    }

    /// Serves nobody; others do.
    fn detours(&mut self, to: &[&Self], change: impl FnOnce(&mut Detour)) {
        let ports: Vec<_> = to.iter().map(|site| (site.name, site.direct)).collect();
        self.control.detour(to[0].control.id(), &ports, change);
    }

    fn relayed(&self) -> u64 {
        self.workers.counters().chains[self.control.id()].relayed
    }

    fn arrived(&self) -> u64 {
        self.workers.counters().chains[self.control.id()].guests_arrived
    }

    fn refused(&self, why: Refusal) -> u64 {
        self.workers.counters().chains[self.control.id()].refused[why.index()]
    }
}

/// Whoever has to wait for an endpoint waits for longer than a test does.
fn patient(name: &str, at: SocketAddr) -> Control {
    Control::new(rig::patient(name), vec![candidate(at)])
}

/// Whoever comes to `home` is served by `away`.
async fn pair(protocol: Protocol, backend: SocketAddr) -> (Site, Site) {
    let away = Site::new("away", patient("away", backend), with_direct(protocol)).await;
    let control = patient("home", rig::nobody());
    let mut home = Site::new("home", control, with_direct(protocol)).await;
    home.detours(&[&away], |_| ());
    (home, away)
}

async fn stop(sites: impl IntoIterator<Item = Site>) {
    for site in sites {
        site.workers.stop().await;
    }
}

/// Answers every request with its name and the request's first line.
struct Http {
    address: SocketAddr,
    accepting: AbortHandle,
}

impl Http {
    async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut said = Vec::new();
                    while let Ok(1..) = stream.read_buf(&mut said).await {
                        while let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") {
                            let head = String::from_utf8(said.drain(..end + 4).collect()).unwrap();
                            let body = format!("{name} {}", head.lines().next().unwrap());
                            let length = body.len();
                            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                            if stream.write_all(answer.as_bytes()).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            accepting: accepting.abort_handle(),
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Reads a response whose body is `expected`.
async fn response(stream: &mut TcpStream, expected: &str) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(expected.as_bytes()) {
        let read = within(stream.read_buf(&mut bytes)).await.unwrap();
        assert!(read > 0, "{:?}", String::from_utf8_lossy(&bytes));
    }
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opaque_clients_are_relayed_whoever_speaks_first() {
    let echo = Echo::start("220 mail").await;
    for protocol in [Protocol::Tcp, Protocol::Tls, Protocol::Auto] {
        let (home, away) = pair(protocol, echo.address).await;
        let hello = client_hello("a.example");
        if protocol == Protocol::Tcp {
            let mut silent = client(home.at, "220 mail").await;
            ask(&mut silent, "HELO").await;
        }
        let client = answer(home.at, &hello, "220 mail").await;
        // the silent one may not have gone yet
        let own = client.local_addr().unwrap();
        let (here, there) = (home.workers.sessions(2).await, away.workers.sessions(2).await);
        let here = here.iter().find(|session| session.client == own);
        let here = here.expect("the client's own address");
        assert_eq!((here.endpoint, here.relayed), (away.direct, true));
        let there = there.iter().find(|session| session.client == own);
        let guest = there.expect("the client's own address").guest.clone().unwrap();
        assert_eq!((guest.home.as_deref(), guest.relayed), (Some("test/home"), true));
        let clients = 1 + u64::from(protocol == Protocol::Tcp);
        assert_eq!((home.relayed(), away.arrived()), (clients, clients));
        stop([home, away]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_that_could_end_here_ends_there() {
    let ca = Authority::new();
    let echo = Echo::start("e").await;
    for protocol in [Protocol::Tls, Protocol::Auto] {
        let main = |certificate: &switchyard_snapshot::Certificate| Listener {
            direct_port: Some(0),
            max_guests: 10,
            ..tls::listener("main", protocol, vec![certificate.clone()])
        };
        let (ours, theirs) = (ca.issue(&["a.example"]), ca.issue(&["a.example"]));
        let mut chain = rig::chain("away");
        chain.server_first = true;
        let away = Site::new(
            "away",
            Control::new(chain, vec![candidate(echo.address)]),
            main(&theirs),
        )
        .await;
        let mut home = Site::new("home", Control::simple("home", &[echo.address]), main(&ours)).await;
        home.control.chain.server_first = true;
        home.control.publish(vec![candidate(echo.address)]);
        let careful = Client::of(&ca);
        let mut before = careful.open(home.at, "a.example").await.unwrap();
        assert_eq!(shown(&before), der(&ours));
        expect(&mut before, "e").await;
        home.detours(&[&away], |_| ());
        let mut relayed = careful.open(home.at, "a.example").await.unwrap();
        assert_eq!(shown(&relayed), der(&theirs), "not a byte of it was looked into");
        expect(&mut relayed, "e").await;
        ask(&mut relayed, "to the end").await;
        ask(&mut before, "who was served is served").await;
        assert_eq!((home.relayed(), away.arrived()), (1, 1));
        // Whoever can only be told in its own protocol is let in first, if the certificate is good for the place it is sent to;
        // what cannot be told is relayed when it comes again.
        for (host, relayed) in [("127.0.0.1", true), ("a.example", false), ("a.example", true)] {
            let so_far = home.relayed();
            home.detours(&[&away], |detour| {
                detour.dialects = vec![Dialect::Http, Dialect::WebSocket, Dialect::Xmpp];
                detour.targets[0].direct[0].host = host.to_owned();
            });
            let mut stream = careful.open(home.at, "a.example").await.unwrap();
            assert_eq!(
                shown(&stream),
                der(if relayed { &theirs } else { &ours }),
                "{host}"
            );
            if relayed {
                expect(&mut stream, "e").await;
            } else {
                // It may be turned away before it has said anything: its server would speak first.
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0\r\n\r\n").await;
                rest(&mut stream).await.1.unwrap_err();
            }
            assert_eq!(home.relayed(), so_far + u64::from(relayed));
        }
        stop([home, away]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_the_clear_are_relayed_with_their_connection() {
    let http = Http::start("away").await;
    for protocol in [Protocol::Http, Protocol::Auto] {
        let away = Site::new(
            "away",
            Control::simple("away", &[http.address]),
            with_direct(protocol),
        )
        .await;
        let mut chain = rig::chain("home");
        chain.hostnames = vec!["a.example".into()];
        let (lost, found) = (
            Control::new(chain, vec![]),
            named("other", http.address, &["b.example"]),
        );
        let workers = workers(1);
        let mut main = with_direct(protocol);
        main.handshake_timeout = Duration::from_secs(2);
        let (direct, at) = serve_as("test/pool/home", &workers, main, vec![&lost, &found]).await;
        let mut home = Site {
            name: "home",
            workers,
            control: lost,
            direct,
            at,
        };
        home.detours(&[&away], |_| ());
        let mut stream = connect(home.at, b"GET /one HTTP/1.1\r\nHo").await;
        tokio::task::yield_now().await;
        stream.write_all(b"st: A.example:80\r\n\r\n").await.unwrap();
        response(&mut stream, "away GET /one HTTP/1.1").await;
        // All that follows on this connection goes the same way.
        stream
            .write_all(b"GET /two HTTP/1.1\r\nHost: a.example\r\n\r\n")
            .await
            .unwrap();
        response(&mut stream, "away GET /two HTTP/1.1").await;
        assert_eq!((home.relayed(), away.arrived()), (1, 1));
        let session = &home.workers.sessions(1).await[0];
        assert_eq!((session.endpoint, session.relayed), (away.direct, true));
        let mut other = connect(home.at, b"GET /three HTTP/1.1\r\nHost: b.example\r\n\r\n").await;
        response(&mut other, "away GET /three HTTP/1.1").await;
        assert_eq!(home.relayed(), 1, "who is served here is served here");
        // On a connection that was served here, a request goes there on its own; the next connection goes there whole.
        other
            .write_all(b"GET /four HTTP/1.1\r\nHost: a.example\r\n\r\n")
            .await
            .unwrap();
        response(&mut other, "away GET /four HTTP/1.1").await;
        assert_eq!(rest(&mut other).await, (vec![], Ok(())));
        assert_eq!((home.relayed(), away.arrived()), (2, 2));
        stop([home, away]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_redirects_is_redirected_and_relayed_if_it_did_not_follow() {
    let http = Http::start("away").await;
    let (mut home, away) = pair(Protocol::Http, http.address).await;
    home.detours(&[&away], |detour| detour.dialects = vec![Dialect::Http]);
    let get = b"GET /x?y HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut first = connect(home.at, get).await;
    let (told, ended) = rest(&mut first).await;
    let told = String::from_utf8(told).unwrap().to_lowercase();
    let location = format!("location: http://{}/x?y\r\n", away.direct);
    assert!(
        told.starts_with("http/1.1 307 ") && told.contains(&location),
        "{told}"
    );
    assert_eq!((ended, home.relayed()), (Ok(()), 0));
    // It follows, and is a guest there.
    let mut followed = connect(away.direct, get).await;
    response(&mut followed, "away GET /x?y HTTP/1.1").await;
    assert_eq!(away.workers.guests().await[away.control.id()][&None], 1);
    // Another one did not.
    let mut back = connect(home.at, get).await;
    response(&mut back, "away GET /x?y HTTP/1.1").await;
    assert_eq!(home.relayed(), 1);
    let guests = &away.workers.guests().await[away.control.id()];
    assert_eq!(guests[&Some(home.control.id().clone())], 1);
    // Whoever asks for what cannot be redirected that way is relayed at once.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.77:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(home.at).await.unwrap();
    let upgrade = b"GET /w HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    other.write_all(upgrade).await.unwrap();
    response(&mut other, "away GET /w HTTP/1.1").await;
    assert_eq!(home.relayed(), 2);
    stop([home, away]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_behind_a_balancer_is_still_that_client() {
    let echo = Echo::start("e").await;
    let (mut home, away) = pair(Protocol::Tcp, echo.address).await;
    let mut main = with_direct(Protocol::Tcp);
    main.accept_proxy = AcceptProxy::Require;
    main.trusted_sources = vec!["127.0.0.0/8".parse().unwrap()];
    let (_, at) = serve_as("test/pool/home", &home.workers, main, vec![&home.control]).await;
    home.at = at;
    let mut stream = connect(home.at, b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n").await;
    expect(&mut stream, "e").await;
    ask(&mut stream, "hello").await;
    let client: SocketAddr = "192.0.2.7:4711".parse().unwrap();
    assert_eq!(away.workers.sessions(1).await[0].client, client);
    assert_eq!(home.workers.sessions(1).await[0].client, client);
    stop([home, away]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_stays_with_its_relay_and_clients_spread() {
    let echo = Echo::start("e").await;
    let mut sites = Vec::new();
    for name in ["one", "two", "three"] {
        sites.push(
            Site::new(
                name,
                Control::simple("away", &[echo.address]),
                with_direct(Protocol::Tcp),
            )
            .await,
        );
    }
    let control = Control::simple("home", &[echo.address]);
    let mut home = Site::new("home", control, with_direct(Protocol::Tcp)).await;
    home.detours(&sites.iter().collect::<Vec<_>>(), |_| ());
    let mut relays: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for client in 1..=60u8 {
        let mut own = None;
        for _ in 0..3 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 1, client], 0))).unwrap();
            let mut stream = socket.connect(home.at).await.unwrap();
            expect(&mut stream, "e").await;
            let sessions = home.workers.sessions(10).await;
            let from = stream.local_addr().unwrap();
            let session = sessions.iter().find(|session| session.client == from).unwrap();
            assert_eq!(
                *own.get_or_insert(session.endpoint),
                session.endpoint,
                "round robin is for endpoints"
            );
        }
        *relays.entry(own.unwrap()).or_default() += 1;
    }
    assert_eq!(relays.len(), 3);
    assert!(relays.values().all(|clients| *clients >= 8), "{relays:?}");
    stop(sites.into_iter().chain([home])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_relay_is_tried_where_one_is_dead() {
    let echo = Echo::start("e").await;
    let (mut home, away) = pair(Protocol::Tcp, echo.address).await;
    let dead = rig::nobody();
    let (dead, alive) = (("dead", dead), ("away", away.direct));
    for ports in [[dead, alive], [alive, dead]] {
        home.control.detour(away.control.id(), &ports, |_| ());
        client(home.at, "e").await;
    }
    assert_eq!(home.workers.counters().chains[home.control.id()].sessions, 2);
    stop([home, away]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_relayed_twice() {
    let echo = Echo::start("e").await;
    for protocol in [Protocol::Tcp, Protocol::Auto] {
        let (home, mut away) = pair(protocol, echo.address).await;
        away.detours(&[&home], |_| ());
        // Nobody waits: that would take longer than this test.
        for first in [&b"SSH-2.0-x\r\n\r\n"[..], b"GET / HTTP/1.0\r\n\r\n"] {
            if protocol == Protocol::Tcp || first.starts_with(b"SSH") {
                assert_reset_after(home.at, first).await;
            }
        }
        let clients = home.relayed();
        assert!(clients > 0);
        assert_eq!((away.refused(Refusal::NoEndpoint), away.relayed()), (clients, 0));
        // Nor is who was redirected there.
        assert_reset_after(away.direct, b"SSH-2.0-x\r\n\r\n").await;
        assert_eq!(
            (away.refused(Refusal::NoEndpoint), away.relayed()),
            (clients + 1, 0)
        );
        stop([home, away]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_be_relayed_is_told_so() {
    let echo = Echo::start("e").await;
    let (mut home, away) = pair(Protocol::Tcp, echo.address).await;
    home.detours(&[&away], |detour| detour.fallback = Fallback::Refuse);
    assert_reset(home.at).await;
    assert_eq!(home.refused(Refusal::NotRelayed), 1);
    // A probe is told the truth, whatever is done for clients.
    home.detours(&[&away], |_| ());
    let mut main = with_direct(Protocol::Tcp);
    main.monitor_sources = vec!["127.0.0.0/8".parse().unwrap()];
    let (_, at) = serve_as("test/pool/home", &home.workers, main.clone(), vec![&home.control]).await;
    let before = home.workers.counters();
    assert_reset(at).await;
    assert_eq!(home.workers.counters(), before);
    // Without a key nobody would believe us.
    main.monitor_sources = vec![];
    let routing = without_keys(routing(vec![(main, vec![&home.control])]));
    let at = apply(&home.workers, routing).await["main"];
    assert_reset(at).await;
    assert_eq!(home.refused(Refusal::NoEndpoint), 1);
    assert_eq!((home.relayed(), away.arrived()), (0, 0));
    stop([home, away]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_when_others_take_over_is_relayed() {
    let (echo, http) = (Echo::start("e").await, Http::start("away").await);
    let get: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    for (protocol, backend, first, expected) in [
        (Protocol::Tcp, echo.address, &b"hello"[..], "ehello"),
        (Protocol::Auto, echo.address, b"SSH-2.0\r\n", "eSSH-2.0\r\n"),
        (Protocol::Http, http.address, get, "away GET / HTTP/1.1"),
    ] {
        // Its endpoint refuses; nobody serves any more; others do: at each of these some come.
        let (mut home, away) = pair(protocol, backend).await;
        home.control.publish(vec![candidate(rig::nobody())]);
        let early = connect(home.at, first).await;
        let tried = || {
            home.workers.counters().chains[home.control.id()]
                .connect_errors
                .iter()
                .sum::<u64>()
                > 0
        };
        eventually("it was tried in vain", Duration::from_secs(5), tried).await;
        home.control.publish(vec![]);
        let late = connect(home.at, first).await;
        let accepted = || home.workers.counters().listeners["main"].accepted == 2;
        eventually("both wait", Duration::from_secs(5), accepted).await;
        let at = home.at;
        home.detours(&[&away], |_| ());
        let new = connect(at, first).await;
        for mut stream in [early, late, new] {
            if protocol == Protocol::Http {
                response(&mut stream, expected).await;
            } else {
                expect(&mut stream, expected).await;
            }
        }
        assert_eq!(home.relayed(), 3, "{protocol:?}");
        stop([home, away]).await;
    }
}

/// What a log says once its proxy has stopped.
fn written((lines, writer): (Lines, std::thread::JoinHandle<std::io::Result<()>>)) -> Vec<serde_json::Value> {
    writer.join().unwrap().unwrap();
    let bytes = lines.0.lock().unwrap().clone();
    let lines = String::from_utf8(bytes).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_who_was_relayed_and_who_is_a_guest() {
    let echo = Echo::start("e").await;
    let mut logs = Vec::new();
    let mut sites = Vec::new();
    for (name, control) in [
        ("away", Control::simple("away", &[echo.address])),
        ("home", Control::simple("home", &[])),
    ] {
        let lines = Lines::default();
        let (log, writer) = AccessLog::start(lines.clone()).unwrap();
        let workers = Workers::start(WorkerConfig {
            count: NonZeroUsize::MIN,
            bind: None,
            descriptors: 4096,
            access_log: Some(log),
        })
        .unwrap();
        let (direct, at) = serve_as(
            &format!("test/pool/{name}"),
            &workers,
            with_direct(Protocol::Tcp),
            vec![&control],
        )
        .await;
        sites.push(Site {
            name,
            workers,
            control,
            direct,
            at,
        });
        logs.push((lines, writer));
    }
    let mut home = sites.pop().unwrap();
    home.detours(&[&sites[0]], |_| ());
    let (at, direct) = (home.at, sites[0].direct);
    let mut stream = answer(at, b"hello", "e").await;
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, (vec![], Ok(())));
    assert_reset_after(direct, b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n").await;
    stop(sites.into_iter().chain([home])).await;
    let written: Vec<_> = logs.into_iter().map(written).collect();
    let [there, here] = written.as_slice() else {
        panic!("{written:?}")
    };
    assert_eq!(
        (&here[0]["via"], &here[0]["endpoint"]),
        (&"relay".into(), &direct.to_string().into())
    );
    assert_eq!(here[0]["chain"], "test/home");
    let guest = there.iter().find(|line| line["chain"] == "test/away").unwrap();
    assert_eq!(
        guest["guest"],
        serde_json::json!({"home": "test/home", "relayed": true})
    );
    assert_eq!(guest["client"], here[0]["client"]);
    assert!(guest.get("via").is_none());
    let refused = there
        .iter()
        .find(|line| line["end"] == "refused:relayUnsigned")
        .unwrap();
    assert!(
        refused["why"].as_str().unwrap().contains("direct port"),
        "{refused}"
    );
}
