use switchyard_snapshot::{
    ChainId, DirectAddress, DirectHost, Gossip, GossipKey, Listener, PeerPool, PeerProxy, Pool, PoolId,
    Private, Protocol, SendProxy, Snapshot,
};
use tokio::net::TcpListener;

use std::collections::HashSet;
use std::sync::Arc;

use super::*;
use crate::clock::unix_ms;
use crate::proxy_protocol::Addresses;
use crate::proxy_protocol::relayed::{RelayKeys, Relayed};
use crate::route::Routing;
use crate::session::end::{CloseReason, End};
use crate::testing::eventually;

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn key(byte: u8) -> GossipKey {
    GossipKey {
        key: Private::new(format!("{byte:02x}").repeat(32)),
    }
}

pub(super) fn keys(byte: u8) -> RelayKeys {
    RelayKeys::new(&[key(byte)]).unwrap()
}

/// A listener with a direct port.
pub(super) fn with_direct(protocol: Protocol) -> Listener {
    Listener {
        direct_port: Some(0),
        max_guests: 100,
        ..listener("main", protocol)
    }
}

/// Where guests arrive, and everybody else.
pub(super) async fn serve(
    workers: &Workers,
    main: Listener,
    chains: Vec<&Control>,
) -> (SocketAddr, SocketAddr) {
    serve_as("test/pool/b", workers, main, chains).await
}

/// The same, of a proxy of this name.
pub(super) async fn serve_as(
    me: &str,
    workers: &Workers,
    main: Listener,
    chains: Vec<&Control>,
) -> (SocketAddr, SocketAddr) {
    let routing = routing(vec![(main, chains)]);
    let relaying = Some(rig::relaying(me));
    let routing = Arc::into_inner(routing).unwrap();
    let at = apply(workers, Routing { relaying, ..routing }.into()).await["main"];
    (workers.direct_addresses().await[0].1, at)
}

/// Of a proxy that gossips with nobody.
pub(super) fn without_keys(routing: Arc<Routing>) -> Arc<Routing> {
    Arc::new(Routing {
        relaying: None,
        ..Arc::into_inner(routing).unwrap()
    })
}

/// What a proxy that relays for 192.0.2.7 says.
fn relayed(to: &Control, nonce: u8) -> Relayed {
    Relayed {
        addresses: Addresses {
            source: "192.0.2.7:4711".parse().unwrap(),
            destination: "198.51.100.1:443".parse().unwrap(),
        },
        chain: to.id().clone(),
        home: rig::chain("home").id,
        to: "test/pool/b".into(),
        hops: vec!["test/pool/a".into()],
        time: unix_ms(),
        nonce: [nonce; 16],
    }
}

pub(super) async fn connect(at: SocketAddr, first: &[u8]) -> TcpStream {
    rig::said(at, first).await.unwrap()
}

async fn no_guests(workers: &Workers, chain: &ChainId) {
    eventually("every guest has left", SECOND * 5, || {
        workers.counters().chains[chain].guests == 0
    })
    .await;
    assert!(workers.guests().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relayed_guest_is_who_the_header_says() {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut to = candidate(backend.local_addr().unwrap());
    to.via.send_proxy = SendProxy::V2;
    let control = Control::new(rig::chain("c"), vec![to]);
    let workers = workers(2);
    for (nonce, protocol) in [Protocol::Tcp, Protocol::Auto, Protocol::Tls]
        .into_iter()
        .enumerate()
    {
        let (direct, _) = serve(&workers, with_direct(protocol), vec![&control]).await;
        let said = relayed(&control, nonce as u8);
        let header = keys(1).seal(&said).unwrap();
        let hello = client_hello("a.example");
        let mut guest = TcpStream::connect(direct).await.unwrap();
        guest.set_nodelay(true).unwrap();
        // Cut anywhere.
        guest.write_all(&header[..40]).await.unwrap();
        tokio::task::yield_now().await;
        guest.write_all(&header[40..]).await.unwrap();
        guest.write_all(&hello).await.unwrap();
        let (mut server, _) = within(backend.accept()).await.unwrap();
        let mut bytes = Vec::new();
        while bytes.len() < hello.len() || !bytes.ends_with(&hello) {
            assert!(within(server.read_buf(&mut bytes)).await.unwrap() > 0);
        }
        let (header, used) = crate::proxy_protocol::decode(&bytes).unwrap().unwrap();
        assert_eq!(
            header,
            crate::proxy_protocol::Header::Proxied(said.addresses.clone())
        );
        assert_eq!(bytes[used..], hello, "not a byte is lost or added");
        let sessions = workers.sessions(1).await;
        assert_eq!(sessions[0].client, said.addresses.source);
        let shown = sessions[0].guest.clone().unwrap();
        assert_eq!((shown.home.as_deref(), shown.relayed), (Some("test/home"), true));
        assert_eq!(workers.guests().await[control.id()][&Some(said.home)], 1);
        server.write_all(b"welcome").await.unwrap();
        expect(&mut guest, "welcome").await;
        drop((guest, server));
        no_guests(&workers, control.id()).await;
    }
    assert_eq!(workers.counters().chains[control.id()].guests_arrived, 3);
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_without_a_header_was_redirected_here() {
    let echo = Echo::start("e").await;
    let control = Control::simple("c", &[echo.address]);
    let workers = workers(1);
    let (direct, at) = serve(&workers, with_direct(Protocol::Tcp), vec![&control]).await;
    let guest = answer(direct, b"hello", "e").await;
    let other = answer(at, b"hello", "e").await;
    let mut sessions = workers.sessions(2).await;
    sessions.sort_by_key(|session| session.id);
    let shown = sessions[0].guest.clone().unwrap();
    assert_eq!((shown.home, shown.relayed), (None, false));
    assert_eq!(
        sessions[1].guest, None,
        "who comes to the access point is no guest"
    );
    assert_eq!(workers.guests().await[control.id()][&None], 1);
    drop((guest, other));
    no_guests(&workers, control.id()).await;
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_prove_nothing_are_refused_and_counted() {
    let echo = Echo::start("e").await;
    let control = Control::simple("c", &[echo.address]);
    let workers = workers(2);
    let plain = crate::proxy_protocol::encode(SendProxy::V2, &relayed(&control, 0).addresses, None);
    let sealed = |change: fn(&mut Relayed)| {
        let mut said = relayed(&control, 1);
        change(&mut said);
        keys(1).seal(&said).unwrap()
    };
    let mut expected = std::collections::BTreeMap::<&str, (Refusal, u64)>::new();
    for protocol in [Protocol::Tcp, Protocol::Auto] {
        let mut main = with_direct(protocol);
        // What a trusted source may do elsewhere it may not do here.
        main.accept_proxy = AcceptProxy::Accept;
        main.trusted_sources = vec!["127.0.0.0/8".parse().unwrap()];
        let (direct, _) = serve(&workers, main, vec![&control]).await;
        let nonce = 10 + protocol as u8;
        let good = keys(1).seal(&relayed(&control, nonce)).unwrap();
        answer_after(direct, &good, "e").await;
        for (header, why) in [
            (plain.clone(), Refusal::RelayUnsigned),
            (
                b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n".to_vec(),
                Refusal::RelayUnsigned,
            ),
            (
                keys(2).seal(&relayed(&control, 1)).unwrap(),
                Refusal::RelayUnsigned,
            ),
            (sealed(|said| said.time -= 61_000), Refusal::RelayStale),
            (sealed(|said| said.time += 65_000), Refusal::RelayStale),
            (
                sealed(|said| said.hops = vec!["test/pool/b".into()]),
                Refusal::RelayLoop,
            ),
            (
                sealed(|said| said.hops.push("test/pool/c".into())),
                Refusal::RelayLoop,
            ),
            (
                sealed(|said| said.chain.name = "other".into()),
                Refusal::RelayElsewhere,
            ),
            (
                sealed(|said| said.to = "test/pool/c".into()),
                Refusal::RelayElsewhere,
            ),
            (good, Refusal::RelayReplayed),
        ] {
            let mut stream = connect(direct, &header).await;
            assert_eq!(
                rest(&mut stream).await,
                (vec![], Err(ErrorKind::ConnectionReset)),
                "{why:?}"
            );
            expected.entry(why.label()).or_insert((why, 0)).1 += 1;
        }
    }
    for (why, count) in expected.into_values() {
        assert_eq!(refused(&workers, why), count, "{why:?}");
    }
    // Of all that only two were served.
    assert_eq!(workers.counters().chains[control.id()].sessions, 2);
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_is_cut_short_is_no_guests_word() {
    let echo = Echo::start("e").await;
    let control = Control::simple("c", &[echo.address]);
    let workers = workers(1);
    let mut refusals = 0;
    for protocol in [Protocol::Tcp, Protocol::Auto] {
        let (direct, _) = serve(&workers, with_direct(protocol), vec![&control]).await;
        let header = keys(1).seal(&relayed(&control, 1)).unwrap();
        for length in [12, 13, 16, 40, header.len() - 20] {
            let mut stream = connect(direct, &[&header[..length], b"hello\r\n"].concat()).await;
            // Which may have been refused already.
            drop(stream.shutdown().await);
            assert_eq!(
                rest(&mut stream).await,
                (vec![], Err(ErrorKind::ConnectionReset)),
                "{length}"
            );
            refusals += 1;
        }
    }
    let badly = refused(&workers, Refusal::BadProxyHeader) + refused(&workers, Refusal::RelayUnsigned);
    assert_eq!(badly, refusals);
    workers.stop().await;
}

/// Sends a header and is served behind it.
async fn answer_after(at: SocketAddr, header: &[u8], name: &str) {
    let mut stream = connect(at, header).await;
    stream.write_all(b"GET / ").await.unwrap();
    stream.shutdown().await.unwrap();
    expect(&mut stream, name).await;
    expect(&mut stream, "GET / ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_nobody_is_relayed() {
    let echo = Echo::start("e").await;
    let control = Control::simple("c", &[echo.address]);
    let workers = workers(1);
    let routing = routing(vec![(with_direct(Protocol::Tcp), vec![&control])]);
    apply(&workers, without_keys(routing)).await;
    let direct = workers.direct_addresses().await[0].1;
    assert_reset_after(direct, &keys(1).seal(&relayed(&control, 1)).unwrap()).await;
    assert_eq!(refused(&workers, Refusal::RelayUnsigned), 1);
    answer(direct, b"but a redirected guest is served", "e").await;
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_have_so_many_places_and_no_more() {
    let echo = Echo::start("e").await;
    let control = Control::simple("c", &[echo.address]);
    let workers = workers(2);
    let mut main = with_direct(Protocol::Tcp);
    main.max_guests = 2;
    let (direct, at) = serve(&workers, main, vec![&control]).await;
    let one = answer(direct, b"one", "e").await;
    let header = keys(1).seal(&relayed(&control, 1)).unwrap();
    let mut two = connect(direct, &header).await;
    expect(&mut two, "e").await;
    assert_reset_after(direct, b"three").await;
    assert_eq!(refused(&workers, Refusal::GuestsFull), 1);
    answer(at, b"others are not concerned", "e").await;
    drop(one);
    eventually("a place is free", SECOND * 5, || {
        workers.counters().chains[control.id()].guests == 1
    })
    .await;
    answer(direct, b"four", "e").await;
    assert_eq!(refused(&workers, Refusal::GuestsFull), 1);
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_client_is_let_in_or_not_and_probes_are_no_guests() {
    let echo = Echo::start("e").await;
    let mut control = Control::simple("c", &[echo.address]);
    let workers = workers(1);
    let mut main = with_direct(Protocol::Tcp);
    main.allowed_sources = vec!["192.0.2.0/24".parse().unwrap()];
    let (direct, _) = serve(&workers, main.clone(), vec![&control]).await;
    let header = |nonce| keys(1).seal(&relayed(&control, nonce)).unwrap();
    let (first, second, third) = (header(1), header(2), header(3));
    let mut allowed = connect(direct, &first).await;
    expect(&mut allowed, "e").await;
    assert_reset_after(direct, b"from 127.0.0.1").await;
    assert_eq!(refused(&workers, Refusal::SourceNotAllowed), 1);
    drop(allowed);
    no_guests(&workers, control.id()).await;

    // From where probes come, relays come too.
    main.monitor_sources = vec!["127.0.0.0/8".parse().unwrap()];
    main.max_guests = 1;
    let (direct, _) = serve(&workers, main.clone(), vec![&control]).await;
    let before = workers.counters();
    let probe = answer(direct, b"probe", "e").await;
    let now = workers.counters();
    assert_eq!(now.listeners, before.listeners, "a probe is in no count");
    let (now, then) = (&now.chains[control.id()], &before.chains[control.id()]);
    assert_eq!(
        (now.sessions, now.guests_arrived),
        (then.sessions, then.guests_arrived)
    );
    let mut relayed = connect(direct, &second).await;
    expect(&mut relayed, "e").await;
    let now = workers.counters();
    assert_eq!(
        now.listeners["main"].accepted,
        before.listeners["main"].accepted + 1
    );
    assert_eq!(now.listeners["main"].active, before.listeners["main"].active + 1);
    assert_eq!(now.chains[control.id()].guests, 1);
    assert_reset_after(direct, &third).await;
    assert_eq!(refused(&workers, Refusal::GuestsFull), 1);
    drop((probe, relayed));
    // Told the truth at once: a client would wait for longer than this test does.
    control.chain.connect.timeout = Duration::from_mins(1);
    control.publish(vec![]);
    assert_reset_after(direct, b"probe").await;
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_that_a_guest_came_to_tells_its_chain() {
    let (one, two) = (Echo::start("one").await, Echo::start("two").await);
    let chains = [
        named("one", one.address, &["one.example"]),
        named("two", two.address, &["two.example"]),
    ];
    let workers = workers(1);
    let route = |templates: &[&str], chains: &[&Control]| {
        let snapshot = snapshot(templates, chains);
        let handles = chains.iter().map(|c| (c.id().clone(), Arc::clone(&c.handle)));
        Routing::new(
            &snapshot,
            &handles.collect(),
            &crate::tls::Keeper::default(),
            "b-0",
        )
    };
    let all = [&chains[0], &chains[1]];
    let template = ["{chain}.{proxy}.{node}.example"];
    apply(&workers, route(&template, &all).into()).await;
    let direct = workers.direct_addresses().await[0].1;
    answer(direct, &client_hello("one.b-0.rack7.example"), "one").await;
    answer(direct, &client_hello("two.b-0.rack7.example"), "two").await;
    answer(direct, &client_hello("two.example"), "two").await;
    assert_reset_after(direct, &client_hello("two.b-1.rack7.example")).await;
    assert_eq!(refused(&workers, Refusal::NoChain), 1);
    // A name that both have tells nothing; where there is only one, every name tells enough.
    apply(&workers, route(&["{proxy}.example"], &all).into()).await;
    assert_reset_after(direct, &client_hello("b-0.example")).await;
    assert_eq!(refused(&workers, Refusal::NoChain), 2);
    apply(&workers, route(&["{proxy}.example"], &all[..1]).into()).await;
    answer(direct, &client_hello("b-0.example"), "one").await;
    answer(direct, &client_hello("whatever.example"), "one").await;
    workers.stop().await;
}

/// A pool whose listener has a direct port, and one proxy.
fn snapshot(templates: &[&str], chains: &[&Control]) -> Snapshot {
    let id = PoolId {
        namespace: "test".into(),
        name: "pool".into(),
    };
    let addresses = templates.iter().map(|template| DirectAddress {
        host: DirectHost::Template((*template).to_owned()),
        networks: vec![],
        port: None,
    });
    Snapshot {
        pool: Pool {
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            site: "here".into(),
            snat: vec![],
            affinity: None,
            drain_timeout: SECOND,
            ticket_keys: vec![],
            gossip: Some(Gossip {
                port: 1,
                bind_address: None,
                cluster: String::new(),
                keys: vec![key(1)],
                seeds: vec![],
            }),
            relay_keys: vec![],
        },
        listeners: vec![with_direct(Protocol::Auto)],
        chains: chains.iter().map(|control| control.chain.clone()).collect(),
        peers: vec![PeerPool {
            id,
            site: "here".into(),
            proxies: Some(vec![PeerProxy {
                name: "b-0".into(),
                ip: "127.0.0.1".parse().unwrap(),
                node: "Rack7".into(),
                listed: vec![],
                serves: None,
            }]),
            listeners: vec![],
            gossip_port: 1,
            addresses: addresses.collect(),
        }],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn direct_ports_come_and_go_and_leave_the_others_alone() {
    let echo = Echo::start("e").await;
    let control = Control::simple("c", &[echo.address]);
    let workers = workers(2);
    let mut main = with_direct(Protocol::Tcp);
    let (at, direct) = (rig::nobody(), rig::nobody());
    main.port = at.port();
    main.direct_port = Some(direct.port());
    assert_eq!(serve(&workers, main.clone(), vec![&control]).await, (direct, at));
    let mut guest = answer(direct, b"hello", "e").await;
    main.direct_port = None;
    assert!(
        workers
            .apply(routing(vec![(main.clone(), vec![&control])]))
            .await
            .is_empty()
    );
    assert!(workers.direct_addresses().await.is_empty());
    answer(at, b"hello", "e").await;
    let closed = TcpStream::connect(direct).await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::ConnectionRefused);
    ask(&mut guest, "who is here stays").await;
    main.direct_port = Some(direct.port());
    serve(&workers, main.clone(), vec![&control]).await;
    // Ports change their meaning: who comes now is no guest any more, and the other way round.
    let before = workers.counters().chains[control.id()].guests_arrived;
    main.port = direct.port();
    main.direct_port = Some(at.port());
    assert!(
        workers
            .apply(routing(vec![(main, vec![&control])]))
            .await
            .is_empty()
    );
    assert_eq!(workers.direct_addresses().await[0].1, at);
    answer(direct, b"hello", "e").await;
    assert_eq!(workers.counters().chains[control.id()].guests_arrived, before);
    answer(at, b"hello", "e").await;
    assert_eq!(workers.counters().chains[control.id()].guests_arrived, before + 1);
    // What cannot be bound is said.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut other = with_direct(Protocol::Tcp);
    other.direct_port = Some(taken.local_addr().unwrap().port());
    let errors = workers.apply(routing(vec![(other, vec![&control])])).await;
    assert_eq!(errors[0].address, taken.local_addr().unwrap());
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_go_back_the_idlest_first_and_only_where_they_belong() {
    let echo = Echo::start("e").await;
    let control = Control::simple("c", &[echo.address]);
    let workers = workers(2);
    let (direct, at) = serve(&workers, with_direct(Protocol::Tcp), vec![&control]).await;
    let homes = |names: &[&str]| {
        names
            .iter()
            .map(|name| rig::chain(name).id)
            .collect::<HashSet<_>>()
    };
    let back = async |most, older_than, names: &[&str]| {
        let (chain, why) = (control.id(), CloseReason::Returned);
        workers
            .return_guests(chain, most, older_than, &homes(names), why)
            .await
    };
    let mut ordinary = client(at, "e").await;
    let mut guests = Vec::new();
    for (nonce, home) in ["home", "home", "other", "home"].into_iter().enumerate() {
        let said = Relayed {
            home: rig::chain(home).id,
            ..relayed(&control, nonce as u8)
        };
        let mut stream = connect(direct, &keys(1).seal(&said).unwrap()).await;
        expect(&mut stream, "e").await;
        guests.push(stream);
    }
    guests.push(client(direct, "e").await);
    // What moved is counted at the worker's next look.
    let counted =
        |count: fn(&crate::counters::ChainTotals) -> u64| count(&workers.counters().chains[control.id()]);
    eventually("all greetings are counted", Duration::from_secs(5), || {
        counted(|c| c.bytes_down) == 6
    })
    .await;
    ask(&mut guests[0], "busier than the others").await;
    eventually("it is known who is idle", Duration::from_secs(5), || {
        counted(|c| c.bytes_up) == 22
    })
    .await;
    assert_eq!(
        back(9, Duration::from_mins(5), &["home", "other"]).await,
        0,
        "nobody has stayed so long"
    );
    assert_eq!(back(9, Duration::ZERO, &[]).await, 0, "nobody can take them");
    assert_eq!(back(0, Duration::ZERO, &["home"]).await, 0);
    assert_eq!(back(1, Duration::ZERO, &["other"]).await, 1);
    // The first two of the three that may go: the busy one comes last, and who never told where it belongs may go, too.
    assert_eq!(back(2, Duration::ZERO, &["home"]).await, 2);
    assert_eq!(workers.counters().chains[control.id()].guests_arrived, 5);
    ask(&mut guests[0], "still served").await;
    rig::assert_closed(&mut guests[1..], 3).await;
    assert_eq!(back(9, Duration::ZERO, &["home", "other"]).await, 2);
    ask(&mut ordinary, "whoever is no guest stays").await;
    drop(guests);
    no_guests(&workers, control.id()).await;
    let returned = End::Moved(CloseReason::Returned).index();
    assert_eq!(workers.counters().chains[control.id()].ended[returned], 5);
    workers.stop().await;
}
