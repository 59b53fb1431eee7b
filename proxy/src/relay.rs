//! The relay: both directions of an established session in one small future. In: two connected sockets, and what the
//! client has said already. Out: bytes carried, an end with a reason.
//!
//! - The end of a stream is passed on (half close); the other direction goes on until it ends too, or is idle.
//! - A reset is passed on as a reset, so that nobody takes a torn stream for a complete one. What the side that broke had
//!   said before is delivered first, as it would have been without us.
//! - A session that we close gets what still waits for it, then FIN on both sides, then at most
//!   [`LINGER`](crate::session::LINGER) to close its own: a close with unread bytes would be a reset.

pub(crate) mod buffers;
mod pipe;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::access_log::{RELAY, Record};
use crate::dialect::{self, Place, Watch};
use crate::guest::Guest;
use crate::listener::{Passes, began};
use crate::proxy_protocol;
use crate::session::end::{CloseReason, End};
use crate::session::{Nudge, Session, Slot, Start};
use crate::socket;
use crate::tls;
use crate::wire::Wire;
use crate::worker::thread::Busy;

use buffers::Waiting;
use pipe::{Ends, Flow, Pipe, discard};

/// Bytes that one direction may ask for in one go, before others get their turn.
const ALLOWANCE: usize = 256 * 1024;

/// What goes to the backend before anything is relayed.
pub(crate) struct First {
    pub(crate) bytes: Vec<u8>,
    /// What goes to the client before anything is relayed.
    pub(crate) down: Vec<u8>,
    /// Whether a PROXY header that comes now is forbidden.
    pub(crate) forbid_header: bool,
}

/// The two sides.
pub(crate) struct Sockets {
    pub(crate) client: Wire,
    pub(crate) backend: Wire,
}

/// An established session under way.
pub(crate) struct Relay {
    sockets: Sockets,
    up: Pipe,
    down: Pipe,
    session: Rc<Session>,
    slot: Slot,
    busy: Busy,
    _passes: Passes,
    /// We are closing it: nothing is carried any more.
    closing: bool,
    /// What its protocol needs to be told where to go before we close it.
    watch: Option<Box<dyn Watch>>,
}

impl Relay {
    /// Registers the session.
    pub(crate) fn new(busy: Busy, passes: Passes, start: Start, sockets: Sockets, first: First) -> Self {
        let worker = &busy.0;
        let session = Session::new(worker.session_id(), start);
        if !session.monitor {
            session.chain.counts.sessions.add(1);
        }
        let slot = worker.sessions.insert(Rc::clone(&session));
        let First {
            bytes,
            down,
            forbid_header,
        } = first;
        let watch = watch(&session, &bytes, &down);
        let down = (!down.is_empty()).then(|| Waiting::new(down));
        let bytes = (!bytes.is_empty()).then(|| Waiting::new(bytes));
        Self {
            sockets,
            up: Pipe::up(bytes, forbid_header),
            down: Pipe::down(down),
            session,
            slot,
            busy,
            _passes: passes,
            closing: false,
            watch,
        }
    }

    /// Carries what there is to carry; how it ended, if it did.
    fn carry(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Sockets { client, backend } = &mut self.sockets;
        let buffers = &self.busy.0.buffers;
        let mut allowance = ALLOWANCE;
        let mut watch = self.watch.as_mut().map(|watch| |bytes: &[u8]| watch.up(bytes));
        let ends = Ends {
            from: client,
            to: backend,
            buffers,
            moved: &self.session.up,
            watch: watch.as_mut().map(|watch| watch as _),
        };
        let up = self.up.pump(cx, ends, &mut allowance, self.down.is_done());
        if up == Flow::SourceBroke {
            socket::reset_on_close(backend.tcp());
            return Poll::Ready(End::ClientReset);
        }
        if up == Flow::Forbidden {
            socket::reset_on_close(client.tcp());
            socket::reset_on_close(backend.tcp());
            return Poll::Ready(End::UntrustedHeader);
        }
        self.note_first_end(End::ClientClosed);
        let Sockets { client, backend } = &mut self.sockets;
        // A backend that broke has nothing to add to what it said: all of that is delivered now, and what follows is a
        // reset, not an end.
        let broken = up == Flow::TargetBroke;
        let mut allowance = if broken { usize::MAX } else { ALLOWANCE };
        let mut watch = self.watch.as_mut().map(|watch| |bytes: &[u8]| watch.down(bytes));
        let ends = Ends {
            from: backend,
            to: client,
            buffers,
            moved: &self.session.down,
            watch: watch.as_mut().map(|watch| watch as _),
        };
        let down = self
            .down
            .pump(cx, ends, &mut allowance, broken || self.up.is_done());
        if down == Flow::TargetBroke {
            socket::reset_on_close(backend.tcp());
            return Poll::Ready(End::ClientReset);
        }
        if down == Flow::SourceBroke || broken {
            socket::reset_on_close(client.tcp());
            return Poll::Ready(End::BackendReset);
        }
        self.note_first_end(End::BackendClosed);
        if self.watch.as_ref().is_some_and(|watch| watch.is_over()) {
            self.watch = None;
        }
        if self.up.is_done() && self.down.is_done() {
            return Poll::Ready(self.session.end.get().unwrap_or(End::BackendClosed));
        }
        if up == Flow::Yielded || down == Flow::Yielded {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Who ends first is who ended the session, should it end in order.
    fn note_first_end(&self, end: End) {
        let ended = match end {
            End::ClientClosed => self.up.has_ended(),
            _ => self.down.has_ended(),
        };
        if ended && self.session.end.get().is_none() {
            self.session.end.set(Some(end));
        }
    }

    /// Delivers what waits, says FIN, reads until both sides have said it too.
    fn close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Sockets { client, backend } = &mut self.sockets;
        let buffers = &self.busy.0.buffers;
        let mut allowance = 0;
        let ends = Ends {
            from: client,
            to: backend,
            buffers,
            moved: &self.session.up,
            watch: None,
        };
        let up = self.up.pump(cx, ends, &mut allowance, false);
        let ends = Ends {
            from: backend,
            to: client,
            buffers,
            moved: &self.session.down,
            watch: None,
        };
        let down = self.down.pump(cx, ends, &mut allowance, false);
        // Both are asked, so that both wake us.
        let client_ended = discard(cx, client, buffers);
        let backend_ended = discard(cx, backend, buffers);
        let settled = |flow, other_ended| flow == Flow::Done && other_ended || flow == Flow::TargetBroke;
        if settled(up, backend_ended) && settled(down, client_ended) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn follow(&mut self, nudge: Nudge) -> Poll<()> {
        match nudge {
            Nudge::None => {}
            // It only fails on a socket that is broken, which the next read will say too.
            Nudge::Settle => drop(socket::settle(self.sockets.backend.tcp())),
            Nudge::Close => {
                self.closing = true;
                self.say_farewell();
                self.up.end();
                self.down.end();
            }
            Nudge::Abort => return Poll::Ready(()),
        }
        Poll::Pending
    }

    /// Tells a client that we close where it is served now, if its protocol can say so and it stands where that may be said.
    fn say_farewell(&mut self) {
        let Some(watch) = self.watch.take() else { return };
        let moved = matches!(self.session.end.get(), Some(End::Moved(_)));
        if !moved || self.down.has_ended() {
            return;
        }
        let to = elsewhere(&self.session, self.sockets.client.is_tls());
        if let Some(bytes) = to.and_then(|to| watch.farewell(&to)) {
            self.down.say(bytes);
        }
    }

    fn log(&self, end: End) {
        let Some(log) = &self.busy.0.shared.access_log else {
            return;
        };
        let session = &self.session;
        let lasted = session.since.elapsed();
        let endpoint = session.place.endpoint();
        let details = session.details.as_deref().cloned().unwrap_or_default();
        log.write(&Record {
            start: began(lasted),
            duration_ms: lasted.as_millis() as u64,
            client: session.client,
            listener: session.listener.name.clone(),
            chain: Some(session.chain.handle.id.to_string()),
            backend: Some(endpoint.backend.to_string()),
            endpoint: Some(endpoint.address),
            via: session.relayed.then_some(RELAY),
            guest: session.guest.as_deref().and_then(Guest::record),
            name: details.name,
            tls: details.tls.map(tls::Opened::record),
            http: None,
            bytes_up: session.up.get(),
            bytes_down: session.down.get(),
            attempts: details.attempts,
            connect_ms: Some(details.connect.as_millis() as u64),
            end: end.word(),
            fault: end.fault(),
            why: None,
        });
    }
}

/// What watches a session that begins with these bytes; none: nothing could be said to its client.
fn watch(session: &Session, up: &[u8], down: &[u8]) -> Option<Box<dyn Watch>> {
    let view = session.chain.handle.view();
    let mut watch = dialect::watch(&view.chain.redirect.dialects)?;
    // What goes before the client's own words is ours.
    let header = proxy_protocol::decode(up).ok().flatten();
    watch.up(&up[header.map_or(0, |(_, length)| length)..]);
    watch.down(down);
    Some(watch)
}

/// Where the client of a session that we close is served now; none: that is not known.
fn elsewhere(session: &Session, secure: bool) -> Option<Place> {
    let view = session.chain.handle.view();
    match (&session.guest, &view.returning, &view.detour) {
        (Some(guest), Some(returning), _) => dialect::home(returning, guest.home.as_ref()),
        (None, _, Some(detour)) => {
            let route = session.listener.route();
            let certificates = route.route().tls.as_deref().filter(|_| secure);
            let covers = |host: &str| certificates.is_none_or(|server| server.covers(host));
            let (_, place) = dialect::target(detour, session.client.ip(), covers)?;
            Some(place)
        }
        _ => None,
    }
}

impl Future for Relay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let relay = self.get_mut();
        relay.session.set_waker(cx.waker());
        let nudge = relay.session.take_nudge();
        if relay.follow(nudge).is_ready() {
            return Poll::Ready(());
        }
        if relay.closing {
            return relay.close(cx);
        }
        match relay.carry(cx) {
            Poll::Ready(end) => {
                relay.session.end.set(Some(end));
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Relay {
    /// Also when the worker ends with the relay still there: every session is counted and logged exactly once.
    fn drop(&mut self) {
        let session = &self.session;
        let end = session.end.get().unwrap_or(End::Moved(CloseReason::Draining));
        session.count_bytes();
        if !session.monitor {
            session.chain.counts.ended[end.index()].add(1);
            session.listener.counts.ended.add(1);
            self.log(end);
        }
        if let Some(rules) = &session.listener.route().routing().affinity {
            let table = &session.chain.handle.affinity;
            table.released(
                rules,
                session.client.ip(),
                session.place.endpoint().id,
                Instant::now(),
            );
        }
        self.busy.0.sessions.remove(self.slot);
        session.chain.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
