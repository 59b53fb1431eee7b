use std::net::Ipv4Addr;

use serde_json::Value;
use switchyard_snapshot::{
    Backend, Chain, HttpVersion, Listener, Monitor, Pool, Protocol, SendProxy, Target,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::testing::dns::{DnsServer, Mood};
use crate::testing::eventually;
use crate::testing::rig::{self, ask, client, free_port, rest, within};

mod cut_off;
mod reports;
mod tls;

const SECOND: Duration = Duration::from_secs(1);

/// A server that says its name and echoes; it dies with its last connection when told to.
struct Server {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Server {
    /// On a port that is nobody else's while the server is dead, either.
    async fn start(name: &'static str) -> Self {
        Self::start_on((Ipv4Addr::LOCALHOST, free_port()).into(), name).await
    }

    async fn start_on(address: SocketAddr, name: &'static str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                sessions.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = to.write_all(name.as_bytes()).await;
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Self { address, tasks }
    }

    async fn kill(mut self) -> SocketAddr {
        self.tasks.shutdown().await;
        self.address
    }
}

fn listener(name: &str) -> Listener {
    Listener {
        port: free_port(),
        ..rig::listener(name, Protocol::Tcp)
    }
}

fn backend(name: &str, tier: u32, host: &str, port: u16) -> Backend {
    Backend {
        name: name.into(),
        target: Target::Host {
            host: host.into(),
            port,
        },
        tier,
        weight: 1,
        max_connections: None,
        send_proxy: SendProxy::None,
        http: HttpVersion::Http1,
        tls: None,
    }
}

fn at(name: &str, tier: u32, address: SocketAddr) -> Backend {
    backend(name, tier, &address.ip().to_string(), address.port())
}

fn chain(name: &str, listener: &Listener, backends: Vec<Backend>) -> Chain {
    let mut chain = rig::chain(name);
    chain.listener.clone_from(&listener.name);
    chain.backends = backends;
    chain.health.interval = SECOND / 5;
    chain.health.monitors = vec![Monitor::Tcp {
        port: None,
        send: None,
        expect: None,
    }];
    chain
}

fn snapshot(listeners: Vec<Listener>, chains: Vec<Chain>) -> Snapshot {
    Snapshot {
        pool: Pool {
            namespace: "test".into(),
            name: "pool".into(),
            site: "default".into(),
            snat: Vec::new(),
            affinity: None,
            drain_timeout: SECOND * 60,
            ticket_keys: Vec::new(),
            relay_keys: Vec::new(),
            gossip: None,
        },
        listeners,
        chains,
        peers: Vec::new(),
    }
}

fn config(resolver: &Resolver) -> ProxyConfig {
    ProxyConfig {
        advertise: None,
        name: "pool-0".into(),
        bind: None,
        admin: "127.0.0.1:0".parse().unwrap(),
        health: None,
        workers: NonZeroUsize::new(2).unwrap(),
        state_dir: None,
        descriptors: 4096,
        access_log: None,
        resolver: resolver.clone(),
    }
}

/// Status and body.
async fn request(proxy: &Proxy, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(proxy.bound().admin).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    within(stream.read_to_string(&mut text)).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

async fn json(proxy: &Proxy, path: &str) -> Value {
    let (_, body) = request(proxy, "GET", path).await;
    serde_json::from_str(&body).unwrap()
}

/// Asks until it is so; what was said then.
async fn until(proxy: &Proxy, path: &str, so: impl Fn(u16, &Value) -> bool) -> Value {
    let asked = async {
        loop {
            let (status, body) = request(proxy, "GET", path).await;
            let said = serde_json::from_str(&body).unwrap();
            if so(status, &said) {
                return said;
            }
            tokio::time::sleep(SECOND / 50).await;
        }
    };
    tokio::time::timeout(SECOND * 20, asked)
        .await
        .expect("within 20 s")
}

fn local(listener: &Listener) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, listener.port).into()
}

/// Identities of the listening sockets on a port.
fn inodes(port: u16) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let suffix = format!(":{port:04X}");
    let rows = table
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    let listening = rows.filter(|row| row[1].ends_with(&suffix) && row[3] == "0A");
    let mut inodes: Vec<String> = listening.map(|row| row[9].to_owned()).collect();
    inodes.sort();
    inodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fails_over_and_goes_on_with_its_epoch_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let resolver = Resolver::start();
    let (primary, standby) = (Server::start("primary").await, Server::start("standby").await);
    let sync = listener("sync");
    let backends = vec![
        at("primary", 0, primary.address),
        at("standby", 1, standby.address),
    ];
    let snapshot = snapshot(vec![sync.clone()], vec![chain("msuite", &sync, backends)]);
    let config = ProxyConfig {
        state_dir: Some(state.path().to_owned()),
        ..config(&resolver)
    };
    let proxy = Proxy::start(config.clone(), snapshot.clone()).await.unwrap();
    assert_eq!(proxy.bound().listeners, [("sync".to_owned(), local(&sync))]);
    within(proxy.ready()).await;
    assert_eq!(request(&proxy, "GET", "/readyz").await.0, 200);
    client(local(&sync), "primary").await;

    let address = primary.kill().await;
    client(local(&sync), "standby").await;
    let endpoints = json(&proxy, "/endpoints").await;
    let active = &endpoints["chains"][0]["active"];
    assert_eq!(
        (&active["backend"], &active["tier"]),
        (&"standby".into(), &1.into())
    );
    assert_eq!(endpoints["chains"][0]["endpoints"][0]["state"], "Ejected");
    let (_, metrics) = request(&proxy, "GET", "/metrics").await;
    assert!(
        metrics.contains("switchyard_active_tier{chain=\"test/msuite\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("switchyard_transitions_total{chain=\"test/msuite\",kind=\"FailedOver\"} 1"));
    within(proxy.stop()).await;

    let _primary = Server::start_on(address, "primary").await;
    let proxy = Proxy::start(config, snapshot).await.unwrap();
    within(proxy.ready()).await;
    client(local(&sync), "standby").await;
    let restored = json(&proxy, "/endpoints").await;
    assert_eq!(restored["chains"][0]["active"]["epoch"], active["epoch"]);
    assert_eq!(restored["chains"][0]["active"]["since"], active["since"]);
    within(proxy.stop()).await;
    resolver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_touches_nobody_but_its_subject() {
    let resolver = Resolver::start();
    let server = Server::start("server").await;
    let (one, two, three) = (listener("one"), listener("two"), listener("three"));
    let serve = |name: &str, listener: &Listener| chain(name, listener, vec![at("b", 0, server.address)]);
    let (a, b) = (serve("a", &one), serve("b", &two));
    let first = snapshot(vec![one.clone(), two.clone()], vec![a.clone(), b.clone()]);
    let proxy = Proxy::start(config(&resolver), first.clone()).await.unwrap();
    within(proxy.ready()).await;
    let mut on_a = client(local(&one), "server").await;
    let mut on_b = client(local(&two), "server").await;
    let before = inodes(one.port);
    assert_eq!(before.len(), 2, "one socket per worker");

    // nothing
    assert!(proxy.apply(first.clone()).await.is_clean());
    assert_eq!(json(&proxy, "/snapshot").await["generation"], 1);
    // b changes, c is new
    let mut changed = first.clone();
    changed.chains[1].failover.pace = 7;
    changed.listeners.insert(1, three.clone());
    changed.chains.push(serve("c", &three));
    assert!(proxy.apply(changed.clone()).await.is_clean());
    client(local(&three), "server").await;
    ask(&mut on_a, "still").await;
    ask(&mut on_b, "here").await;
    // b goes, and takes its session along; a listener that cannot be had is reported
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut fewer = changed;
    fewer.chains.remove(1);
    let mut wanted = listener("wanted");
    wanted.port = taken.local_addr().unwrap().port();
    fewer.listeners.push(wanted);
    let applied = proxy.apply(fewer.clone()).await;
    assert_eq!(applied.rejected, []);
    assert!(applied.listen_errors[0].why.contains("wanted"), "{applied:?}");
    let (bytes, end) = rest(&mut on_b).await;
    assert_eq!(
        (bytes.as_slice(), end),
        (b"".as_slice(), Ok(())),
        "closed in order"
    );
    ask(&mut on_a, "still").await;
    // which is had as soon as it is free
    let freed = SocketAddr::from((Ipv4Addr::LOCALHOST, fewer.listeners[3].port));
    drop(taken);
    until(&proxy, "/snapshot", |_, said| {
        said["listenErrors"] == serde_json::json!([])
    })
    .await;
    assert_eq!(inodes(freed.port()).len(), 2);
    // a breaks a rule: it is out, c goes on
    fewer.chains[0].failover.pace = 0;
    fewer.listeners.pop();
    let applied = proxy.apply(fewer).await;
    assert_eq!(applied.rejected[0].resource.to_string(), "chain test/a");
    let shown = json(&proxy, "/snapshot").await;
    assert_eq!(shown["rejected"][0]["why"], "failover.pace is 0");
    assert_eq!(shown["snapshot"]["chains"].as_array().unwrap().len(), 1);
    client(local(&three), "server").await;
    assert_eq!(inodes(one.port), before, "never bound anew");
    assert_eq!(rest(&mut on_a).await.1, Ok(()));
    within(proxy.stop()).await;
    resolver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_pages_say_what_is_and_what_is_not() {
    let resolver = Resolver::start();
    let server = Server::start("server").await;
    let sync = listener("sync");
    let backends = vec![at("primary", 0, server.address)];
    let proxy = Proxy::start(
        config(&resolver),
        snapshot(vec![sync.clone()], vec![chain("c", &sync, backends)]),
    );
    let proxy = proxy.await.unwrap();
    within(proxy.ready()).await;
    let mut session = client(local(&sync), "server").await;
    ask(&mut session, "hello").await;

    assert_eq!(request(&proxy, "GET", "/livez").await.0, 200);
    let (status, body) = request(&proxy, "GET", "/nothing").await;
    assert_eq!(status, 404);
    assert!(
        body.contains("POST /drain") && body.contains("GET /endpoints"),
        "{body}"
    );
    assert_eq!(request(&proxy, "GET", "/drain").await.0, 405);
    assert_eq!(request(&proxy, "HEAD", "/readyz").await, (200, String::new()));
    let sessions = json(&proxy, "/sessions").await;
    assert_eq!(sessions["count"], 1);
    let listed = &sessions["sessions"][0];
    assert_eq!(listed["chain"], "test/c");
    assert_eq!(listed["listener"], "sync");
    assert_eq!(listed["backend"], "primary");
    assert_eq!(listed["client"], session.local_addr().unwrap().to_string());
    assert_eq!(listed["endpoint"], server.address.to_string());
    assert!(listed["id"].is_u64() && listed["idleSeconds"].is_u64() && listed["since"].is_string());
    let endpoint = &json(&proxy, "/endpoints").await["chains"][0]["endpoints"][0];
    assert_eq!(
        (&endpoint["state"], &endpoint["connections"]),
        (&"Serving".into(), &1.into())
    );
    drop(session);
    let (_, metrics) = request(&proxy, "GET", "/metrics").await;
    for line in [
        "switchyard_connections_accepted_total{listener=\"sync\"} 1",
        "switchyard_endpoints{chain=\"test/c\",backend=\"primary\",state=\"Serving\"} 1",
        "switchyard_connect_seconds_count{chain=\"test/c\"} 1",
        "switchyard_probes_total{result=\"failed\"} 0",
        "switchyard_config_generation 1",
        "switchyard_ready 1",
        "# EOF",
    ] {
        assert!(
            metrics.lines().any(|l| l.trim_end_matches(".0") == line),
            "{line}\n{metrics}"
        );
    }
    within(proxy.stop()).await;
    resolver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_sessions_and_hurries_when_asked_twice() {
    let resolver = Resolver::start();
    let server = Server::start("server").await;
    for hurry in [false, true] {
        let sync = listener("sync");
        let backends = vec![at("primary", 0, server.address)];
        let proxy = Proxy::start(
            config(&resolver),
            snapshot(vec![sync.clone()], vec![chain("c", &sync, backends)]),
        );
        let proxy = proxy.await.unwrap();
        within(proxy.ready()).await;
        let mut session = client(local(&sync), "server").await;
        assert_eq!(request(&proxy, "POST", "/drain").await.0, 202);
        let refused = || std::net::TcpStream::connect(local(&sync)).is_err();
        // connecting would make a session until then
        let closed = || inodes(sync.port).is_empty();
        eventually("nobody new is taken", SECOND * 5, closed).await;
        assert!(refused());
        ask(&mut session, "still").await;
        let applied = proxy.apply(snapshot(vec![sync.clone()], Vec::new())).await;
        assert!(applied.draining, "{applied:?}");
        assert!(refused(), "a change of the configuration opens nothing");
        let (status, body) = request(&proxy, "GET", "/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["sessions"]), (503, &1.into()));
        assert!(body["draining"]["secondsLeft"].as_u64().unwrap() > 50, "{body}");
        if hurry {
            assert_eq!(request(&proxy, "POST", "/drain").await.0, 202);
            assert_eq!(rest(&mut session).await.1, Ok(()));
        }
        drop(session);
        within(proxy.drained()).await;
        assert_eq!(json(&proxy, "/readyz").await["draining"], "done");
        within(proxy.stop()).await;
    }
    resolver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_proxy_from_starting_is_said_and_leaves_nothing_behind() {
    let resolver = Resolver::start();
    let sync = listener("sync");
    let mut blocked = listener("blocked");
    let holder = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    blocked.port = holder.local_addr().unwrap().port();
    let chains = vec![chain("c", &sync, vec![backend("b", 0, "127.0.0.1", 1)])];
    let error = Proxy::start(
        config(&resolver),
        snapshot(vec![blocked, sync.clone()], chains.clone()),
    )
    .await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("blocked") && error.contains("another process listens there"),
        "{error}"
    );
    assert!(std::net::TcpListener::bind(local(&sync)).is_ok(), "free again");
    let busy = ProxyConfig {
        admin: holder.local_addr().unwrap(),
        ..config(&resolver)
    };
    let error = Proxy::start(busy, snapshot(vec![sync], chains))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot listen for admin requests on 127.0.0.1:"),
        "{error}"
    );
    resolver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_to_an_address_that_left_dns_are_moved_at_the_set_pace() {
    const SESSIONS: u32 = 40;
    const PACE: u32 = 20;
    let dns = DnsServer::start().await;
    let (old, new) = ("127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap());
    let old = Server::start_on(SocketAddr::new(old, free_port()), "old").await;
    let new = Server::start_on(SocketAddr::new(new, old.address.port()), "new").await;
    dns.set_a("db.example.", 1, &["127.0.0.1"]).await;
    let resolver = Resolver::start();
    let sync = listener("sync");
    let mut moving = chain(
        "c",
        &sync,
        vec![backend("db", 0, "db.example", old.address.port())],
    );
    moving.resolution.nameservers = vec![dns.address];
    moving.drain_vanished = Some(Duration::ZERO);
    moving.failover.pace = PACE;
    let proxy = Proxy::start(config(&resolver), snapshot(vec![sync.clone()], vec![moving]))
        .await
        .unwrap();
    within(proxy.ready()).await;
    let mut begun = std::time::Instant::now();
    let mut sessions = JoinSet::new();
    for _ in 0..SESSIONS {
        let mut session = client(local(&sync), "old").await;
        sessions.spawn(async move {
            let mut bytes = Vec::new();
            session.read_to_end(&mut bytes).await.is_ok()
        });
    }
    dns.set_a("db.example.", 1, &["127.0.0.2"]).await;
    // Nobody leaves before the chain has heard of the new address: whenever it says that it has not, the clock that was read before
    // that is early.
    let heard = async {
        loop {
            let before = std::time::Instant::now();
            let endpoints = json(&proxy, "/endpoints").await;
            let endpoints = endpoints["chains"][0]["endpoints"].as_array().unwrap();
            if endpoints.len() > 1 {
                return;
            }
            begun = before;
            tokio::time::sleep(SECOND / 200).await;
        }
    };
    tokio::time::timeout(SECOND * 10, heard).await.unwrap();
    while let Some(ended) = tokio::time::timeout(SECOND * 10, sessions.join_next())
        .await
        .unwrap()
    {
        assert!(ended.unwrap(), "closed in order");
    }
    // Never faster; that it is not slower, either, can only be told by a clock that nobody else slows down (`pace::tests`).
    let took = begun.elapsed();
    let allowed = 1.0 + 1.08 * f64::from(PACE) * took.as_secs_f64();
    assert!(
        f64::from(SESSIONS) <= allowed,
        "{SESSIONS} in {took:?}, not {allowed}"
    );
    client(local(&sync), "new").await;
    assert_eq!(new.address.port(), old.address.port());
    // counted once both sides have closed
    let line = format!("switchyard_sessions_moved_total{{chain=\"test/c\",reason=\"vanished\"}} {SESSIONS}");
    within(async { while !request(&proxy, "GET", "/metrics").await.1.contains(&line) {} }).await;
    within(proxy.stop()).await;
    resolver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_says_what_it_waits_for_and_starts_without_dns() {
    let dns = DnsServer::start().await;
    dns.mood(Mood::Silent);
    dns.set_a("db.example.", 1, &["127.0.0.1"]).await;
    let server = Server::start("server").await;
    let resolver = Resolver::start();
    let sync = listener("sync");
    let mut waiting = chain(
        "c",
        &sync,
        vec![backend("db", 0, "db.example", server.address.port())],
    );
    waiting.resolution.nameservers = vec![dns.address];
    let proxy = Proxy::start(config(&resolver), snapshot(vec![sync.clone()], vec![waiting]))
        .await
        .unwrap();
    // before its first look the chain waits for its own start
    until(&proxy, "/readyz", |status, said| {
        assert_eq!(status, 503, "{said}");
        said.to_string()
            .contains("chain test/c: the first answer for db.example")
    })
    .await;
    within(proxy.ready()).await;
    let endpoints = json(&proxy, "/endpoints").await;
    assert_eq!(endpoints["chains"][0]["endpoints"].as_array().unwrap().len(), 0);
    dns.mood(Mood::Answer);
    // clients wait for nobody longer than connect.timeout, so ask until DNS has been asked again
    let served = async {
        loop {
            // refused with a reset, which may come as early as in connect
            let mut name = [0; 6];
            if let Ok(mut stream) = TcpStream::connect(local(&sync)).await
                && stream.read_exact(&mut name).await.is_ok()
            {
                return name;
            }
            tokio::time::sleep(SECOND / 50).await;
        }
    };
    assert_eq!(
        tokio::time::timeout(SECOND * 10, served).await.unwrap(),
        *b"server"
    );
    within(proxy.stop()).await;
    resolver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_comes_after_a_kill_is_refused() {
    const GAP: Duration = Duration::from_millis(5);
    let resolver = Resolver::start();
    let (one, two) = (Server::start("one").await, Server::start("two").await);
    let standby = Server::start("standby").await;
    let sync = listener("sync");
    let backends = vec![
        at("one", 0, one.address),
        at("two", 0, two.address),
        at("standby", 1, standby.address),
    ];
    let mut slow = chain("c", &sync, backends);
    // no probe hears of a kill before clients do
    slow.health.interval = SECOND * 600;
    let proxy = Proxy::start(config(&resolver), snapshot(vec![sync.clone()], vec![slow]));
    let proxy = proxy.await.unwrap();
    within(proxy.ready()).await;
    let to = local(&sync);
    let mut clients = JoinSet::new();
    let mut come = async |count: u32| {
        for _ in 0..count {
            clients.spawn(async move {
                let mut name = [0; 3];
                let mut stream = TcpStream::connect(to).await?;
                within(stream.read_exact(&mut name)).await?;
                Ok::<_, std::io::Error>(String::from_utf8_lossy(&name).into_owned())
            });
            tokio::time::sleep(GAP).await;
        }
        let mut served = Vec::new();
        while let Some(ended) = clients.join_next().await {
            served.push(ended.unwrap());
        }
        served
    };
    let served = come(200).await;
    assert!(served.iter().all(Result::is_ok), "before: {served:?}");
    one.kill().await;
    let served = come(200).await;
    let by_two = served.iter().flatten().filter(|name| *name == "two").count();
    assert_eq!(by_two, 200, "one of two is dead: {served:?}");
    two.kill().await;
    let served = come(200).await;
    let by_standby = served.iter().flatten().filter(|name| *name == "sta").count();
    assert_eq!(by_standby, 200, "only the standby lives: {served:?}");
    within(proxy.stop()).await;
    resolver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_connection_is_looked_into_at_once() {
    let resolver = Resolver::start();
    let (primary, standby) = (Server::start("primary").await, Server::start("standby").await);
    let sync = listener("sync");
    let backends = vec![
        at("primary", 0, primary.address),
        at("standby", 1, standby.address),
    ];
    let mut slow = chain("c", &sync, backends);
    // a whole test fits between two probes: what is noticed, a client has noticed first
    slow.health.interval = SECOND * 600;
    // who was refused once waits: that one failure is all there is to look into
    slow.connect.attempts = 1;
    slow.connect.timeout = SECOND * 5;
    let proxy = Proxy::start(config(&resolver), snapshot(vec![sync.clone()], vec![slow]))
        .await
        .unwrap();
    within(proxy.ready()).await;
    client(local(&sync), "primary").await;
    primary.kill().await;
    client(local(&sync), "standby").await;
    within(proxy.stop()).await;
    resolver.stop().await;
}
