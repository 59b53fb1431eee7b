//! One history: whole proxies, their servers and clients, and the one clock of all of them. In: what shall happen, time. Out: what
//! became of it; whatever must hold is looked at as it goes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use crate::chain::event::{Event, Order};
use crate::chain::state::ChainState;
use crate::clock::Now;
use crate::endpoint::EndpointId;
use crate::gossip::testing::{MS, Net, address};
use crate::redirect::Topology;

use super::client::Client;
use super::ground::Ground;
use super::plan::{Plan, TIMEOUT};
use super::proxy::{Proxy, Running};

/// How often everybody is looked at, and clients come.
const GRID: Duration = Duration::from_millis(50);
/// A chain waits so long, at most, until its proxy listens to others: listeners are bound between.
const PLACED_AFTER: u64 = 15;
/// The second confirming probe begins so long after the first.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// Something that happens to one proxy, or in it.
pub(super) enum Act {
    /// It begins to gossip.
    Gossip,
    /// A probe begins; whether it is the first.
    Probe(EndpointId, bool),
    /// It ended, and when it began.
    Probed(EndpointId, Instant, Result<(), String>),
    /// A confirming probe begins.
    Look(EndpointId, u64),
    Looked(EndpointId, u64, Instant, Result<(), String>),
    Client(Box<Client>),
    /// It has drained, and ends.
    Leave,
}

struct Due {
    at: Instant,
    nth: u64,
    proxy: usize,
    run: u64,
    act: Act,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.nth == other.nth
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.nth).cmp(&(other.at, other.nth))
    }
}

/// What became of clients.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) at_home: u64,
    pub(super) elsewhere: u64,
    /// Sent to a proxy that sends its own clients elsewhere.
    pub(super) bounced: u64,
    pub(super) refused: u64,
    /// The proxy that had them died.
    pub(super) lost: u64,
}

/// One history.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) net: Net,
    pub(super) ground: Ground,
    pub(super) proxies: Vec<Proxy>,
    pub(super) rng: Rng,
    pub(super) seed: u64,
    pub(super) tally: Tally,
    /// Nothing happens any more, and all had time to learn of what did: every client that comes after this is served.
    pub(super) judged: Option<Instant>,
    /// Pairs of pool-mates on different tiers, and since when.
    pub(super) differ: BTreeMap<(usize, usize), Instant>,
    queue: BinaryHeap<Reverse<Due>>,
    nth: u64,
    begun: Instant,
    looked: Instant,
}

impl World {
    pub(super) fn new(proxies: usize, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(proxies, &mut rng);
        let seeds: Vec<_> = (0..proxies).map(address).collect();
        let mut net = Net::of(plan.ids.clone(), &seeds, seed);
        net.latency = Duration::from_millis(rng.u64(1..40));
        let begun = net.now;
        let mut world = Self {
            ground: Ground::new(&plan, begun),
            proxies: (0..proxies).map(|_| Proxy::default()).collect(),
            plan,
            net,
            rng,
            seed,
            tally: Tally::default(),
            judged: None,
            differ: BTreeMap::new(),
            queue: BinaryHeap::new(),
            nth: 0,
            begun,
            looked: begun,
        };
        (0..proxies).for_each(|proxy| world.start(proxy));
        world
    }

    pub(super) fn now(&self) -> Instant {
        self.net.now
    }

    /// Both clocks of a proxy.
    fn moment(&self, proxy: usize) -> Now {
        let passed = self.now().duration_since(self.begun);
        let noon: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let wall = noon + SignedDuration::try_from(passed).unwrap() + self.proxies[proxy].skew;
        Now {
            mono: self.now(),
            wall,
        }
    }

    /// In seconds since the history began, for people.
    pub(super) fn clock(&self) -> f64 {
        self.now().duration_since(self.begun).as_secs_f64()
    }

    pub(super) fn push(&mut self, after: Duration, proxy: usize, act: Act) {
        self.nth += 1;
        self.queue.push(Reverse(Due {
            at: self.now() + after,
            nth: self.nth,
            proxy,
            run: self.proxies[proxy].run,
            act,
        }));
    }

    /// A proxy starts, or starts anew.
    pub(super) fn start(&mut self, at: usize) {
        self.kill(at, false);
        let now = self.moment(at);
        let chain = Arc::clone(self.plan.chain(at));
        let proxy = &mut self.proxies[at];
        let state = ChainState::new(Arc::clone(&chain), proxy.disk.clone(), now);
        proxy.running = Some(Running::new(&chain, state, now.mono));
        self.ground.begin(at, now.mono);
        self.relink();
        self.note(at, "starts");
        let wait = MS * self.rng.u64(0..=PLACED_AFTER) as u32;
        self.push(wait, at, Act::Gossip);
    }

    /// A proxy dies, its machine with it, or not.
    pub(super) fn kill(&mut self, at: usize, machine: bool) {
        self.net.kill(at);
        let now = self.now();
        let proxy = &mut self.proxies[at];
        proxy.run += 1;
        proxy.running = None;
        proxy.leaving = false;
        self.ground.dead[at].get_or_insert(now);
        self.ground.gone[at] = machine;
        self.relink();
        self.note(at, "is dead");
    }

    /// Links, servers or proxies have changed.
    pub(super) fn relink(&mut self) {
        let loss = self.ground.loss.clone();
        self.net.loss = Box::new(move |from, to| loss[from][to]);
        self.ground.note(&self.plan, self.net.now);
    }

    pub(super) fn note(&mut self, at: usize, what: &str) {
        let moment = format!("{:.3} {what}", self.clock());
        self.proxies[at].note(moment);
    }

    pub(super) fn running(&mut self, at: usize) -> &mut Running {
        self.proxies[at].running.as_mut().unwrap()
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now() + time;
        loop {
            let net = self.net.next_at();
            let due = self.queue.peek().map(|due| due.0.at);
            let tick = self.next_tick();
            let look = self.looked + GRID;
            let others = [net, due, tick.map(|(at, _)| at)].into_iter().flatten();
            let next = others.min().unwrap_or(look).min(look);
            if next > end {
                self.net.now = end;
                return;
            }
            if net == Some(next) {
                if let Some(proxy) = self.net.step() {
                    self.hear(proxy);
                }
                continue;
            }
            self.net.now = self.now().max(next);
            if due == Some(next) {
                self.act();
            } else if let Some((_, proxy)) = tick.filter(|(at, _)| *at == next) {
                self.tell(proxy, Event::Tick);
            } else {
                self.looked = next;
                self.look_around();
            }
        }
    }

    /// Whose chain wants to be woken next, and when.
    fn next_tick(&self) -> Option<(Instant, usize)> {
        let running = |(at, proxy): (usize, &Proxy)| {
            let running = proxy.running.as_ref().filter(|running| running.heard.is_some())?;
            let wake = running.state.wake_at()?;
            Some((wake.max(running.woken + MS), at))
        };
        self.proxies.iter().enumerate().filter_map(running).min()
    }

    fn look_around(&mut self) {
        if self.rng.u8(0..3) == 0 {
            self.newcomer();
        }
        self.check();
    }

    /// What gossip has brought is told to the chain: at once if it is news, or if the chain awaits it.
    fn hear(&mut self, at: usize) {
        let known = &self.net.nodes[at].known;
        let awaited = self.proxies[at].running.as_ref().is_some_and(|running| {
            let heard = running.heard.as_ref();
            running.state.is_attentive() || heard.is_some_and(|heard| heard.news != known.news)
        });
        if awaited {
            self.catch_up(at);
        }
    }

    /// What gossip has brought is told to the chain, if it is not what it was told last.
    fn catch_up(&mut self, at: usize) {
        let known = Arc::clone(&self.net.nodes[at].known);
        let Some(running) = &mut self.proxies[at].running else {
            return;
        };
        if running
            .heard
            .as_ref()
            .is_some_and(|heard| !Arc::ptr_eq(heard, &known))
        {
            running.heard = Some(Arc::clone(&known));
            self.take(at, Event::Neighbours(known));
        }
    }

    /// Something happens to a proxy's chain, which is first told what others have said since.
    pub(super) fn tell(&mut self, at: usize, event: Event) {
        self.catch_up(at);
        self.take(at, event);
    }

    fn take(&mut self, at: usize, event: Event) {
        let now = self.moment(at);
        let before = self.proxies[at].place();
        let running = self.proxies[at].running.as_mut();
        // before it knows whom it talks to a chain does nothing
        let Some(running) = running.filter(|running| running.heard.is_some()) else {
            return;
        };
        running.woken = now.mono;
        for order in running.state.handle(event, now) {
            self.obey(at, order);
        }
        self.proxies[at].look(now.mono);
        if let Some(before) = before {
            self.judge_change(at, before);
        }
        self.say(at);
    }

    fn obey(&mut self, at: usize, order: Order) {
        match order {
            Order::Confirm(id) => {
                self.nth += 1;
                let token = self.nth;
                self.running(at).confirming.insert(id, (token, 2));
                self.push(Duration::ZERO, at, Act::Look(id, token));
                self.push(SECOND_LOOK, at, Act::Look(id, token));
            }
            Order::StopConfirming(id) => drop(self.running(at).confirming.remove(&id)),
            Order::Persist(stored) => self.proxies[at].disk = Some(stored),
            Order::Announce(change) => {
                let what = format!(
                    "{:?} {} -> {}: {}",
                    change.kind, change.from, change.to, change.reason
                );
                self.note(at, &what);
            }
        }
    }

    /// What the chain says of itself is told to others.
    pub(super) fn say(&mut self, at: usize) {
        let said = self.proxies[at].said();
        let Some(running) = &mut self.proxies[at].running else {
            return;
        };
        if running.heard.is_some() && running.told != said {
            running.told = said.clone();
            self.net.say(at, said);
            self.hear(at);
        }
    }

    fn act(&mut self) {
        let Some(Reverse(Due {
            proxy: at, run, act, ..
        })) = self.queue.pop()
        else {
            return;
        };
        if self.proxies[at].run != run {
            self.tally.lost += u64::from(matches!(act, Act::Client(_)));
            return;
        }
        match act {
            Act::Gossip => self.gossip(at),
            Act::Probe(id, first) => self.probe(at, id, first),
            Act::Probed(endpoint, begun, result) => {
                let monitor = 0;
                self.tell(
                    at,
                    Event::Probed {
                        endpoint,
                        monitor,
                        begun,
                        result,
                    },
                );
            }
            Act::Look(id, token) => {
                if self
                    .running(at)
                    .confirming
                    .get(&id)
                    .is_some_and(|(known, _)| *known == token)
                {
                    let (took, result) = self.try_server(at, id);
                    let begun = self.now();
                    self.push(took, at, Act::Looked(id, token, begun, result));
                }
            }
            Act::Looked(id, token, begun, result) => self.look_ended(at, id, token, begun, result),
            Act::Client(client) => self.seek(*client),
            Act::Leave => {
                self.net.leave(at);
                self.kill(at, false);
            }
        }
    }

    fn gossip(&mut self, at: usize) {
        let said = self.proxies[at].said();
        self.net.nodes[at].said = said.clone();
        self.net.start(at);
        let topology = Topology {
            me: self.plan.ids[at].clone(),
            since: self.now(),
            pools: self.plan.pools.clone(),
            second_hand: false,
        };
        let known = Arc::clone(&self.net.nodes[at].known);
        let running = self.running(at);
        running.told = said;
        running.heard = Some(Arc::clone(&known));
        let first = [
            Event::Draining(false),
            Event::Remotes(Arc::default()),
            Event::Topology(Some(Arc::new(topology))),
            Event::Neighbours(known),
        ];
        for event in first {
            self.tell(at, event);
        }
        let now = self.moment(at);
        for probed in self.running(at).state.probed(now) {
            let wait = MS.mul_f64(20.0 * self.rng.f64());
            self.push(wait, at, Act::Probe(probed.endpoint.id, true));
        }
    }

    fn probe(&mut self, at: usize, id: EndpointId, first: bool) {
        let (took, result) = self.try_server(at, id);
        let begun = self.now();
        self.push(took, at, Act::Probed(id, begun, result));
        let interval = self.plan.chain(at).health.interval;
        let luck = self.rng.f64();
        let share = if first { luck } else { 1.0 - 0.1 * luck };
        self.push(interval.mul_f64(share).max(took), at, Act::Probe(id, false));
    }

    fn look_ended(
        &mut self,
        at: usize,
        endpoint: EndpointId,
        token: u64,
        begun: Instant,
        result: Result<(), String>,
    ) {
        let Some((known, pending)) = self.running(at).confirming.get_mut(&endpoint) else {
            return;
        };
        if *known != token {
            return;
        }
        *pending -= 1;
        let again = result.is_err() && *pending == 0;
        if again {
            *pending = 1;
        }
        if result.is_ok() {
            self.running(at).confirming.remove(&endpoint);
        }
        if again {
            let interval = self.plan.chain(at).health.interval;
            self.push(interval, at, Act::Look(endpoint, token));
        }
        self.tell(
            at,
            Event::Confirmed {
                endpoint,
                begun,
                result,
            },
        );
    }

    /// A connection from a proxy to one of its servers: how long it takes, and what comes of it.
    pub(super) fn try_server(&mut self, at: usize, id: EndpointId) -> (Duration, Result<(), String>) {
        let soon = MS.mul_f64(1.0 + 4.0 * self.rng.f64());
        let silence = (TIMEOUT, Err("no answer within 300ms".to_owned()));
        let Some(server) = self.server(at, id) else {
            return silence;
        };
        if self.ground.cut[at][server] || self.rng.f64() < self.ground.flaky[at] {
            silence
        } else if self.ground.up[server] {
            (soon, Ok(()))
        } else {
            (soon, Err("connection refused".to_owned()))
        }
    }

    /// The server behind a chain's endpoint.
    fn server(&mut self, at: usize, id: EndpointId) -> Option<usize> {
        let address = self.running(at).state.endpoint(id)?.address;
        self.plan
            .servers
            .iter()
            .position(|server| server.address == address)
    }
}
