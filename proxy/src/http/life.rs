//! Who may stay: the time limits of HTTP connections and streams of one worker, and the word that the proxy drains. In:
//! progress, the worker's sweep. Out: wake-ups for those whose time is over.
//!
//! There is no timer per request: a sweep looks whether anything moved since the one before.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

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
    waker: OnceCell<Waker>,
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
        for (_, life) in &*self.all.borrow() {
            life.sweep(now);
        }
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

#[cfg(test)]
mod tests;
