//! Who may stay: the time limits of HTTP connections and streams of one worker, and the word that the proxy drains. In:
//! progress, the worker's sweep. Out: wake-ups for those whose time is over.
//!
//! There is no timer per request: a sweep looks whether anything moved since the one before.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

use switchyard_snapshot::ChainId;

use crate::dialect;
use crate::guest::Guest;
use crate::listener::ChainLocal;
use crate::session::Idle;

/// What a connection or stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A next request, or the rest of a message; limited by the idle timeout since something moved.
    Open,
    /// The rest of a head; limited by the handshake timeout since its first byte.
    Head,
}

/// One connection, or one stream of an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Life {
    phase: Cell<Phase>,
    idle_timeout: Cell<Duration>,
    handshake_timeout: Cell<Duration>,
    progress: Cell<u64>,
    seen: Cell<u64>,
    since: Cell<Instant>,
    over: Cell<bool>,
    begun: Instant,
    /// The chain that was asked for last on this connection.
    leads_to: RefCell<Weak<ChainLocal>>,
    /// Its client is here because another chain's proxy sent it.
    guest: RefCell<Option<Weak<Guest>>>,
    /// A guest whose turn to go home has come.
    called: Cell<bool>,
    /// Never the same twice on one worker.
    number: u64,
    /// It ends once nothing is under way on it.
    leaves: Cell<bool>,
    /// It has stayed for too long: it ends, whatever is under way.
    expelled: Cell<bool>,
    waker: OnceCell<Waker>,
}

/// What becomes of a connection as its chain goes elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Stay,
    /// It ends once nothing is under way.
    Leave,
    /// It ends at once; so many each second.
    Expel(u32),
}

/// Its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Over;

impl Life {
    /// Something moved.
    pub(crate) fn moves(&self) {
        self.progress.set(self.progress.get().wrapping_add(1));
    }

    /// Changes what is waited for; the time begins anew.
    pub(crate) fn enter(&self, phase: Phase) {
        if self.phase.replace(phase) != phase {
            self.since.set(Instant::now());
            self.over.set(false);
        }
    }

    /// Another chance after the time was over: to say so to the peer.
    pub(crate) fn extend(&self) {
        self.since.set(Instant::now());
        self.over.set(false);
    }

    /// Limits that hold from now on.
    pub(crate) fn limit(&self, idle: Duration, handshake: Duration) {
        self.idle_timeout.set(idle);
        self.handshake_timeout.set(handshake);
    }

    /// A request on this connection is for `chain`: as long as it is the last, the connection ends when that chain's clients
    /// are to be served elsewhere; a `guest` is called when it shall go home.
    pub(crate) fn leads_to(&self, chain: &Rc<ChainLocal>, guest: Option<&Rc<Guest>>) {
        let known = &mut *self.leads_to.borrow_mut();
        if !std::ptr::eq(known.as_ptr(), Rc::as_ptr(chain)) {
            *known = Rc::downgrade(chain);
            *self.guest.borrow_mut() = guest.map(Rc::downgrade);
        }
    }

    /// Whether it is a guest whose turn to go home has come.
    pub(crate) fn is_called(&self) -> bool {
        self.called.get()
    }

    /// Its turn to go home has come. Who can be told so is told with its next request; others leave.
    fn call(&self) {
        self.called.set(true);
        let guest = self.guest.borrow().as_ref().and_then(Weak::upgrade);
        let chain = self.leads_to.borrow().upgrade();
        let listens =
            chain.is_some_and(|chain| dialect::http_fits(&chain.handle.view().chain.redirect.dialects));
        if !listens || guest.is_none_or(|guest| guest.is_relayed()) {
            self.leave();
        }
    }

    /// Whether it is a guest of `chain` that began before and whose turn may come now.
    fn may_go(&self, chain: &ChainId, homes: &HashSet<ChainId>, begun_before: Instant) -> bool {
        let guest = self.guest.borrow().as_ref().and_then(Weak::upgrade);
        let leads_there = || {
            let known = self.leads_to.borrow().upgrade();
            known.is_some_and(|known| known.handle.id == *chain)
        };
        guest.is_some_and(|guest| guest.returns_to(homes))
            && self.begun < begun_before
            && !(self.called.get() || self.leaves.get())
            && leads_there()
    }

    /// The connection ends once nothing is under way on it.
    pub(crate) fn leave(&self) {
        if !self.leaves.replace(true) {
            self.wake();
        }
    }

    /// Whether it ends.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaves.get()
    }

    /// Whether it ends with what is under way.
    pub(crate) fn is_expelled(&self) -> bool {
        self.expelled.get()
    }

    /// What `future` gives, unless the time is over first.
    pub(crate) async fn unless_over<T>(&self, future: impl Future<Output = T>) -> Result<T, Over> {
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| {
            self.waker.get_or_init(|| cx.waker().clone());
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.over.get() {
                Poll::Ready(Err(Over))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    fn sweep(&self, now: Instant) {
        let limit = match self.phase.get() {
            Phase::Head => self.handshake_timeout.get(),
            Phase::Open => {
                let progress = self.progress.get();
                if self.seen.replace(progress) != progress {
                    self.since.set(now);
                }
                self.idle_timeout.get()
            }
        };
        if now.duration_since(self.since.get()) >= limit {
            self.end();
        }
    }

    /// Where nobody serves here, the client would be told to go elsewhere with its next request: better it finds the way by
    /// itself, now.
    fn course(&self, now: Instant) -> Course {
        let Some(chain) = self.leads_to.borrow().upgrade() else {
            return Course::Stay;
        };
        let is_guest = self.guest.borrow().is_some();
        let view = chain.handle.view();
        let config = &view.chain;
        match (&view.detour, &view.returning) {
            (Some(_), _) if !is_guest => Course::Leave,
            (None, Some(returning)) if is_guest => {
                let since = |moment| now.saturating_duration_since(moment);
                let over = since(returning.since) >= config.redirect.grace;
                if over && since(self.begun) >= config.redirect.min_stay {
                    Course::Expel(config.failover.pace)
                } else {
                    Course::Stay
                }
            }
            _ => Course::Stay,
        }
    }

    fn expel(&self) {
        self.expelled.set(true);
        self.end();
    }

    fn end(&self) {
        self.over.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}

/// Everybody on one worker.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    all: RefCell<Slab<Rc<Life>>>,
    leaving: Cell<bool>,
    swept: Cell<Option<Instant>>,
    joined: Cell<u64>,
}

/// A life's place among the others.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    lives: &'a Lives,
    key: usize,
    pub(crate) life: Rc<Life>,
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.lives.all.borrow_mut().remove(self.key);
    }
}

impl Lives {
    /// A new life that waits in `phase`. It is woken in the task that first waits on it.
    pub(crate) fn join(&self, phase: Phase, idle: Duration, handshake: Duration) -> Member<'_> {
        let life = Rc::new(Life {
            phase: Cell::new(phase),
            idle_timeout: Cell::new(idle),
            handshake_timeout: Cell::new(handshake),
            progress: Cell::new(0),
            seen: Cell::new(0),
            since: Cell::new(Instant::now()),
            over: Cell::new(false),
            begun: Instant::now(),
            leads_to: RefCell::default(),
            guest: RefCell::default(),
            called: Cell::new(false),
            number: self.joined.replace(self.joined.get() + 1),
            leaves: Cell::new(false),
            expelled: Cell::new(false),
            waker: OnceCell::new(),
        });
        let key = self.all.borrow_mut().insert(Rc::clone(&life));
        Member {
            lives: self,
            key,
            life,
        }
    }

    /// Looks at everybody.
    pub(crate) fn sweep(&self, now: Instant) {
        let before = self.swept.replace(Some(now)).unwrap_or(now);
        let elapsed = now.saturating_duration_since(before).as_secs_f64();
        let mut expelled = 0;
        for (_, life) in &*self.all.borrow() {
            life.sweep(now);
            let course = life.course(now);
            if course != Course::Stay {
                life.leave();
            }
            if let Course::Expel(pace) = course
                && !life.is_expelled()
                && f64::from(expelled + 1) <= (f64::from(pace) * elapsed).max(1.0)
            {
                expelled += 1;
                life.expel();
            }
        }
    }

    /// Up to `at_most` guests of `chain` that began before a moment and came for one of `homes`, or have not told for which;
    /// the idlest first. `worker` is the number of the worker whose lives these are.
    pub(crate) fn idlest_guests(
        &self,
        worker: usize,
        chain: &ChainId,
        homes: &HashSet<ChainId>,
        begun_before: Instant,
        at_most: usize,
    ) -> Vec<Idle> {
        let now = Instant::now();
        let all = self.all.borrow();
        let may_go = all
            .iter()
            .filter(|(_, life)| life.may_go(chain, homes, begun_before));
        let mut idle: Vec<Idle> = may_go
            .map(|(_, life)| Idle {
                since: if life.progress == life.seen {
                    life.since.get()
                } else {
                    now
                },
                id: id_of(worker, life),
            })
            .collect();
        idle.sort_unstable();
        idle.truncate(at_most);
        idle
    }

    /// The turn of those named in `ids` has come; how many were there.
    pub(crate) fn call(&self, worker: usize, ids: &HashSet<u64>) -> usize {
        if !ids.iter().any(|id| id & OURS != 0) {
            return 0;
        }
        let all = self.all.borrow();
        let named = all
            .iter()
            .filter(|(_, life)| !life.is_called() && ids.contains(&id_of(worker, life)));
        named.map(|(_, life)| life.call()).count()
    }

    /// From now on nobody is served longer than it takes to end what is under way.
    pub(crate) fn leave(&self) {
        self.leaving.set(true);
        for (_, life) in &*self.all.borrow() {
            life.wake();
        }
    }

    /// Whether the proxy drains.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Ends everybody; how many.
    pub(crate) fn end_all(&self) -> usize {
        let all = self.all.borrow();
        for (_, life) in &*all {
            life.end();
        }
        all.len()
    }
}

/// What tells a life's id from a session's.
const OURS: u64 = 1 << 63;

/// Never the same in one process.
fn id_of(worker: usize, life: &Life) -> u64 {
    OURS | (worker as u64) << 48 | life.number
}

#[cfg(test)]
mod tests;
