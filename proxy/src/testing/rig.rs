//! Data workers with real sockets on loopback, and chains whose views the test writes itself.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use switchyard_snapshot::{
    AcceptProxy, Backend, Balance, Chain, ChainId, Connect, Failback, Failover, Fallback, Families,
    GossipKey, HeaderRules, Health, HttpLimits, HttpVersion, Listener, Mode, OnDown, OnMissing, PoolId,
    Private, Protocol, Redirect, Resolution, SendProxy, Target, TicketKey,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::chain::event::ConnectFailed;
use crate::chain::handle::ChainHandle;
use crate::chain::view::{Candidate, Detour, Direct, Empty, RelayTo, Via, View};
use crate::endpoint::Endpoint;
use crate::gossip::PeerId;
use crate::proxy_protocol::relayed::RelayKeys;
use crate::route::{ListenerRoute, Relaying, Routing};
use crate::tls;
use crate::worker::{WorkerConfig, Workers};

/// A chain whose clients wait for a server for longer than any test takes.
pub(crate) fn patient(name: &str) -> Chain {
    let mut chain = chain(name);
    chain.connect.timeout = Duration::from_mins(1);
    chain
}

/// A listener on an ephemeral port of loopback that lets everybody in.
pub(crate) fn listener(name: &str, protocol: Protocol) -> Listener {
    Listener {
        name: name.into(),
        port: 0,
        direct_port: None,
        max_guests: 0,
        addresses: vec!["127.0.0.1".parse().unwrap()],
        protocol,
        accept_proxy: AcceptProxy::None,
        trusted_sources: vec![],
        allowed_sources: vec![],
        monitor_sources: vec![],
        idle_timeout: Duration::from_mins(10),
        handshake_timeout: Duration::from_secs(5),
        max_connections: 10_000,
        tls: None,
        https_redirect: None,
        http: HttpLimits::default(),
    }
}

/// A chain with one backend whose address does not matter: the test writes the views.
pub(crate) fn chain(name: &str) -> Chain {
    let second = Duration::from_secs(1);
    Chain {
        id: ChainId {
            namespace: "test".into(),
            name: name.into(),
        },
        generation: 0,
        listener: "main".into(),
        hostnames: vec![],
        server_first: false,
        backends: vec![Backend {
            name: "primary".into(),
            target: Target::Host {
                host: "127.0.0.1".into(),
                port: 1,
            },
            tier: 0,
            weight: 1,
            max_connections: None,
            send_proxy: SendProxy::None,
            http: HttpVersion::Http1,
            tls: None,
        }],
        resolution: Resolution {
            min_ttl: second,
            max_ttl: second,
            missing_for: Duration::ZERO,
            stale_for: second,
            on_nxdomain: OnMissing::Stale,
            on_empty: OnMissing::Stale,
            nameservers: vec![],
            families: Families::Any,
        },
        balance: Balance::RoundRobin,
        slow_start: Duration::ZERO,
        health: Health {
            interval: second,
            timeout: second,
            rise: 1,
            fall: 1,
            monitors: vec![],
            passive: None,
        },
        connect: Connect {
            timeout: second,
            attempts: 3,
            happy_eyeballs_delay: Duration::from_millis(250),
        },
        failover: Failover {
            mode: Mode::Automatic,
            active: None,
            min_healthy: 1,
            failback: Failback::Sticky,
            delay: second,
            on_down: OnDown::Keep,
            pace: 50,
        },
        schedule: None,
        drain_vanished: None,
        suspend: false,
        headers: HeaderRules::default(),
        group: None,
        redirect: Redirect::default(),
    }
}

/// A chain's control side, as far as data workers see it.
pub(crate) struct Control {
    pub(crate) chain: Chain,
    pub(crate) handle: Arc<ChainHandle>,
    pub(crate) failures: mpsc::Receiver<ConnectFailed>,
    version: u64,
}

/// A candidate with defaults.
pub(crate) fn candidate(address: SocketAddr) -> Candidate {
    Candidate {
        endpoint: Endpoint::new("primary".into(), address),
        weight: 1,
        rank: 0,
        warming_since: None,
        max_connections: None,
        via: Via::default(),
        relay: None,
    }
}

impl Control {
    /// `chain`, served by `candidates`.
    pub(crate) fn new(chain: Chain, candidates: Vec<Candidate>) -> Self {
        let (handle, failures) = ChainHandle::new(view(&chain, 1, candidates, false));
        Self {
            chain,
            handle,
            failures,
            version: 1,
        }
    }

    /// A chain of this name, served by whoever listens at these addresses.
    pub(crate) fn simple(name: &str, addresses: &[SocketAddr]) -> Self {
        Self::new(chain(name), addresses.iter().copied().map(candidate).collect())
    }

    /// Another view.
    pub(crate) fn publish(&mut self, candidates: Vec<Candidate>) {
        self.version += 1;
        self.handle
            .publish(view(&self.chain, self.version, candidates, false));
    }

    /// A view that says others serve: the chain of `to` behind each of these direct ports, of the
    /// proxies of these names in the pool `test/pool`.
    pub(crate) fn detour(
        &mut self,
        to: &ChainId,
        ports: &[(&str, SocketAddr)],
        change: impl FnOnce(&mut Detour),
    ) {
        self.version += 1;
        let mut detour = Detour {
            why: "nobody here serves".into(),
            dialects: vec![],
            fallback: Fallback::Relay,
            targets: vec![],
            until: None,
        };
        let mut candidates = Vec::new();
        for (name, port) in ports {
            let peer = PeerId {
                pool: PoolId {
                    namespace: "test".into(),
                    name: "pool".into(),
                },
                name: (*name).to_owned(),
            };
            detour.targets.push(crate::chain::view::Target {
                peer: Some(peer.clone()),
                chain: to.clone(),
                rank: 0,
                weight: 1,
                direct: vec![Direct {
                    host: port.ip().to_string(),
                    port: port.port(),
                    networks: vec![],
                }],
            });
            let chain = to.clone();
            candidates.push(Candidate {
                endpoint: Endpoint::new("other".into(), *port),
                relay: Some(Arc::new(RelayTo { peer, chain })),
                ..candidate(*port)
            });
        }
        change(&mut detour);
        let mut view = view(&self.chain, self.version, candidates, false);
        view.empty = None;
        view.detour = Some(Arc::new(detour));
        self.handle.publish(view);
    }

    /// Another view, changed as the test wants.
    pub(crate) fn publish_with(&mut self, candidates: Vec<Candidate>, change: impl FnOnce(&mut View)) {
        self.version += 1;
        let mut view = view(&self.chain, self.version, candidates, false);
        change(&mut view);
        self.handle.publish(view);
    }

    /// A view that says the chain is suspended.
    pub(crate) fn suspend(&mut self) {
        self.version += 1;
        self.handle.publish(view(&self.chain, self.version, vec![], true));
    }

    pub(crate) fn id(&self) -> &ChainId {
        &self.handle.id
    }
}

fn view(chain: &Chain, version: u64, candidates: Vec<Candidate>, suspended: bool) -> View {
    let empty = candidates.is_empty().then(|| Empty {
        since: Instant::now(),
        why: "the test says so".into(),
        suspended,
    });
    View {
        chain: Arc::new(chain.clone()),
        version,
        tier: 0,
        candidates,
        away: vec![],
        empty,
        detour: None,
        returning: None,
    }
}

/// A routing of these listeners, each with its chains.
pub(crate) fn routing(listeners: Vec<(Listener, Vec<&Control>)>) -> Arc<Routing> {
    routing_with(&tls::Keeper::default(), &[], listeners)
}

/// The same, with what a pool has for session tickets.
pub(crate) fn routing_with(
    keeper: &tls::Keeper,
    keys: &[TicketKey],
    listeners: Vec<(Listener, Vec<&Control>)>,
) -> Arc<Routing> {
    let listeners = listeners.into_iter().map(|(listener, chains)| {
        let tls = keeper.server_for(&listener, keys).unwrap();
        let mut route = ListenerRoute::new(Arc::new(listener));
        route.tls = tls;
        for control in chains {
            route.add(Arc::clone(&control.handle), &control.chain.hostnames);
        }
        route
    });
    Arc::new(Routing {
        listeners: listeners.collect(),
        relaying: Some(relaying("test/pool/here")),
        ..Routing::default()
    })
}

/// What a proxy of this name relays with: all of them share a key.
pub(crate) fn relaying(me: &str) -> Relaying {
    let key = GossipKey {
        key: Private::new("01".repeat(32)),
    };
    Relaying {
        keys: RelayKeys::new(&[key]).unwrap(),
        me: me.into(),
    }
}

/// Data workers without an access log.
pub(crate) fn workers(count: usize) -> Workers {
    let count = NonZeroUsize::new(count).unwrap();
    Workers::start(WorkerConfig {
        count,
        bind: None,
        descriptors: 4096,
        access_log: None,
    })
    .unwrap()
}

/// Applies `routing` and says where its listeners are, by name.
pub(crate) async fn apply(workers: &Workers, routing: Arc<Routing>) -> HashMap<String, SocketAddr> {
    let errors = workers.apply(routing).await;
    assert!(errors.is_empty(), "{errors:?}");
    workers.addresses().await.into_iter().collect()
}

/// A real server: says its name at once, then sends back what it gets, until the client ends its stream.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    accepting: AbortHandle,
}

impl Echo {
    /// At a port that nobody else is given once it has stopped.
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind(nobody()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    if to.write_all(name.as_bytes()).await.is_ok() {
                        let _ = tokio::io::copy(&mut from, &mut to).await;
                    }
                });
            }
        });
        Self {
            address,
            accepting: accepting.abort_handle(),
        }
    }

    /// Stops listening; open connections go on.
    pub(crate) fn stop(&self) {
        self.accepting.abort();
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An address on loopback where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// A port that is free, and stays so: it lies below those that the system hands out (from 32768 on), and no other test of this
/// process is given it.
pub(crate) fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU32::new(std::process::id()));
    let ports = || u16::try_from(20_000 + next.fetch_add(1, Ordering::Relaxed) % 12_000).unwrap();
    let is_free = |port: &u16| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    std::iter::repeat_with(ports).take(12_000).find(is_free).unwrap()
}

/// Connects and reads `expected`; within five seconds.
pub(crate) async fn client(at: SocketAddr, expected: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    expect(&mut stream, expected).await;
    stream
}

/// Reads exactly `expected`, within five seconds.
pub(crate) async fn expect(stream: &mut (impl AsyncRead + Unpin), expected: &str) {
    let mut bytes = vec![0; expected.len()];
    within(stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
}

/// Sends `text` and reads it back.
pub(crate) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    expect(stream, text).await;
}

/// What is left of the stream, and whether it ended in order.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, Result<(), std::io::ErrorKind>) {
    let mut bytes = Vec::new();
    let ended = within(stream.read_to_end(&mut bytes)).await;
    (bytes, ended.map(drop).map_err(|error| error.kind()))
}

/// Waits until so many of these have been closed in order; all others are still served by an [`Echo`].
pub(crate) async fn assert_closed(streams: impl IntoIterator<Item = &mut TcpStream>, count: usize) {
    let mut open: Vec<_> = streams.into_iter().collect();
    let left = open.len() - count;
    let closed = poll_fn(|cx| {
        open.retain(|stream| match stream.poll_peek(cx, &mut ReadBuf::new(&mut [0])) {
            Poll::Pending => true,
            Poll::Ready(Ok(0)) => false,
            Poll::Ready(other) => panic!("FIN, not {other:?}"),
        });
        if open.len() > left {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    });
    within(closed).await;
    assert_eq!(open.len(), left);
    for stream in open {
        ask(stream, "alive").await;
    }
}

/// Connects, and is turned away with a reset: so soon, maybe, that the connect itself hears of it.
pub(crate) async fn assert_reset(at: SocketAddr) {
    assert_reset_after(at, b"").await;
}

/// The same for whoever says `first`. On a busy machine the reset can be there before it is said.
pub(crate) async fn assert_reset_after(at: SocketAddr, first: &[u8]) {
    let outcome = match said(at, first).await {
        Ok(mut stream) => rest(&mut stream).await,
        Err(error) => (vec![], Err(error.kind())),
    };
    assert_eq!(outcome, (vec![], Err(std::io::ErrorKind::ConnectionReset)));
}

/// Connects and says `first`.
pub(crate) async fn said(at: SocketAddr, first: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(first).await?;
    Ok(stream)
}

/// Five seconds are more than anything on loopback needs.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), future)
        .await
        .expect("within five seconds")
}
