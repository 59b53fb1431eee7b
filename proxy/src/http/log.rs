//! What is said of a request when it is over. In: what happened to it. Out: a line of the access log, and counts.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use super::Visit;
use super::lease::Lease;
use super::reply::Reply;
use super::request::Request;
use crate::access_log::{self, RELAY, Record};
use crate::guest::Guest;
use crate::listener::{ChainLocal, began};
use crate::session::end::Fault;
use crate::tls;

/// One request, as far as it is known.
#[derive(Debug)]
pub(super) struct Entry {
    begun: Instant,
    method: Method,
    target: bytes::Bytes,
    name: Option<String>,
    pub(super) id: Option<String>,
    pub(super) chain: Option<Rc<ChainLocal>>,
    backend: Option<(Arc<str>, SocketAddr)>,
    relayed: bool,
    pub(super) status: Option<StatusCode>,
    pub(super) attempts: u32,
    pub(super) connect: Option<Duration>,
    answered: Option<Duration>,
    pub(super) up: u64,
    pub(super) down: u64,
    end: &'static str,
    why: Option<String>,
}

impl Entry {
    pub(super) fn new(request: &Request) -> Self {
        Self {
            begun: Instant::now(),
            method: request.method.clone(),
            target: request.target.clone(),
            name: request.name.clone(),
            id: None,
            chain: None,
            backend: None,
            relayed: false,
            status: None,
            attempts: 0,
            connect: None,
            answered: None,
            up: 0,
            down: 0,
            end: "served",
            why: None,
        }
    }

    /// An endpoint is asked.
    pub(super) fn reached(&mut self, lease: &Lease) {
        let endpoint = lease.place().endpoint();
        self.attempts = lease.reached.attempts;
        self.relayed = lease.reached.relayed;
        self.backend = Some((Arc::clone(&endpoint.backend), endpoint.address));
    }

    /// The response begins.
    pub(super) fn answered(&mut self) {
        self.answered = Some(self.begun.elapsed());
    }

    /// How it ended, if not as it should.
    pub(super) fn ends(&mut self, end: &'static str, why: Option<String>) {
        self.end = end;
        self.why = why;
    }

    fn fault(&self) -> Fault {
        match self.end {
            "served"
            | "upgraded"
            | "redirected:https"
            | "clientAborted"
            | "refused:badRequest"
            | "refused:handshakeTimeout" => Fault::Client,
            "refused:noChain" | "refused:suspended" | "refused:outOfResources" | "refused:stopping" => {
                Fault::Proxy
            }
            _ => Fault::Backend,
        }
    }

    /// Counts and logs it.
    pub(super) fn write(self, visit: &Visit, reply: &Reply) {
        if visit.monitor {
            return;
        }
        if let Some(chain) = &self.chain {
            let counts = &chain.counts;
            let class = self
                .status
                .map_or(4, |status| usize::from(status.as_u16() / 100).clamp(1, 5) - 1);
            counts.requests[class].add(1);
            if let Some(answered) = self.answered {
                counts.answered(answered);
            }
            counts.bytes_up.add(self.up);
            counts.bytes_down.add(self.down);
        }
        let Some(log) = &visit.worker().shared.access_log else {
            return;
        };
        let fault = self.fault();
        let lasted = self.begun.elapsed();
        let (backend, endpoint) = self.backend.unzip();
        log.write(&Record {
            start: began(lasted),
            duration_ms: lasted.as_millis() as u64,
            client: visit.from,
            listener: visit.listener.name.clone(),
            chain: self.chain.map(|chain| chain.handle.id.to_string()),
            backend: backend.map(|backend| backend.to_string()),
            endpoint,
            via: self.relayed.then_some(RELAY),
            guest: visit.guest.as_deref().and_then(Guest::record),
            name: self.name,
            bytes_up: self.up,
            bytes_down: self.down,
            attempts: self.attempts,
            connect_ms: self.connect.map(|took| took.as_millis() as u64),
            end: self.end,
            fault,
            why: self.why,
            tls: visit.tls.as_deref().cloned().map(tls::Opened::record),
            http: Some(access_log::Http {
                version: reply.version(),
                method: self.method.to_string(),
                target: String::from_utf8_lossy(&self.target).into_owned(),
                status: self.status.map(|status| status.as_u16()),
                id: self.id,
                response_ms: self.answered.map(|took| took.as_millis() as u64),
            }),
        });
    }
}
