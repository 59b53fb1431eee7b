//! One data worker: its thread, its runtime, its orders, its sweep.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use switchyard_snapshot::ChainId;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::chain::handle::ChainHandle;
use crate::guest;
use crate::http::{Lives, Pool};
use crate::listener::gate::Gates;
use crate::listener::{Acceptor, ChainLocal, ListenerLocal, LocalRoute, Stop};
use crate::pick::Rotation;
use crate::relay::buffers::Buffers;
use crate::route::Routing;
use crate::session::Registry;
use crate::tls;

use super::Shared;
use super::alarms::Alarms;
use super::command::{Change, Command, Count, Door};

/// How often sessions are looked over, unless a timeout wants it oftener.
const SWEEP: Duration = Duration::from_secs(1);
const SHORTEST_SWEEP: Duration = Duration::from_millis(50);

/// What everything on one worker's thread shares.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) sessions: Registry,
    pub(crate) buffers: Buffers,
    pub(crate) alarms: Alarms,
    /// Connections to endpoints that wait for requests.
    pub(crate) pool: Pool,
    /// HTTP connections and streams.
    pub(crate) lives: Lives,
    /// Who is here because another proxy sent it.
    pub(crate) guests: Rc<guest::Book>,
    connections: Cell<usize>,
    empty: Notify,
    next_session: Cell<u64>,
    next_source: Cell<usize>,
    random: Cell<u64>,
}

/// One connection that is being set up or relayed; the worker is not empty while there is one.
#[derive(Debug)]
pub(crate) struct Busy(pub(crate) Rc<Worker>);

impl Drop for Busy {
    fn drop(&mut self) {
        let left = self.0.connections.get() - 1;
        self.0.connections.set(left);
        if left == 0 {
            self.0.empty.notify_waiters();
        }
    }
}

impl Worker {
    fn new(index: usize, shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            index,
            shared,
            sessions: Registry::default(),
            buffers: Buffers::default(),
            alarms: Alarms::default(),
            pool: Pool::default(),
            lives: Lives::default(),
            guests: Rc::default(),
            connections: Cell::new(0),
            empty: Notify::new(),
            next_session: Cell::new(0),
            next_source: Cell::new(index),
            random: Cell::new(seed(index)),
        })
    }

    /// Counts a connection for as long as the returned value lives.
    pub(crate) fn begin(self: &Rc<Self>) -> Busy {
        self.connections.set(self.connections.get() + 1);
        Busy(Rc::clone(self))
    }

    /// Never the same in one process: the worker's number stands above the count.
    pub(crate) fn session_id(&self) -> u64 {
        let id = self.next_session.get();
        self.next_session.set(id + 1);
        ((self.index as u64) << 48) | id
    }

    /// The next source address of the family of `to`, in turn; none: the kernel chooses.
    pub(crate) fn source_for(&self, to: IpAddr, sources: &[IpAddr]) -> Option<IpAddr> {
        if sources.is_empty() {
            return None;
        }
        let turn = self.next_source.get();
        self.next_source.set(turn.wrapping_add(1));
        let fitting = || sources.iter().filter(|source| source.is_ipv4() == to.is_ipv4());
        let count = fitting().count();
        fitting().nth(turn.checked_rem(count)?).copied()
    }

    /// 64 random bits, good enough to spread load (splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number
    /// generators").
    pub(crate) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// Different in every process and worker.
fn seed(index: usize) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(index)
}

/// Starts a worker's thread; returns once its runtime stands.
pub(super) fn start(
    index: usize,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Command>,
) -> io::Result<JoinHandle<()>> {
    let (tell, told) = std_mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(format!("data-{index}"))
        .spawn(move || {
            match Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build_local(LocalOptions::default())
            {
                Ok(runtime) => {
                    let _ = tell.send(Ok(()));
                    runtime.block_on(Local::new(Worker::new(index, shared)).run(orders));
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            }
        })?;
    told.recv()
        .map_err(|_| io::Error::other("a data worker died while it started"))??;
    Ok(thread)
}

/// What only the worker's own order loop touches.
struct Local {
    worker: Rc<Worker>,
    sockets: HashMap<Door, Socket>,
    listeners: HashMap<String, Rc<ListenerLocal>>,
    chains: HashMap<ChainId, Rc<ChainLocal>>,
    sweep: Duration,
}

/// Accept loops that are about to end.
type Closing = Vec<tokio::task::JoinHandle<()>>;

/// One accept loop.
struct Socket {
    owner: Rc<RefCell<Rc<ListenerLocal>>>,
    stop: Rc<Stop>,
    task: tokio::task::JoinHandle<()>,
}

impl Local {
    fn new(worker: Rc<Worker>) -> Self {
        Self {
            worker,
            sockets: HashMap::new(),
            listeners: HashMap::new(),
            chains: HashMap::new(),
            sweep: SWEEP,
        }
    }

    /// Follows orders until nobody can give any more.
    async fn run(mut self, mut orders: mpsc::Receiver<Command>) {
        let worker = Rc::clone(&self.worker);
        let mut next_sweep = Instant::now() + self.sweep;
        loop {
            let wake = worker
                .alarms
                .next()
                .map_or(next_sweep, |alarm| alarm.min(next_sweep));
            tokio::select! {
                command = orders.recv() => match command {
                    Some(command) => self.follow(command),
                    None => return,
                },
                () = worker.alarms.sooner() => {}
                () = tokio::time::sleep_until(wake.into()) => {
                    let now = Instant::now();
                    worker.alarms.ring(now);
                    if next_sweep <= now {
                        worker.sessions.sweep(now);
                        worker.lives.sweep(now);
                        worker.pool.sweep(now);
                        next_sweep = now + self.sweep;
                    }
                }
            }
            next_sweep = next_sweep.min(Instant::now() + self.sweep);
        }
    }

    fn follow(&mut self, command: Command) {
        let sessions = &self.worker.sessions;
        // Who asked may have gone: then nobody misses the answer.
        match command {
            Command::Apply {
                routing,
                change,
                tell,
            } => {
                let closing = self.apply(&routing, change);
                tell_once_closed(closing, tell);
            }
            Command::Idlest {
                chain,
                endpoints,
                begun_before,
                at_most,
                reply,
            } => {
                let _ = reply.send(sessions.idlest(&chain, &endpoints, begun_before, at_most));
            }
            Command::IdlestGuests {
                chain,
                homes,
                begun_before,
                at_most,
                reply,
            } => {
                let mut idle = sessions.idlest_guests(&chain, &homes, begun_before, at_most);
                let (worker, lives) = (self.worker.index, &self.worker.lives);
                idle.append(&mut lives.idlest_guests(worker, &chain, &homes, begun_before, at_most));
                let _ = reply.send(idle);
            }
            Command::Close { ids, end, reply } => {
                let called = self.worker.lives.call(self.worker.index, &ids);
                let _ = reply.send(sessions.close(&ids, end) + called);
            }
            Command::CloseAll { why, reply } => {
                let _ = reply.send(sessions.close_all(why));
            }
            Command::Sessions { at_most, reply } => {
                let _ = reply.send(sessions.infos(at_most));
            }
            Command::Guests { reply } => {
                let _ = reply.send(self.worker.guests.count());
            }
            Command::Leave { at_once, reply } => {
                self.worker.lives.leave();
                let ended = if at_once { self.worker.lives.end_all() } else { 0 };
                let _ = reply.send(ended);
            }
            Command::StopListening { doors, reply } => {
                let closing = self.close(&doors);
                tell_once_closed(closing, reply);
            }
            Command::WhenEmpty { reply } => self.when_empty(reply),
            Command::Count { reply } => {
                let _ = reply.send(Count {
                    connections: self.worker.connections.get(),
                });
            }
        }
    }

    fn when_empty(&self, mut reply: oneshot::Sender<()>) {
        let worker = Rc::clone(&self.worker);
        tokio::task::spawn_local(async move {
            loop {
                let empty = worker.empty.notified();
                tokio::pin!(empty);
                empty.as_mut().enable();
                if worker.connections.get() == 0 {
                    let _ = reply.send(());
                    return;
                }
                tokio::select! {
                    () = empty => {}
                    () = reply.closed() => return,
                }
            }
        });
    }

    fn apply(&mut self, routing: &Arc<Routing>, change: Change) -> Closing {
        let Change {
            open,
            close,
            owners,
            gates,
        } = change;
        let closing = self.close(&close);
        self.set_routes(routing, &gates);
        for (at, socket) in open {
            let owner = owners.get(&at).and_then(|name| self.listeners.get(name));
            if let Some(owner) = owner.cloned()
                && let Err(error) = self.open(at, socket, owner)
            {
                tracing::error!(address = %at.at, %error, "a data worker cannot watch its listening socket");
            }
        }
        for (at, socket) in &self.sockets {
            if let Some(listener) = owners.get(at).and_then(|name| self.listeners.get(name)) {
                let before = socket.owner.replace(Rc::clone(listener));
                before.gate.reconsider();
            }
        }
        closing
    }

    fn set_routes(&mut self, routing: &Arc<Routing>, gates: &HashMap<String, Gates>) {
        let mut chains = HashMap::new();
        let mut listeners = HashMap::new();
        for (index, route) in routing.listeners.iter().enumerate() {
            let of_route = route.chains.iter().map(|handle| {
                let chain = self.chain(handle);
                chains.insert(handle.id.clone(), Rc::clone(&chain));
                chain
            });
            let local = LocalRoute::new(Arc::clone(routing), index, of_route.collect());
            let name = &route.listener.name;
            let listener = if let Some(known) = self.listeners.get(name) {
                known.set_route(local);
                Rc::clone(known)
            } else {
                let counts = self.book().listener(name);
                ListenerLocal::new(counts, gates.get(name).cloned().unwrap_or_default(), local)
            };
            listeners.insert(name.clone(), listener);
        }
        self.chains = chains;
        self.listeners = listeners;
        let shortest = routing
            .listeners
            .iter()
            .map(|route| route.listener.idle_timeout.min(route.listener.handshake_timeout) / 4)
            .min();
        self.sweep = shortest.unwrap_or(SWEEP).clamp(SHORTEST_SWEEP, SWEEP);
    }

    fn chain(&self, handle: &Arc<ChainHandle>) -> Rc<ChainLocal> {
        match self.chains.get(&handle.id) {
            Some(known) if Arc::ptr_eq(&known.handle, handle) => Rc::clone(known),
            _ => Rc::new(ChainLocal {
                handle: Arc::clone(handle),
                counts: self.book().chain(&handle.id),
                rotation: RefCell::new(Rotation::new(self.worker.index)),
                tls: tls::Clients::default(),
                freed: Notify::new(),
            }),
        }
    }

    fn open(&mut self, at: Door, socket: std::net::TcpListener, owner: Rc<ListenerLocal>) -> io::Result<()> {
        let socket = TcpListener::from_std(socket)?;
        let owner = Rc::new(RefCell::new(owner));
        let stop = Rc::<Stop>::default();
        let worker = Rc::clone(&self.worker);
        let acceptor = Acceptor {
            worker,
            socket,
            direct: at.direct,
            owner: Rc::clone(&owner),
            stop: Rc::clone(&stop),
        };
        let task = tokio::task::spawn_local(acceptor.run());
        self.sockets.insert(at, Socket { owner, stop, task });
        Ok(())
    }

    fn close(&mut self, doors: &[Door]) -> Closing {
        let closing = doors.iter().filter_map(|at| self.sockets.remove(at));
        let closing = closing.map(|socket| {
            socket.stop.stop();
            socket.task
        });
        closing.collect()
    }

    fn book(&self) -> std::sync::MutexGuard<'_, crate::counters::Book> {
        self.worker
            .shared
            .book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells it when they are closed, which takes a moment: whoever is on the way in is served. Nothing else waits for that.
fn tell_once_closed(closing: Closing, tell: oneshot::Sender<()>) {
    if closing.is_empty() {
        let _ = tell.send(());
        return;
    }
    tokio::task::spawn_local(async move {
        for socket in closing {
            let _ = socket.await;
        }
        let _ = tell.send(());
    });
}
