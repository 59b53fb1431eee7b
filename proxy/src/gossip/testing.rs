//! A network of proxies in one thread: time, delays, losses and chance come from a seed. In: who there is, what links do. Out:
//! the proxies, after so much time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use switchyard_snapshot::{ChainId, GossipKey, PoolId, Private};

use super::{ChainSaid, Core, CoreConfig, Keyring, Liveness, Load, Neighbours, PeerId, Said};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// One proxy, running or not.
pub(crate) struct Node {
    pub(crate) id: PeerId,
    pub(crate) core: Option<Core>,
    pub(crate) known: Arc<Neighbours>,
    /// When it stopped running; none: it runs.
    pub(crate) down_since: Option<Instant>,
    pub(crate) said: Said,
    /// It runs no code before this: stopped, or starved of CPU.
    pub(crate) frozen_until: Option<Instant>,
    /// When it wants to run next.
    wake: Option<Instant>,
    cluster: String,
    keys: Vec<GossipKey>,
    seeds: Vec<SocketAddr>,
}

/// A datagram under way.
struct Flying {
    due: Instant,
    nth: u64,
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

impl PartialEq for Flying {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.nth) == (other.due, other.nth)
    }
}

impl Eq for Flying {}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flying {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.nth).cmp(&(other.due, other.nth))
    }
}

/// Share of datagrams that a link loses, from one proxy to another; 1: it is cut.
pub(crate) type Loss = Box<dyn Fn(usize, usize) -> f64>;

/// The network.
pub(crate) struct Net {
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) loss: Loss,
    /// Longest time that a datagram takes.
    pub(crate) latency: Duration,
    flying: BinaryHeap<Reverse<Flying>>,
    nth: u64,
    /// Everything that was sent to one proxy, if wanted.
    pub(crate) recorded: Option<Vec<(SocketAddr, usize, Vec<u8>)>>,
    pub(crate) sent: u64,
}

pub(crate) fn key(digit: char) -> GossipKey {
    GossipKey {
        key: Private::new(digit.to_string().repeat(64)),
    }
}

pub(crate) fn address(node: usize) -> SocketAddr {
    ([10, 0, 0, node as u8 + 1], 17_946).into()
}

/// Pools have three proxies each.
pub(crate) fn peer_id(node: usize) -> PeerId {
    PeerId {
        pool: PoolId {
            namespace: "edge".into(),
            name: format!("pool-{}", node / 3),
        },
        name: format!("pool-{}-{}", node / 3, node % 3),
    }
}

pub(crate) fn chain(name: &str) -> ChainId {
    ChainId {
        namespace: "edge".into(),
        name: name.into(),
    }
}

/// One chain, at this epoch.
pub(crate) fn said(epoch: u64) -> Said {
    let chain_said = ChainSaid {
        epoch,
        reaches: true,
        ..ChainSaid::default()
    };
    Said {
        load: Load {
            sessions: 1,
            room: 100,
            guest_room: 50,
        },
        chains: [(chain("msuite"), chain_said)].into(),
        ..Said::default()
    }
}

impl Net {
    /// So many proxies, not running yet; the first two are everybody's seeds.
    pub(crate) fn new(nodes: usize, seed: u64) -> Self {
        let ids = (0..nodes).map(peer_id).collect();
        Self::of(ids, &[address(0), address(1)], seed)
    }

    /// These proxies, not running yet, and everybody's seeds.
    pub(crate) fn of(ids: Vec<PeerId>, seeds: &[SocketAddr], seed: u64) -> Self {
        let now = Instant::now() + Duration::from_hours(1);
        let node = |id| Node {
            id,
            core: None,
            known: Arc::default(),
            down_since: Some(now),
            said: said(0),
            frozen_until: None,
            wake: None,
            cluster: String::new(),
            keys: vec![key('a')],
            seeds: seeds.to_vec(),
        };
        Self {
            nodes: ids.into_iter().map(node).collect(),
            now,
            rng: Rng::with_seed(seed),
            loss: Box::new(|_, _| 0.0),
            latency: 2 * MS,
            flying: BinaryHeap::new(),
            nth: 0,
            recorded: None,
            sent: 0,
        }
    }

    /// The same, running.
    pub(crate) fn running(nodes: usize, seed: u64) -> Self {
        let mut net = Self::new(nodes, seed);
        (0..nodes).for_each(|node| net.start(node));
        net
    }

    /// Starts a proxy, or starts it anew.
    pub(crate) fn start(&mut self, node: usize) {
        let mut seed = [0; 32];
        self.rng.fill(&mut seed);
        let entry = &mut self.nodes[node];
        let config = CoreConfig {
            id: entry.id.clone(),
            cluster: entry.cluster.clone(),
            advertise: None,
            keys: Keyring::new(&entry.keys).unwrap(),
            seeds: entry.seeds.clone(),
        };
        let mut core = Core::new(config, seed, self.now);
        core.say(entry.said.clone(), self.now);
        entry.core = Some(core);
        entry.known = Arc::default();
        entry.down_since = None;
        entry.frozen_until = None;
        entry.wake = Some(self.now);
    }

    /// Ends a proxy, without a word.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].core = None;
        self.nodes[node].wake = None;
        self.nodes[node].frozen_until = None;
        self.nodes[node].down_since = Some(self.now);
    }

    /// Ends a proxy that says so.
    pub(crate) fn leave(&mut self, node: usize) {
        let now = self.now;
        self.core(node).leave(now);
        self.collect(node);
        self.kill(node);
    }

    pub(crate) fn set_cluster(&mut self, node: usize, cluster: &str) {
        self.nodes[node].cluster = cluster.into();
    }

    pub(crate) fn set_keys(&mut self, node: usize, keys: &[char]) {
        let entry = &mut self.nodes[node];
        entry.keys = keys.iter().copied().map(key).collect();
        if let Some(core) = &mut entry.core {
            core.reconfigure(Keyring::new(&entry.keys).unwrap(), &entry.seeds, self.now);
        }
        self.collect(node);
    }

    pub(crate) fn say(&mut self, node: usize, said: Said) {
        self.nodes[node].said = said.clone();
        if let Some(core) = &mut self.nodes[node].core {
            core.say(said, self.now);
        }
        self.collect(node);
    }

    pub(crate) fn core(&mut self, node: usize) -> &mut Core {
        self.nodes[node].core.as_mut().unwrap()
    }

    /// Hands a datagram to a proxy, from wherever it claims to come.
    pub(crate) fn inject(&mut self, from: SocketAddr, to: usize, bytes: &[u8]) {
        let now = self.now;
        self.core(to).handle_datagram(from, bytes, now);
        self.collect(to);
    }

    /// Puts what a proxy has to say on its way.
    fn collect(&mut self, node: usize) {
        let Some(core) = &mut self.nodes[node].core else {
            return;
        };
        for (to, bytes) in core.take_datagrams() {
            self.sent += 1;
            let Some(target) = (0..self.nodes.len()).find(|&other| address(other) == to) else {
                continue;
            };
            if let Some(recorded) = &mut self.recorded {
                recorded.push((address(node), target, bytes.clone()));
            }
            if self.rng.f64() < (self.loss)(node, target) {
                continue;
            }
            self.nth += 1;
            self.flying.push(Reverse(Flying {
                due: self.now + self.latency.mul_f64(0.25 + 0.75 * self.rng.f64()),
                nth: self.nth,
                from: node,
                to: target,
                bytes,
            }));
        }
        let entry = &mut self.nodes[node];
        let Some(core) = &mut entry.core else { return };
        if let Some(news) = core.take_news(self.now) {
            entry.known = news;
        }
        entry.wake = core.next_wake();
    }

    fn wake(&self, node: usize) -> Option<Instant> {
        let entry = &self.nodes[node];
        let wake = entry.wake?;
        Some(wake.max(entry.frozen_until.unwrap_or(wake)))
    }

    /// Who runs next, and when.
    fn next_wake(&self) -> Option<(Instant, usize)> {
        let all = 0..self.nodes.len();
        all.filter_map(|node| Some((self.wake(node)?, node))).min()
    }

    /// When something happens next.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let due = self.flying.peek().map(|flying| flying.0.due);
        self.next_wake().map(|(at, _)| at).into_iter().chain(due).min()
    }

    /// What is next happens; to whom.
    pub(crate) fn step(&mut self) -> Option<usize> {
        let wake = self.next_wake();
        let due = self.flying.peek().map(|flying| flying.0.due);
        let first = due.filter(|due| wake.is_none_or(|(at, _)| *due <= at));
        if let Some(due) = first {
            self.now = self.now.max(due);
            return self.arrive();
        }
        let (at, node) = wake?;
        self.now = self.now.max(at);
        let now = self.now;
        self.nodes[node].frozen_until = None;
        if let Some(core) = &mut self.nodes[node].core {
            core.tick(now);
        }
        self.collect(node);
        Some(node)
    }

    /// Lets time pass; `watch` looks on after everything that happens.
    pub(crate) fn run(&mut self, time: Duration, mut watch: impl FnMut(&Self)) {
        let end = self.now + time;
        while self.next_at().is_some_and(|next| next <= end) {
            self.step();
            watch(self);
        }
        self.now = end;
    }

    fn arrive(&mut self) -> Option<usize> {
        let Reverse(mut flying) = self.flying.pop()?;
        let (now, to) = (self.now, flying.to);
        if let Some(until) = self.nodes[to].frozen_until.filter(|until| *until > now) {
            // it waits in the socket
            flying.due = until;
            self.flying.push(Reverse(flying));
            return None;
        }
        if let Some(core) = &mut self.nodes[to].core {
            core.handle_datagram(address(flying.from), &flying.bytes, now);
        }
        self.collect(to);
        Some(to)
    }

    /// How `node` sees `other`; none: it does not know it.
    pub(crate) fn sees(&self, node: usize, other: usize) -> Option<Liveness> {
        let known = self.nodes[node].known.peers.get(&self.nodes[other].id)?;
        Some(known.liveness)
    }

    pub(crate) fn runs(&self, node: usize) -> bool {
        self.nodes[node].core.is_some()
    }

    /// Whether every proxy that runs sees every other one alive, with what it says now, and nobody else.
    pub(crate) fn converged(&self) -> bool {
        let all = 0..self.nodes.len();
        all.clone().filter(|&node| self.runs(node)).all(|node| {
            all.clone().filter(|&other| other != node).all(|other| {
                let known = self.nodes[node].known.peers.get(&self.nodes[other].id);
                if self.runs(other) {
                    known.is_some_and(|known| {
                        known.liveness == Liveness::Alive && *known.said == self.nodes[other].said
                    })
                } else {
                    known.is_none_or(|known| known.liveness == Liveness::Dead)
                }
            })
        })
    }

    /// Runs until everybody agrees; how long it took.
    pub(crate) fn settle(&mut self, within: Duration) -> Option<Duration> {
        let begun = self.now;
        while !self.converged() {
            if self.now >= begun + within {
                return None;
            }
            self.run(5 * MS, |_| ());
        }
        Some(self.now - begun)
    }
}
