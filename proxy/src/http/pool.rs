//! Connections to endpoints that wait for their next request, of one worker. In: connections that have done their work. Out:
//! one that is still good, for an endpoint that the chain's view names: who left the view is not asked for any more.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::conn::Conn;
use super::link::{Link, Shared};
use crate::endpoint::EndpointId;
use crate::listener::gate::Pass;

/// A connection that waited for so long is closed: many servers close theirs soon after, and a request that crosses such a
/// close is lost or repeated.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
/// Connections that wait, per endpoint.
const MOST_IDLE: usize = 1024;
/// Streams on one HTTP/2 connection, whatever more the server allows: beyond it another connection spreads the load.
pub(super) const MOST_STREAMS: usize = 100;

/// An HTTP/1.1 connection and the descriptor it occupies.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) conn: Rc<Conn>,
    pub(super) _pass: Pass,
}

#[derive(Debug)]
struct Idle {
    kept: Kept,
    since: Instant,
}

#[derive(Debug)]
struct Multiplexed {
    shared: Rc<Shared>,
    used: Instant,
}

/// The connections of one worker that no request is using, and the shared ones.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    h1: RefCell<HashMap<EndpointId, Vec<Idle>>>,
    h2: RefCell<HashMap<EndpointId, Vec<Multiplexed>>>,
    opening: RefCell<HashMap<EndpointId, Rc<Notify>>>,
}

/// A shared connection that is being opened. Whoever comes meanwhile waits for it: many requests at once shall not open as
/// many connections.
#[derive(Debug)]
pub(super) struct Opening<'a> {
    pool: &'a Pool,
    endpoint: EndpointId,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(done) = self.pool.opening.borrow_mut().remove(&self.endpoint) {
            done.notify_waiters();
        }
    }
}

/// A connection from the pool.
#[derive(Debug)]
pub(super) enum Taken {
    H1(Kept),
    H2(Rc<Shared>),
}

impl Taken {
    pub(super) fn link(&self) -> Link {
        match self {
            Self::H1(kept) => Link::H1(Rc::clone(&kept.conn)),
            Self::H2(shared) => Link::H2(Rc::clone(shared)),
        }
    }
}

impl Pool {
    /// The connection to `endpoint` that was used last.
    pub(super) fn take(&self, endpoint: EndpointId, http2: bool) -> Option<Taken> {
        if http2 {
            let all = &mut *self.h2.borrow_mut();
            let links = all.get_mut(&endpoint)?;
            links.retain(|link| !link.shared.closed.get());
            let room = |link: &&mut Multiplexed| {
                let most = link
                    .shared
                    .send
                    .borrow()
                    .current_max_send_streams()
                    .min(MOST_STREAMS);
                link.shared.streams.get() < most
            };
            let link = links.iter_mut().find(room)?;
            link.used = Instant::now();
            return Some(Taken::H2(Rc::clone(&link.shared)));
        }
        let all = &mut *self.h1.borrow_mut();
        let idle = all.get_mut(&endpoint)?;
        loop {
            let Idle { kept, .. } = idle.pop()?;
            if kept.conn.is_quiet() {
                return Some(Taken::H1(kept));
            }
        }
    }

    /// Keeps a connection that has done its work.
    pub(super) fn keep(&self, endpoint: EndpointId, kept: Kept) {
        kept.conn.rest();
        let all = &mut *self.h1.borrow_mut();
        let idle = all.entry(endpoint).or_default();
        if idle.len() < MOST_IDLE {
            idle.push(Idle {
                kept,
                since: Instant::now(),
            });
        }
    }

    /// Shares an HTTP/2 connection.
    pub(super) fn share(&self, endpoint: EndpointId, shared: Rc<Shared>) {
        let all = &mut *self.h2.borrow_mut();
        all.entry(endpoint).or_default().push(Multiplexed {
            shared,
            used: Instant::now(),
        });
    }

    /// Told when the shared connection to `endpoint` that is being opened now stands, or failed; none: there is none such.
    pub(super) fn being_opened(&self, endpoint: EndpointId) -> Option<Rc<Notify>> {
        self.opening.borrow().get(&endpoint).cloned()
    }

    /// A shared connection to `endpoint` is being opened for as long as the result lives.
    pub(super) fn opens(&self, endpoint: EndpointId) -> Opening<'_> {
        self.opening.borrow_mut().insert(endpoint, Rc::default());
        Opening { pool: self, endpoint }
    }

    /// Forgets everything that leads to `endpoint`: one connection there proved dead.
    pub(super) fn forget(&self, endpoint: EndpointId) {
        self.h1.borrow_mut().remove(&endpoint);
    }

    /// Closes what has waited for too long, and what the peer has closed.
    pub(crate) fn sweep(&self, now: Instant) {
        self.h1.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| now.duration_since(idle.since) < LONGEST_IDLE && idle.kept.conn.is_quiet());
            !idle.is_empty()
        });
        self.h2.borrow_mut().retain(|_, links| {
            links.retain(|link| {
                let busy = link.shared.streams.get() > 0;
                !link.shared.closed.get() && (busy || now.duration_since(link.used) < LONGEST_IDLE)
            });
            !links.is_empty()
        });
    }

    /// Closes everything that waits: somebody else needs the descriptors.
    pub(super) fn clear_idle(&self) {
        self.h1.borrow_mut().clear();
    }
}
