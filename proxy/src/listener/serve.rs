//! One connection. In: an accepted socket. Out: a session that is relayed to its end, requests that are served, or a
//! refusal with a reason.

mod native;

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use switchyard_snapshot::HttpVersion;
use tokio::net::TcpStream;

use crate::connect::{self, Announce, Connected};
use crate::detect::opening::Opening;
use crate::guest::Guest;
use crate::http::{self, Held};
use crate::relay::{First, Relay, Sockets};
use crate::session::end::Refusal;
use crate::session::{Details, Start};
use crate::socket;
use crate::tls;
use crate::wire::Wire;
use crate::worker::thread::Busy;

use super::open::{Opener, Spoke};
use super::refuse::{Refused, Refusing, let_read};
use super::{ChainLocal, ListenerLocal, LocalRoute, Passes};

/// A connection that was just accepted.
pub(super) struct Accepted {
    pub(super) client: TcpStream,
    pub(super) from: SocketAddr,
    pub(super) at: Instant,
    pub(super) monitor: bool,
    /// It came to a direct port.
    pub(super) direct: bool,
    pub(super) passes: Passes,
}

/// What comes of a connection once it is set up.
#[allow(
    clippy::large_enum_variant,
    reason = "a box for the relay would cost every session an allocation"
)]
pub(super) enum Next {
    Relay(Relay),
    Http(Pin<Box<dyn Future<Output = Option<Relay>>>>),
    /// It was refused.
    Nothing,
}

/// One connection, from its accept to its end: one task, which is large while the connection is set up and small once
/// it is established.
#[allow(
    clippy::large_enum_variant,
    reason = "a box for the relay would cost every session an allocation"
)]
pub(super) enum Connection {
    SettingUp(Pin<Box<dyn Future<Output = Next>>>),
    Established(Relay),
    Http(Pin<Box<dyn Future<Output = Option<Relay>>>>),
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
                Next::Relay(relay) => *self = Self::Established(relay),
                Next::Http(serving) => *self = Self::Http(serving),
                Next::Nothing => return Poll::Ready(()),
            }
        }
        match &mut *self {
            Self::Established(relay) => Pin::new(relay).poll(cx),
            // It may end in a change of the protocol: then the relay carries on.
            Self::Http(serving) => match ready!(serving.as_mut().poll(cx)) {
                Some(relay) => {
                    *self = Self::Established(relay);
                    self.poll(cx)
                }
                None => Poll::Ready(()),
            },
            Self::SettingUp(_) => Poll::Pending,
        }
    }
}

/// A connection of which it is known what is spoken on it.
struct Ready {
    wire: Wire,
    route: Rc<LocalRoute>,
    peer: SocketAddr,
    from: SocketAddr,
    at: Instant,
    monitor: bool,
    guest: Option<Rc<Guest>>,
    opening: Opening,
}

async fn set_up(busy: Busy, listener: Rc<ListenerLocal>, accepted: Accepted) -> Next {
    let Accepted {
        client,
        from: peer,
        at,
        monitor,
        direct,
        passes,
    } = accepted;
    let mut opener = Opener {
        worker: &busy.0,
        listener: &listener,
        route: listener.route(),
        wire: Some(Wire::Plain(client)),
        from: peer,
        at,
        monitor,
        direct,
        guest: None,
        opening: Opening::default(),
    };
    let spoke = opener.run().await;
    let Opener {
        route,
        wire,
        from,
        monitor,
        guest,
        opening,
        ..
    } = opener;
    let (spoke, wire) = match (spoke, wire) {
        (Ok(spoke), Some(wire)) => (spoke, wire),
        (spoke, wire) => {
            let who = Refusing {
                listener: &listener,
                chain: None,
                from,
                at,
                monitor,
                guest: guest.as_ref(),
                name: opening.name,
            };
            let why = spoke.err().unwrap_or_else(|| Refusal::ClientGone.into());
            who.refuse(wire, why, &busy.0).await;
            return Next::Nothing;
        }
    };
    let ready = Ready {
        wire,
        route,
        peer,
        from,
        at,
        monitor,
        guest: guest.map(Rc::new),
        opening,
    };
    let held = Held { busy, passes };
    match spoke {
        Spoke::Opaque => ready.relay(held, listener).await,
        Spoke::Http(version) => ready.http(held, listener, version).await,
    }
}

impl Ready {
    /// Hands over to whoever serves requests.
    async fn http(mut self, held: Held, listener: Rc<ListenerLocal>, version: HttpVersion) -> Next {
        let to = match &self.opening.addresses {
            Some(addresses) => addresses.destination,
            None => match socket::local_address(self.wire.tcp()) {
                Ok(to) => to,
                Err(error) => {
                    let why = Refused::because(Refusal::ClientGone, error.to_string());
                    return self.refuse(&held, &listener, None, why).await;
                }
            },
        };
        let trusted = &self.route.listener().trusted_sources;
        let client = http::Client {
            // Whoever relays has proven for whom; nobody else is believed on a direct port.
            trusted: self.guest.is_none() && trusted.iter().any(|net| net.contains(&self.peer.ip())),
            said: self.opening.take_bytes(),
            server_name: self.opening.name.filter(|_| self.wire.is_tls()),
            wire: self.wire,
            from: self.from,
            to,
            version,
            at: self.at,
            monitor: self.monitor,
            guest: self.guest,
        };
        Next::Http(Box::pin(http::serve(held, listener, client)))
    }

    /// Finds the chain, connects and hands over to the relay.
    async fn relay(mut self, held: Held, listener: Rc<ListenerLocal>) -> Next {
        let name = self.opening.name.as_deref();
        let Some(chain) = self.find_chain() else {
            let why = no_chain(name, self.guest.as_deref());
            return self.refuse(&held, &listener, None, why).await;
        };
        if let Some(guest) = &self.guest {
            guest.belongs(&chain);
        }
        // Looked at here, so that whoever is served where it came to pays for nothing else.
        let mut detours = chain.handle.view().detour.is_some();
        let (connected, bytes) = loop {
            if detours {
                match Box::pin(self.tell(&held, &chain)).await {
                    Ok(None) => {}
                    Ok(Some(told)) => {
                        self.note_told(&told, &held.busy.0, &listener, &chain);
                        let_read(self.wire, &held.busy.0.alarms).await;
                        return Next::Nothing;
                    }
                    Err(why) => return self.refuse(&held, &listener, Some(&chain), why).await,
                }
            }
            match self.connect(&held, &chain, detours).await {
                Ok(connected) => break connected,
                // While it was looked for somebody, the chain gave up: it is told so first.
                Err(_) if !detours && !self.monitor && chain.handle.view().detour.is_some() => detours = true,
                Err(why) => {
                    self.comes_again(&held, &chain);
                    return self.refuse(&held, &listener, Some(&chain), why).await;
                }
            }
        };
        let Held { busy, passes } = held;
        let details = busy.0.shared.access_log.as_ref().map(|_| {
            Box::new(Details {
                name: self.opening.name,
                attempts: connected.attempts,
                connect: connected.took,
                tls: tls::Opened::of(&self.wire),
            })
        });
        let start = Start {
            chain,
            listener,
            client: self.from,
            place: connected.place,
            since: self.at,
            monitor: self.monitor,
            guest: self.guest,
            relayed: connected.relay.is_some(),
            details,
        };
        let sockets = Sockets {
            client: self.wire,
            backend: connected.stream,
        };
        let first = First {
            bytes,
            down: Vec::new(),
            forbid_header: self.opening.forbid_header,
        };
        Next::Relay(Relay::new(busy, passes, start, sockets, first))
    }

    /// Whoever was let in through TLS to be redirected, but speaks nothing in which it could be, is relayed when it comes
    /// again.
    fn comes_again(&self, held: &Held, chain: &ChainLocal) {
        if self.wire.is_tls() && !self.monitor && self.guest.is_none() && chain.handle.view().detour.is_some()
        {
            let followers = &held.busy.0.shared.followers;
            followers.note(&chain.handle.id, self.from.ip(), Instant::now());
        }
    }

    fn find_chain(&self) -> Option<Rc<ChainLocal>> {
        let name = self.opening.name.as_deref();
        let chain = match &self.guest {
            None => self.route.chain(name),
            Some(guest) => self.route.chain_of_guest(guest, name),
        };
        chain.cloned()
    }

    /// The connection, and what goes to the backend first. `detours`: it may be to another proxy.
    async fn connect(
        &mut self,
        held: &Held,
        chain: &ChainLocal,
        detours: bool,
    ) -> Result<(Connected, Vec<u8>), Refused> {
        let opening = &self.opening;
        let announce = Announce {
            client: Some(self.wire.tcp()),
            from: self.from,
            addresses: opening.addresses.as_ref(),
            name: opening.name.as_deref().filter(|_| opening.is_tls),
        };
        let caller = connect::Caller {
            worker: &held.busy.0,
            chain,
            routing: self.route.routing(),
            client: Some(self.wire.tcp()),
            has_spoken: self.wire.is_tls() || !self.opening.is_empty(),
            from: self.from.ip(),
            announce,
            inside: tls::Inside::Opaque,
            patient: !self.monitor,
            relayable: detours && !self.wire.is_tls() && !self.monitor && self.guest.is_none(),
        };
        let mut connected = connect::connect(caller).await?;
        let header = match connected.relay.as_mut().map(std::mem::take) {
            Some(header) => header,
            None if connected.via.tls => Vec::new(),
            None => announce
                .header(connected.via.send_proxy)
                .map_err(|error| Refused::because(Refusal::ClientGone, error.to_string()))?,
        };
        let said = self.opening.take_bytes();
        let first = if header.is_empty() {
            said
        } else {
            [header, said].concat()
        };
        Ok((connected, first))
    }

    async fn refuse(
        self,
        held: &Held,
        listener: &ListenerLocal,
        chain: Option<&ChainLocal>,
        why: Refused,
    ) -> Next {
        let who = Refusing {
            listener,
            chain,
            from: self.from,
            at: self.at,
            monitor: self.monitor,
            guest: self.guest.as_deref(),
            name: self.opening.name,
        };
        who.refuse(Some(self.wire), why, &held.busy.0).await;
        Next::Nothing
    }
}

/// Why there is no chain for a connection.
fn no_chain(name: Option<&str>, guest: Option<&Guest>) -> Refused {
    let text = match (name, guest) {
        (None, None) => return Refusal::NoChain.into(),
        (Some(name), None) => format!("no chain for {name:?}"),
        (Some(name), Some(_)) => format!(
            "several chains share this direct port, and {name:?} is the direct name of none of them; put {{chain}} into the \
             template of the pool's directAddress"
        ),
        (None, Some(_)) => "several chains share this direct port, and the client names none".to_owned(),
    };
    Refused::because(Refusal::NoChain, text)
}

/// When something began that has lasted this long, on the clock that people read.
pub(crate) fn began(lasted: Duration) -> Timestamp {
    Timestamp::now() - lasted
}
