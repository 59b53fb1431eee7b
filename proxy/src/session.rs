//! Established connections of one worker. In: sessions as relays start and end, orders to close. Out: what is open,
//! which sessions are idle, and wake-ups for those that shall close.
//!
//! Everything here belongs to one thread.

pub mod end;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use switchyard_snapshot::ChainId;

use crate::access_log;
use crate::endpoint::{EndpointId, Place};
use crate::guest::Guest;
use crate::listener::{ChainLocal, ListenerLocal};
use crate::tls;

use end::{CloseReason, End};

/// How long a session that we close may take: to read what we still had for it, and to close its own end.
pub const LINGER: Duration = Duration::from_secs(5);

/// A session that is older than this is not a short one.
const SETTLES: Duration = Duration::from_secs(5);

/// An open session, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Unique in the process.
    pub id: u64,
    /// Its chain.
    pub chain: ChainId,
    /// Name of the listener it came to.
    pub listener: String,
    /// The client (behind a PROXY header: as the header says).
    pub client: SocketAddr,
    /// Name of the backend.
    pub backend: String,
    /// Address of the endpoint.
    pub endpoint: SocketAddr,
    /// Identity of the endpoint.
    pub endpoint_id: EndpointId,
    /// How long it has been open.
    pub age: Duration,
    /// How long no byte has moved, to about a second.
    pub idle: Duration,
    /// Bytes from the client to the backend.
    pub bytes_up: u64,
    /// Bytes from the backend to the client.
    pub bytes_down: u64,
    /// The client is here because another chain's proxy sent it.
    pub guest: Option<access_log::Guest>,
    /// The endpoint is another proxy, which serves the client.
    pub relayed: bool,
}

/// What the access log wants to know of a session besides; kept only where there is an access log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    pub(crate) name: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) connect: Duration,
    /// The client's TLS, where it ended here.
    pub(crate) tls: Option<tls::Opened>,
}

/// What the registry wants of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nudge {
    /// Nothing.
    None,
    /// The session is no longer new: set what is not worth a system call for a short one.
    Settle,
    /// Close with FIN: the end is already noted.
    Close,
    /// Close at once.
    Abort,
}

/// One established connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) chain: Rc<ChainLocal>,
    pub(crate) listener: Rc<ListenerLocal>,
    pub(crate) client: SocketAddr,
    pub(crate) place: Place,
    pub(crate) since: Instant,
    /// A load balancer's probe: in no count.
    pub(crate) monitor: bool,
    pub(crate) guest: Option<Rc<Guest>>,
    pub(crate) relayed: bool,
    pub(crate) details: Option<Box<Details>>,
    pub(crate) up: Cell<u64>,
    pub(crate) down: Cell<u64>,
    pub(crate) end: Cell<Option<End>>,
    nudge: Cell<Nudge>,
    settled: Cell<bool>,
    /// What of `up` and `down` is already in the chain's counts.
    counted: Cell<(u64, u64)>,
    active_at: Cell<Instant>,
    closing_since: Cell<Option<Instant>>,
    waker: OnceCell<Waker>,
}

/// What a session starts with.
pub(crate) struct Start {
    pub(crate) chain: Rc<ChainLocal>,
    pub(crate) listener: Rc<ListenerLocal>,
    pub(crate) client: SocketAddr,
    pub(crate) place: Place,
    pub(crate) since: Instant,
    pub(crate) monitor: bool,
    /// It came to a direct port.
    pub(crate) guest: Option<Rc<Guest>>,
    /// The endpoint is another proxy.
    pub(crate) relayed: bool,
    pub(crate) details: Option<Box<Details>>,
}

impl Session {
    pub(crate) fn new(id: u64, start: Start) -> Rc<Self> {
        let Start {
            chain,
            listener,
            client,
            place,
            since,
            monitor,
            guest,
            relayed,
            details,
        } = start;
        Rc::new(Self {
            id,
            chain,
            listener,
            client,
            place,
            since,
            monitor,
            guest,
            relayed,
            details,
            up: Cell::new(0),
            down: Cell::new(0),
            end: Cell::new(None),
            nudge: Cell::new(Nudge::None),
            settled: Cell::new(false),
            counted: Cell::new((0, 0)),
            active_at: Cell::new(since),
            closing_since: Cell::new(None),
            waker: OnceCell::new(),
        })
    }

    /// The relay's task, so that the registry can wake it. Only the first call counts: a task's waker stays the same.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    /// What the registry wants; asked once.
    pub(crate) fn take_nudge(&self) -> Nudge {
        self.nudge.replace(Nudge::None)
    }

    fn nudge(&self, nudge: Nudge) {
        self.nudge.set(nudge);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// Asks the relay to close with FIN. False: it is closing already.
    fn close(&self, end: End, now: Instant) -> bool {
        if self.closing_since.get().is_some() {
            return false;
        }
        self.closing_since.set(Some(now));
        self.end.set(Some(end));
        self.nudge(Nudge::Close);
        true
    }

    /// Moves what was not counted yet into the chain's counts.
    pub(crate) fn count_bytes(&self) {
        let (up, down) = (self.up.get(), self.down.get());
        let (counted_up, counted_down) = self.counted.replace((up, down));
        if !self.monitor {
            self.chain.counts.bytes_up.add(up - counted_up);
            self.chain.counts.bytes_down.add(down - counted_down);
        }
    }

    fn sweep(&self, now: Instant) {
        if self.counted.get() != (self.up.get(), self.down.get()) {
            self.count_bytes();
            self.active_at.set(now);
        }
        if let Some(since) = self.closing_since.get() {
            if now.duration_since(since) >= LINGER {
                self.nudge(Nudge::Abort);
            }
        } else if now.duration_since(self.active_at.get()) >= self.listener.idle_timeout() {
            self.close(End::Idle, now);
        } else if !self.settled.get() && now.duration_since(self.since) >= SETTLES {
            self.settled.set(true);
            self.nudge(Nudge::Settle);
        }
    }

    fn info(&self, now: Instant) -> SessionInfo {
        let moved = self.counted.get() != (self.up.get(), self.down.get());
        let endpoint = self.place.endpoint();
        SessionInfo {
            id: self.id,
            chain: self.chain.handle.id.clone(),
            listener: self.listener.name.clone(),
            client: self.client,
            backend: endpoint.backend.to_string(),
            endpoint: endpoint.address,
            endpoint_id: endpoint.id,
            age: now.duration_since(self.since),
            idle: if moved {
                Duration::ZERO
            } else {
                now.duration_since(self.active_at.get())
            },
            bytes_up: self.up.get(),
            bytes_down: self.down.get(),
            guest: self.guest.as_deref().and_then(Guest::record),
            relayed: self.relayed,
        }
    }

    /// Since when it has been idle; later is busier.
    fn idle_since(&self, now: Instant) -> Instant {
        if self.counted.get() == (self.up.get(), self.down.get()) {
            self.active_at.get()
        } else {
            now
        }
    }
}

/// A session that may be closed, for choosing the idlest among all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Idle {
    pub(crate) since: Instant,
    pub(crate) id: u64,
}

/// The sessions of one worker.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    slots: RefCell<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    sessions: Vec<Option<Rc<Session>>>,
    free: Vec<usize>,
}

/// Where a session stands in its registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot(usize);

impl Registry {
    pub(crate) fn insert(&self, session: Rc<Session>) -> Slot {
        let slots = &mut *self.slots.borrow_mut();
        if let Some(at) = slots.free.pop() {
            slots.sessions[at] = Some(session);
            Slot(at)
        } else {
            slots.sessions.push(Some(session));
            Slot(slots.sessions.len() - 1)
        }
    }

    pub(crate) fn remove(&self, slot: Slot) {
        let slots = &mut *self.slots.borrow_mut();
        if slots.sessions[slot.0].take().is_some() {
            slots.free.push(slot.0);
        }
    }

    /// Closes what is idle, aborts what lingers, counts bytes.
    pub(crate) fn sweep(&self, now: Instant) {
        for session in self.slots.borrow().sessions.iter().flatten() {
            session.sweep(now);
        }
    }

    /// Up to `at_most` sessions of `chain` on one of `endpoints` that began before a moment and are not closing yet, the
    /// idlest first.
    pub(crate) fn idlest(
        &self,
        chain: &ChainId,
        endpoints: &HashSet<EndpointId>,
        begun_before: Instant,
        at_most: usize,
    ) -> Vec<Idle> {
        self.idlest_where(begun_before, at_most, |session| {
            endpoints.contains(&session.place.endpoint().id) && session.chain.handle.id == *chain
        })
    }

    /// The same of guests of `chain` that came for one of `homes`, or have not told for which.
    pub(crate) fn idlest_guests(
        &self,
        chain: &ChainId,
        homes: &HashSet<ChainId>,
        begun_before: Instant,
        at_most: usize,
    ) -> Vec<Idle> {
        self.idlest_where(begun_before, at_most, |session| {
            let guest = session.guest.as_ref();
            session.chain.handle.id == *chain && guest.is_some_and(|guest| guest.returns_to(homes))
        })
    }

    fn idlest_where(
        &self,
        begun_before: Instant,
        at_most: usize,
        wanted: impl Fn(&Session) -> bool,
    ) -> Vec<Idle> {
        let now = Instant::now();
        let slots = self.slots.borrow();
        let matching = slots.sessions.iter().flatten().filter(|session| {
            session.closing_since.get().is_none() && session.since < begun_before && wanted(session)
        });
        let mut idle: Vec<Idle> = matching
            .map(|session| Idle {
                since: session.idle_since(now),
                id: session.id,
            })
            .collect();
        idle.sort_unstable();
        idle.truncate(at_most);
        idle
    }

    /// Closes the sessions named in `ids` with FIN; how many were there and not closing already.
    pub(crate) fn close(&self, ids: &HashSet<u64>, end: End) -> usize {
        self.close_where(end, |session| ids.contains(&session.id))
    }

    /// Closes every session with FIN.
    pub(crate) fn close_all(&self, why: CloseReason) -> usize {
        self.close_where(End::Moved(why), |_| true)
    }

    fn close_where(&self, end: End, wanted: impl Fn(&Session) -> bool) -> usize {
        let now = Instant::now();
        let slots = self.slots.borrow();
        let sessions = slots.sessions.iter().flatten();
        sessions
            .filter(|session| wanted(session) && session.close(end, now))
            .count()
    }

    /// Up to `at_most` sessions.
    pub(crate) fn infos(&self, at_most: usize) -> Vec<SessionInfo> {
        let now = Instant::now();
        let slots = self.slots.borrow();
        slots
            .sessions
            .iter()
            .flatten()
            .take(at_most)
            .map(|session| session.info(now))
            .collect()
    }
}
