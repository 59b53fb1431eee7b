//! Gossip's socket. In: what this proxy says of itself, keys, seeds, datagrams. Out: [`Neighbours`], datagrams. What is done with
//! them is [`Core`]'s business.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use socket2::{Domain, Protocol, Socket, Type};
use switchyard_snapshot::GossipKey;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::seeds::Seeds;
use super::wire::can_be_told;
use super::{Core, CoreConfig, GossipCounters, KeyError, Keyring, Neighbours, PeerId, Said};
use crate::resolve::Resolver;
use crate::socket::canonical;
use crate::tasks::Tasks;

/// Datagrams that are taken in before anything else is looked at.
const TOGETHER: usize = 64;
/// Longer datagrams are cut to this; they are too long either way.
const LONGEST: usize = 2_048;
/// What the kernel keeps for us while we do something else, in bytes; cut to `net.core.rmem_max`.
const KEPT: usize = 1 << 20;
/// How long [`Gossip::leave`] waits.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// Who gossips, where and with whom.
#[derive(Debug)]
pub struct GossipConfig {
    /// This proxy.
    pub id: PeerId,
    /// What its cluster is called; may be empty.
    pub cluster: String,
    /// Where to listen. An unspecified IPv6 address takes IPv4 as well.
    pub bind: SocketAddr,
    /// Where others reach this proxy; none: at `bind`, or where its datagrams come from if that is unspecified.
    pub advertise: Option<IpAddr>,
    /// The first seals, all open.
    pub keys: Vec<GossipKey>,
    /// `host:port` of others to begin with; oneself may be one of them.
    pub seeds: Vec<String>,
    /// Resolves them.
    pub resolver: Resolver,
}

/// Why gossip cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// The configuration's fault.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Somebody else has the port, or the address is not of this machine.
    #[error(
        "cannot listen for gossip on {address} (UDP): {error}; choose another port or address (peers.port, peers.bindAddress)"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// Others would not read it.
    #[error(
        "gossip cannot tell who this is: \"{0}\" has a part that is empty, longer than 253 bytes or not plain ASCII"
    )]
    Name(String),
    /// The system has no random bytes.
    #[error("the system gives no random bytes, without which nothing can be sealed")]
    Random,
}

/// What may change while it runs.
#[derive(Clone, Debug)]
struct Orders {
    keys: Vec<GossipKey>,
    seeds: Vec<String>,
}

/// This proxy's part in gossip, for as long as its tasks run.
#[derive(Clone, Debug)]
pub struct Gossip {
    address: SocketAddr,
    said: watch::Sender<Said>,
    orders: watch::Sender<Orders>,
    neighbours: watch::Sender<Arc<Neighbours>>,
    counters: Arc<GossipCounters>,
    leave: CancellationToken,
    left: CancellationToken,
}

impl Gossip {
    /// Listens, and begins to look for others.
    ///
    /// # Errors
    /// [`GossipError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(config: GossipConfig, tasks: &Tasks) -> Result<Self, GossipError> {
        let GossipConfig {
            id,
            cluster,
            bind,
            advertise,
            keys,
            seeds,
            resolver,
        } = config;
        let keyring = Keyring::new(&keys)?;
        if !can_be_told(&cluster, &id) {
            return Err(GossipError::Name(format!("{cluster}/{}/{}", id.pool, id.name)));
        }
        let listen = |error| GossipError::Listen { address: bind, error };
        let socket = listen_on(bind).map_err(listen)?;
        let address = canonical(socket.local_addr().map_err(listen)?);
        let mut seed = [0; 32];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| GossipError::Random)?;
        let own = Some(bind.ip()).filter(|ip| !ip.is_unspecified());
        let core = CoreConfig {
            id,
            cluster,
            advertise: advertise.or(own),
            keys: keyring,
            seeds: Vec::new(),
        };
        let core = Core::new(core, seed, Instant::now());
        let gossip = Self {
            address,
            said: watch::Sender::new(Said::default()),
            orders: watch::Sender::new(Orders { keys, seeds }),
            neighbours: watch::Sender::default(),
            counters: Arc::clone(core.counters()),
            leave: CancellationToken::new(),
            left: CancellationToken::new(),
        };
        let mut orders = gossip.orders.subscribe();
        orders.mark_changed();
        let task = Task {
            core,
            v6: bind.is_ipv6(),
            socket,
            said: gossip.said.subscribe(),
            orders,
            seeds: Seeds::new(&[], &resolver),
            resolver,
            neighbours: gossip.neighbours.clone(),
        };
        let (leave, left) = (gossip.leave.clone(), gossip.left.clone());
        let cancelled = tasks.cancelled();
        tasks.spawn("gossip", async move {
            // however it ends, nobody waits for it any more
            let _left = left.drop_guard();
            task.run(async {
                tokio::select! {
                    () = cancelled.cancelled() => {}
                    () = leave.cancelled() => {}
                }
            })
            .await;
        });
        Ok(gossip)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What this proxy says of itself from now on. Cheap where nothing has changed.
    pub fn say(&self, said: Said) {
        self.said.send_if_modified(|known| {
            let new = *known != said;
            if new {
                *known = said;
            }
            new
        });
    }

    /// What others say. It changes at once when somebody says something new, or lives no more, or again; else, while others
    /// confirm what they said, four times a second.
    pub fn neighbours(&self) -> watch::Receiver<Arc<Neighbours>> {
        self.neighbours.subscribe()
    }

    /// Other keys and seeds. Whoever shares a key with us stays known.
    ///
    /// # Errors
    /// The keys cannot be used; nothing has changed.
    pub fn reconfigure(&self, keys: &[GossipKey], seeds: &[String]) -> Result<(), KeyError> {
        Keyring::new(keys)?;
        self.orders.send_if_modified(|orders| {
            let new = orders.keys != keys || orders.seeds != seeds;
            if new {
                *orders = Orders {
                    keys: keys.to_vec(),
                    seeds: seeds.to_vec(),
                };
            }
            new
        });
        Ok(())
    }

    /// What went over the wire.
    pub fn counters(&self) -> Arc<GossipCounters> {
        Arc::clone(&self.counters)
    }

    /// Tells everybody that this proxy goes, and ends; returns once that is sent. What others said last stays readable.
    pub async fn leave(&self) {
        self.leave.cancel();
        // it can only be late where the runtime itself is stuck; then nobody can be told
        let _ = timeout(LEAVE_WITHIN, self.left.cancelled()).await;
    }
}

struct Task {
    core: Core,
    socket: UdpSocket,
    /// IPv4 addresses must be mapped.
    v6: bool,
    said: watch::Receiver<Said>,
    orders: watch::Receiver<Orders>,
    seeds: Seeds,
    resolver: Resolver,
    neighbours: watch::Sender<Arc<Neighbours>>,
}

impl Task {
    async fn run(mut self, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        loop {
            let wake = self.core.next_wake();
            tokio::select! {
                biased;
                () = &mut end => break,
                readable = self.socket.readable() => match readable {
                    Ok(()) => self.receive(),
                    Err(error) => tracing::warn!(%error, "the gossip socket fails"),
                },
                Ok(()) = self.said.changed() => {
                    let said = self.said.borrow_and_update().clone();
                    self.core.say(said, Instant::now());
                }
                Ok(()) = self.orders.changed() => self.reconfigure(),
                () = self.seeds.changed() => self.core.set_seeds(&self.seeds.addresses(), Instant::now()),
                () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => {}
            }
            let now = Instant::now();
            if self.core.next_wake().is_some_and(|wake| wake <= now) {
                self.core.tick(now);
            }
            self.send();
            if let Some(news) = self.core.take_news(now) {
                self.neighbours.send_replace(news);
            }
        }
        self.core.leave(Instant::now());
        self.send();
    }

    fn reconfigure(&mut self) {
        let Orders { keys, seeds } = self.orders.borrow_and_update().clone();
        self.seeds = Seeds::new(&seeds, &self.resolver);
        match Keyring::new(&keys) {
            Ok(keys) => self
                .core
                .reconfigure(keys, &self.seeds.addresses(), Instant::now()),
            Err(error) => tracing::warn!(%error, "gossip goes on with the keys it has"),
        }
    }

    fn receive(&mut self) {
        let mut datagram = [0; LONGEST];
        for _ in 0..TOGETHER {
            match self.socket.try_recv_from(&mut datagram) {
                Ok((length, from)) => {
                    let datagram = datagram.get(..length).unwrap_or_default();
                    self.core
                        .handle_datagram(canonical(from), datagram, Instant::now());
                }
                // anything but "nothing there" is about one datagram, and gone with it
                Err(_) => return,
            }
        }
    }

    fn send(&mut self) {
        let counters = Arc::clone(self.core.counters());
        for (to, datagram) in self.core.take_datagrams() {
            match self.socket.try_send_to(&datagram, self.reached(to)) {
                Ok(_) => counters.sent(datagram.len()),
                // lost, as datagrams may be: what matters is said again
                Err(_) => counters.unsent(),
            }
        }
    }

    fn reached(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.v6 => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            _ => to,
        }
    }
}

fn listen_on(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    socket.set_recv_buffer_size(KEPT)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests;
