//! One connection. In: an accepted socket. Out: a session that is relayed to its end, or a refusal with a reason.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use switchyard_snapshot::SendProxy;
use tokio::net::TcpStream;

use crate::access_log::{AccessLog, Record};
use crate::connect::{self, Connected};
use crate::detect::opening::{Opening, Source};
use crate::proxy_protocol::{self, Addresses};
use crate::relay::{First, Relay, Sockets};
use crate::session::end::Refusal;
use crate::session::{Details, Start};
use crate::socket;
use crate::worker::thread::{Busy, Worker};

use super::{ChainLocal, ListenerLocal, LocalRoute, Passes};

/// A connection that was just accepted.
pub(super) struct Accepted {
    pub(super) client: TcpStream,
    pub(super) from: SocketAddr,
    pub(super) at: Instant,
    pub(super) monitor: bool,
    pub(super) passes: Passes,
}

/// Why a connection is not served.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    /// What exactly, where the reason does not say it all.
    pub(crate) text: Option<String>,
    /// Attempts to connect.
    pub(crate) attempts: u32,
}

impl From<Refusal> for Refused {
    fn from(why: Refusal) -> Self {
        Self {
            why,
            text: None,
            attempts: 0,
        }
    }
}

impl Refused {
    pub(crate) fn because(why: Refusal, text: impl Into<String>) -> Self {
        Self {
            why,
            text: Some(text.into()),
            attempts: 0,
        }
    }
}

/// What is known of a connection while it is set up.
struct Setup<'a> {
    worker: &'a Rc<Worker>,
    route: Rc<LocalRoute>,
    client: TcpStream,
    /// The client: the peer, or whom a PROXY header names.
    from: SocketAddr,
    monitor: bool,
    opening: Opening,
    chain: Option<Rc<ChainLocal>>,
}

/// One connection, from its accept to its end: one task, which is large while the connection is set up and small once
/// it is established.
#[allow(
    clippy::large_enum_variant,
    reason = "a box for the relay would cost every session an allocation"
)]
pub(super) enum Connection {
    SettingUp(Pin<Box<dyn Future<Output = Option<Relay>>>>),
    Established(Relay),
}

impl Connection {
    pub(super) fn new(busy: Busy, listener: Rc<ListenerLocal>, accepted: Accepted) -> Self {
        Self::SettingUp(Box::pin(set_up(busy, listener, accepted)))
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::SettingUp(setting_up) = &mut *self {
            match ready!(setting_up.as_mut().poll(cx)) {
                Some(relay) => *self = Self::Established(relay),
                None => return Poll::Ready(()),
            }
        }
        match &mut *self {
            Self::Established(relay) => Pin::new(relay).poll(cx),
            Self::SettingUp(_) => Poll::Pending,
        }
    }
}

/// Sets up one connection; none: it was refused.
async fn set_up(busy: Busy, listener: Rc<ListenerLocal>, accepted: Accepted) -> Option<Relay> {
    let Accepted {
        client,
        from,
        at,
        monitor,
        passes,
    } = accepted;
    let mut setup = Setup {
        worker: &busy.0,
        route: listener.route(),
        client,
        from,
        monitor,
        opening: Opening::default(),
        chain: None,
    };
    let outcome = setup.run().await;
    let Setup {
        client,
        from,
        opening,
        chain,
        ..
    } = setup;
    match (outcome, chain) {
        (Ok((connected, prelude)), Some(chain)) => {
            let details = busy.0.shared.access_log.as_ref().map(|_| {
                Box::new(Details {
                    name: opening.name,
                    attempts: connected.attempts,
                    connect: connected.took,
                })
            });
            let start = Start {
                chain,
                listener,
                client: from,
                place: connected.place,
                since: at,
                monitor,
                details,
            };
            let sockets = Sockets {
                client,
                backend: connected.stream,
            };
            let first = First {
                bytes: prelude,
                forbid_header: opening.forbid_header,
            };
            Some(Relay::new(busy, passes, start, sockets, first))
        }
        (outcome, chain) => {
            let refused = outcome.err().unwrap_or_else(|| Refusal::NoChain.into());
            let who = Refusing {
                listener: &listener,
                chain: chain.as_deref(),
                from,
                at,
                monitor,
                name: opening.name,
            };
            who.refuse(client, refused, busy.0.shared.access_log.as_ref());
            None
        }
    }
}

impl Setup<'_> {
    /// Finds the chain and connects; the connection and what goes to the backend first.
    async fn run(&mut self) -> Result<(Connected, Vec<u8>), Refused> {
        let peer = self.from;
        let from = Source {
            client: &self.client,
            alarms: &self.worker.alarms,
        };
        self.opening.read(from, peer.ip(), self.route.route()).await?;
        if let Some(addresses) = &self.opening.addresses {
            self.from = addresses.source;
        }
        if !is_allowed(&self.route, self.from.ip()) && !self.monitor {
            return Err(Refusal::SourceNotAllowed.into());
        }
        let chain = self
            .route
            .chain(self.opening.name.as_deref())
            .cloned()
            .ok_or_else(|| match &self.opening.name {
                Some(name) => Refused::because(Refusal::NoChain, format!("no chain for {name:?}")),
                None => Refusal::NoChain.into(),
            })?;
        self.chain = Some(Rc::clone(&chain));
        let caller = connect::Caller {
            worker: self.worker,
            chain: &chain,
            routing: self.route.routing(),
            client: &self.client,
            from: self.from.ip(),
            patient: !self.monitor,
        };
        let connected = connect::connect(caller).await?;
        let prelude = self.prelude(connected.via.send_proxy)?;
        Ok((connected, prelude))
    }

    /// The PROXY header, if the backend wants one, and what the client has said already.
    fn prelude(&mut self, header: SendProxy) -> Result<Vec<u8>, Refused> {
        let said = self.opening.take_bytes();
        if header == SendProxy::None {
            return Ok(said);
        }
        let addresses = match &self.opening.addresses {
            Some(addresses) => addresses.clone(),
            None => Addresses {
                source: self.from,
                destination: socket::local_address(&self.client)
                    .map_err(|error| Refused::because(Refusal::ClientGone, error.to_string()))?,
            },
        };
        let name = self
            .opening
            .is_tls
            .then_some(self.opening.name.as_deref())
            .flatten();
        let mut bytes = proxy_protocol::encode(header, &addresses, name);
        bytes.extend_from_slice(&said);
        Ok(bytes)
    }
}

fn is_allowed(route: &LocalRoute, from: IpAddr) -> bool {
    let allowed = &route.listener().allowed_sources;
    allowed.is_empty() || allowed.iter().any(|net| net.contains(&from))
}

/// Whom we turn away.
struct Refusing<'a> {
    listener: &'a ListenerLocal,
    chain: Option<&'a ChainLocal>,
    from: SocketAddr,
    at: Instant,
    monitor: bool,
    name: Option<String>,
}

impl Refusing<'_> {
    /// Counts and logs it, then closes with a reset, so that nobody takes it for an empty answer.
    fn refuse(self, client: TcpStream, refused: Refused, log: Option<&AccessLog>) {
        if refused.why != Refusal::ClientGone {
            socket::reset_on_close(&client);
        }
        self.note(refused, log);
        drop(client);
    }

    fn note(self, refused: Refused, log: Option<&AccessLog>) {
        let Refused { why, text, attempts } = refused;
        if self.monitor {
            return;
        }
        self.listener.counts.refused[why.index()].add(1);
        self.listener.counts.ended.add(1);
        if let Some(chain) = self.chain {
            chain.counts.refused[why.index()].add(1);
        }
        let Some(log) = log else { return };
        let lasted = self.at.elapsed();
        log.write(&Record {
            start: began(lasted),
            duration_ms: lasted.as_millis() as u64,
            client: self.from,
            listener: self.listener.name.clone(),
            chain: self.chain.map(|chain| chain.handle.id.to_string()),
            backend: None,
            endpoint: None,
            name: self.name,
            bytes_up: 0,
            bytes_down: 0,
            attempts,
            connect_ms: None,
            end: why.word(),
            fault: why.fault(),
            why: text,
        });
    }
}

/// When something began that has lasted this long, on the clock that people read.
pub(crate) fn began(lasted: Duration) -> Timestamp {
    Timestamp::now() - lasted
}
