//! Clients of opaque protocols, at a proxy whose chain is served elsewhere.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_snapshot::{AcceptProxy, Dialect, Fallback, GossipKey, Listener, Private, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::chain::view::{Detour, Direct, Target};
use crate::proxy_protocol::relayed::RelayKeys;
use crate::route::{Relaying, Routing};
use crate::session::end::{CloseReason, Refusal};
use crate::testing::eventually;
use crate::testing::rig::{self, Control, Echo, apply, candidate, expect, listener, rest, routing, within};
use crate::worker::Workers;

const XMPP: &[u8] = b"<?xml version='1.0'?><stream:stream to='a.example' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
const MQTT5: &[u8] = b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02me";
const MQTT3: &[u8] = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02me";
const CONNACK: &[u8] = b"\x20\x03\x00\x00\x00";
const DISCONNECT: &[u8] = b"\xe0\x11\x9c\x0f\x1c\x00\x0cb.example:77";

/// A proxy whose chain detours, and somebody who stands for the proxies that relay.
struct Here {
    workers: Workers,
    control: Control,
    at: SocketAddr,
}

fn detour(dialects: &[Dialect]) -> Arc<Detour> {
    Arc::new(Detour {
        why: "the test says so".into(),
        dialects: dialects.to_vec(),
        fallback: Fallback::Relay,
        targets: vec![Target {
            peer: None,
            chain: rig::chain("other").id,
            rank: 0,
            weight: 1,
            direct: vec![Direct {
                host: "b.example".into(),
                port: 77,
                networks: vec![],
            }],
        }],
        until: None,
    })
}

impl Here {
    async fn new(main: Listener, relay: SocketAddr, dialects: &[Dialect]) -> Self {
        let mut here = Self::of(Control::simple("c", &[]), main).await;
        here.detours(relay, dialects);
        here
    }

    fn detours(&mut self, relay: SocketAddr, dialects: &[Dialect]) {
        self.control.chain.redirect.dialects = dialects.to_vec();
        self.control.publish_with(vec![candidate(relay)], |view| {
            view.detour = Some(detour(dialects));
        });
    }

    async fn of(control: Control, main: Listener) -> Self {
        let workers = rig::workers(1);
        let routing = Arc::into_inner(routing(vec![(main, vec![&control])])).unwrap();
        let key = Private::new("01".repeat(32));
        let relaying = Some(Relaying {
            keys: RelayKeys::new(&[GossipKey { key }]).unwrap(),
            me: "test/pool/a".into(),
        });
        let at = apply(&workers, Arc::new(Routing { relaying, ..routing })).await["main"];
        Self { workers, control, at }
    }

    /// From an address of its own.
    async fn client(&self, last: u8) -> TcpStream {
        self.connect(last).await.unwrap()
    }

    async fn connect(&self, last: u8) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        let address = format!("127.0.0.{last}:0").parse().unwrap();
        socket.bind(address).unwrap();
        let stream = socket.connect(self.at).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn redirected(&self) -> [u64; 4] {
        self.workers.counters().chains[self.control.id()].redirected
    }
}

const BOTH: &[Dialect] = &[Dialect::Xmpp, Dialect::Mqtt];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_when_a_detour_begins_is_told_too() {
    let echo = Echo::start("e").await;
    // They still look when the detour begins.
    let dead = Control::new(rig::patient("c"), vec![candidate(rig::nobody())]);
    let mut here = Here::of(dead, listener("main", Protocol::Tcp)).await;
    let (mut xmpp, mut other) = (here.client(2).await, here.client(3).await);
    xmpp.write_all(XMPP).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let failed = || -> u64 {
        let counters = here.workers.counters();
        counters.chains[here.control.id()].connect_errors.iter().sum()
    };
    eventually("both look for somebody", Duration::from_secs(5), || failed() > 1).await;
    here.detours(echo.address, BOTH);
    let (said, _) = rest(&mut xmpp).await;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("see-other-host"), "{said}");
    expect(&mut other, "eGET /").await;
    assert_eq!(here.redirected().iter().sum::<u64>(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_told_in_their_own_protocol_and_relayed_when_they_come_back() {
    let echo = Echo::start("e").await;
    for protocol in [Protocol::Tcp, Protocol::Auto] {
        let here = Here::new(listener("main", protocol), echo.address, BOTH).await;
        let mut xmpp = here.client(2).await;
        for byte in XMPP.chunks(7) {
            xmpp.write_all(byte).await.unwrap();
        }
        let (said, ended) = rest(&mut xmpp).await;
        let said = String::from_utf8(said).unwrap();
        assert!(
            said.contains("<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>b.example:77<"),
            "{said}"
        );
        assert_eq!(ended, Ok(()), "no reset");

        let mut mqtt = here.client(3).await;
        mqtt.write_all(MQTT5).await.unwrap();
        let told = b"\x20\x12\x00\x9c\x0f\x1c\x00\x0cb.example:77".to_vec();
        assert_eq!(rest(&mut mqtt).await, (told, Ok(())));
        assert_eq!(here.redirected(), [0, 0, 1, 1]);

        let mut again = here.client(3).await;
        again.write_all(MQTT5).await.unwrap();
        expect(&mut again, "e").await;
        let mut echoed = vec![0; MQTT5.len()];
        within(again.read_exact(&mut echoed)).await.unwrap();
        assert_eq!(echoed, MQTT5, "not a byte is lost or added");
        assert_eq!(here.redirected(), [0, 0, 1, 1]);
        here.workers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_something_else_or_waits_is_relayed_whole() {
    let echo = Echo::start("e").await;
    let here = Here::new(listener("main", Protocol::Tcp), echo.address, BOTH).await;
    for (last, said) in [(2, MQTT3), (3, b"SSH-2.0-x\r\n"), (4, b"<html>")] {
        let mut client = here.client(last).await;
        client.write_all(said).await.unwrap();
        let mut echoed = vec![0; 1 + said.len()];
        within(client.read_exact(&mut echoed)).await.unwrap();
        assert_eq!(echoed, [b"e", said].concat());
    }
    // Its server shall speak first.
    let begun = Instant::now();
    let mut silent = here.client(5).await;
    expect(&mut silent, "e").await;
    assert!(begun.elapsed() >= super::SILENCE, "{:?}", begun.elapsed());
    // The beginning of what may become a header of XMPP; then nothing more.
    let mut half = here.client(6).await;
    half.write_all(b"<stream").await.unwrap();
    half.shutdown().await.unwrap();
    assert_eq!(rest(&mut half).await, (b"e<stream".to_vec(), Ok(())));
    assert_eq!(here.redirected(), [0; 4]);
    here.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_may_not_be_sent_is_not_passed_on_piece_by_piece() {
    let echo = Echo::start("e").await;
    let mut main = listener("main", Protocol::Tcp);
    main.accept_proxy = AcceptProxy::Accept;
    main.trusted_sources = vec!["10.0.0.0/8".parse().unwrap()];
    let here = Here::new(main, echo.address, BOTH).await;
    for (last, header) in [
        (2, &b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"[..]),
        (3, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"),
    ] {
        let mut client = here.client(last).await;
        let mut written = Ok(());
        for byte in header {
            written = written.and(client.write_all(&[*byte]).await);
        }
        // The reset that answers it may come before the last byte; only one of us hears of it.
        let (said, ended) = rest(&mut client).await;
        assert_eq!(said, b"");
        assert!(written.is_err() || ended == Err(std::io::ErrorKind::ConnectionReset));
    }
    let refused = here.workers.counters().listeners["main"].refused;
    assert_eq!(refused[Refusal::UntrustedProxyHeader.index()], 2);
    let mut client = here.client(4).await;
    client.write_all(b"PRO").await.unwrap();
    client.write_all(b"TOCOL").await.unwrap();
    expect(&mut client, "ePROTOCOL").await;
    here.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_are_told_the_truth_and_servers_that_speak_first_are_not_waited_for() {
    let echo = Echo::start("e").await;
    let mut main = listener("main", Protocol::Tcp);
    main.monitor_sources = vec!["127.0.0.9/32".parse().unwrap()];
    let mut here = Here::new(main, echo.address, BOTH).await;
    // It is refused, so soon, maybe, that the connect itself hears of it.
    if let Ok(mut probe) = here.connect(9).await {
        let _ = probe.write_all(XMPP).await;
        assert_eq!(rest(&mut probe).await.0, b"", "it is no client");
    }
    here.control.chain.server_first = true;
    here.control.publish_with(vec![candidate(echo.address)], |view| {
        view.detour = Some(detour(BOTH));
    });
    let begun = Instant::now();
    let mut client = here.client(2).await;
    expect(&mut client, "e").await;
    assert!(begun.elapsed() < super::SILENCE, "{:?}", begun.elapsed());
    assert_eq!(here.redirected(), [0; 4]);
    here.workers.stop().await;
}

/// A client and a broker between whom a session of MQTT 5 stands; a proxy that moves them says what the client is told.
async fn moved(down: &[u8], detours: bool) -> Vec<u8> {
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut control = Control::simple("c", &[broker.local_addr().unwrap()]);
    control.chain.redirect.dialects = vec![Dialect::Mqtt];
    let mut to = candidate(broker.local_addr().unwrap());
    // Its header is not the client's.
    to.via.send_proxy = switchyard_snapshot::SendProxy::V2;
    control.publish_with(vec![to.clone()], |_| ());
    let workers = rig::workers(1);
    let main = listener("main", Protocol::Tcp);
    let at = apply(&workers, routing(vec![(main, vec![&control])])).await["main"];
    let mut client = TcpStream::connect(at).await.unwrap();
    client.write_all(MQTT5).await.unwrap();
    let (mut server, _) = within(broker.accept()).await.unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(MQTT5) {
        assert!(within(server.read_buf(&mut heard)).await.unwrap() > 0);
    }
    server.write_all(down).await.unwrap();
    let mut bytes = vec![0; down.len()];
    within(client.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(bytes, down);
    let endpoints = HashSet::from([to.endpoint.id]);
    if detours {
        control.publish_with(vec![], |view| view.detour = Some(detour(&[Dialect::Mqtt])));
    }
    let closed = workers.close_sessions(control.id(), &endpoints, 9, CloseReason::Suspended);
    assert_eq!(closed.await, 1);
    let (said, ended) = rest(&mut client).await;
    assert_eq!(ended, Ok(()));
    drop((client, server));
    eventually("the session ends", Duration::from_secs(5), || {
        workers.counters().chains[control.id()].active == 0
    })
    .await;
    workers.stop().await;
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_moved_is_told_where_to_go_between_packets() {
    let publish = b"\x30\x05\x00\x01t\x00x";
    assert_eq!(moved(&[CONNACK, publish].concat(), true).await, DISCONNECT);
    assert_eq!(
        moved(&[CONNACK, &publish[..4]].concat(), true).await,
        b"",
        "in the middle of a packet"
    );
    assert_eq!(moved(CONNACK, false).await, b"", "nobody knows where to go");
}
