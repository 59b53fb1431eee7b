//! HTTP at the front. In: a client's stream, with TLS already opened, whose first bytes say HTTP. Out: each request
//! forwarded to an endpoint of its chain, or answered here.
//!
//! ```text
//!  front1, front2 ─► request ─► exchange ─► reach ─► pool, open ─► link      one request: head, body up, response down
//!      ▲                           │                                │
//!      └────────── reply ◄─────────┴──────────── body ◄─────────────┘
//! ```
//!
//! `head` and `chunked` read HTTP/1.1 as bytes, `rewrite` changes header fields; all three are pure. HTTP/2 is read and written
//! by the h2 library. `life` limits how long anything may stand still.

mod answer;
mod away;
mod body;
pub mod chunked;
mod conn;
mod exchange;
mod front1;
mod front2;
pub mod head;
mod lease;
mod life;
mod link;
mod log;
mod open;
mod pool;
mod reach;
mod reply;
mod request;
mod rewrite;
mod tunnel;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use switchyard_snapshot::{HttpVersion, SendProxy};

use crate::access_log;
use crate::guest::Guest;
use crate::listener::{ListenerLocal, Passes, began};
use crate::proxy_protocol::{self, Addresses};
use crate::relay::Relay;
use crate::session::Details;
use crate::session::end::{Fault, Refusal};
use crate::tls;
use crate::wire::Wire;
use crate::worker::thread::{Busy, Worker};

use answer::Answer;
use conn::Conn;
use life::Life;

pub(crate) use life::Lives;
pub(crate) use pool::Pool;
pub(crate) use request::Request;

/// A client that speaks HTTP.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) wire: Wire,
    /// What it has said already.
    pub(crate) said: Vec<u8>,
    /// The client: the peer, or whom a PROXY header names.
    pub(crate) from: SocketAddr,
    /// Where it connected to.
    pub(crate) to: SocketAddr,
    /// The peer may speak for others: it is in the listener's `trustedSources`.
    pub(crate) trusted: bool,
    /// The name of its TLS handshake; none: no TLS, or no name.
    pub(crate) server_name: Option<String>,
    /// What it speaks.
    pub(crate) version: HttpVersion,
    /// When it was accepted.
    pub(crate) at: Instant,
    /// A load balancer's probe: in no count.
    pub(crate) monitor: bool,
    /// It came to a direct port.
    pub(crate) guest: Option<Rc<Guest>>,
}

/// What a client holds here for as long as it is connected.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) busy: Busy,
    pub(crate) passes: Passes,
}

/// What all requests of one connection share.
#[derive(Clone, Debug)]
struct Visit {
    held: Rc<Held>,
    listener: Rc<ListenerLocal>,
    from: SocketAddr,
    to: SocketAddr,
    trusted: bool,
    server_name: Option<Rc<str>>,
    tls: Option<Rc<tls::Opened>>,
    lines: Rc<rewrite::Lines>,
    monitor: bool,
    guest: Option<Rc<Guest>>,
    at: Instant,
    /// The connection itself; its streams have lives of their own.
    connection: Option<Rc<Life>>,
}

impl Visit {
    fn worker(&self) -> &Rc<Worker> {
        &self.held.busy.0
    }

    /// The header that tells an endpoint whom a connection is for.
    fn proxy_header(&self, version: SendProxy) -> Vec<u8> {
        if version == SendProxy::None {
            return Vec::new();
        }
        proxy_protocol::encode(version, &self.addresses(), self.server_name.as_deref())
    }

    /// The connection ends once nothing is under way on it.
    fn leave(&self) {
        if let Some(connection) = &self.connection {
            connection.leave();
        }
    }

    /// Counts and logs what was no request.
    fn note_refused(&self, answer: &Answer) {
        self.note(answer.end, Some(answer.status.as_u16()), answer.why.clone());
    }

    /// Counts and logs a connection that broke the protocol.
    fn note_broken(&self, error: &h2::Error) {
        // Whoever is gone has broken nothing.
        if !error.is_io() {
            self.note("refused:badRequest", None, Some(error.to_string()));
        }
    }

    /// Counts and logs a client that asks only to take it back.
    fn note_abuse(&self) {
        self.note(
            "refused:badRequest",
            None,
            Some("it takes its requests back".to_owned()),
        );
    }

    fn note(&self, end: &'static str, status: Option<u16>, why: Option<String>) {
        if self.monitor {
            return;
        }
        let refusal = if end == Refusal::HandshakeTimeout.word() {
            Refusal::HandshakeTimeout
        } else {
            Refusal::BadHandshake
        };
        self.listener.counts.refused[refusal.index()].add(1);
        let Some(log) = &self.worker().shared.access_log else {
            return;
        };
        let lasted = self.at.elapsed();
        log.write(&access_log::Record {
            start: began(lasted),
            duration_ms: lasted.as_millis() as u64,
            client: self.from,
            listener: self.listener.name.clone(),
            chain: None,
            backend: None,
            endpoint: None,
            via: None,
            guest: self.guest.as_deref().and_then(Guest::record),
            name: self.server_name.as_deref().map(str::to_owned),
            bytes_up: 0,
            bytes_down: 0,
            attempts: 0,
            connect_ms: None,
            end,
            fault: Fault::Client,
            why: status
                .map(|status| status.to_string())
                .into_iter()
                .chain(why)
                .reduce(|status, why| format!("{status}: {why}")),
            tls: self.tls.as_deref().cloned().map(tls::Opened::record),
            http: None,
        });
    }

    /// What the access log says of a session that began as a request.
    fn details(&self) -> Option<Box<Details>> {
        self.worker().shared.access_log.as_ref()?;
        Some(Box::new(Details {
            name: self.server_name.as_deref().map(str::to_owned),
            tls: self.tls.as_deref().cloned(),
            ..Details::default()
        }))
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            source: self.from,
            destination: self.to,
        }
    }
}

/// Serves a client until it leaves, is idle for too long, or the proxy drains. A relay: it speaks with an endpoint in another
/// protocol from now on.
pub(crate) async fn serve(held: Held, listener: Rc<ListenerLocal>, client: Client) -> Option<Relay> {
    let Client {
        wire,
        said,
        from,
        to,
        trusted,
        server_name,
        version,
        at,
        monitor,
        guest,
    } = client;
    let secure = wire.is_tls();
    let visit = Visit {
        held: Rc::new(held),
        listener,
        from,
        to,
        trusted,
        lines: Rc::new(rewrite::Lines::new(from.ip(), secure, trusted)),
        server_name: server_name.map(Rc::from),
        tls: tls::Opened::of(&wire).map(Rc::new),
        monitor,
        guest,
        at,
        connection: None,
    };
    let listener = Rc::clone(&visit.listener);
    let relay = match version {
        HttpVersion::Http1 => front1::serve(visit, Conn::new(wire, &said)).await,
        HttpVersion::Http2 => {
            front2::serve(visit, wire, said).await;
            None
        }
    };
    // A relay counts its own end.
    if relay.is_none() && !monitor {
        listener.counts.ended.add(1);
    }
    relay
}

#[cfg(test)]
mod tests;
