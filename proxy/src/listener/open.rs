//! The beginning of a connection. In: an accepted socket. Out: what is spoken on it, TLS opened where it ends here; or a
//! refusal. All of it within the listener's `handshakeTimeout`.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use switchyard_snapshot::{Dialect, HttpVersion, Protocol};

use crate::clock::unix_ms;
use crate::detect::host_name;
use crate::detect::opening::{Asked, HeaderRule, Opening, Source, Spoken};
use crate::guest::{Guest, Stay};
use crate::proxy_protocol::relayed::{Fault, Relayed};
use crate::session::end::Refusal;
use crate::tls;
use crate::wire::Wire;
use crate::worker::thread::Worker;

use super::elsewhere::{self, Newcomer};
use super::refuse::Refused;
use super::{ListenerLocal, LocalRoute};

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoke {
    Http(HttpVersion),
    Opaque,
}

/// A connection while it is opened.
pub(super) struct Opener<'a> {
    pub(super) worker: &'a Worker,
    pub(super) listener: &'a ListenerLocal,
    pub(super) route: Rc<LocalRoute>,
    /// None: it was lost in the middle of a TLS handshake.
    pub(super) wire: Option<Wire>,
    /// The client: the peer, or whom a PROXY header names.
    pub(super) from: SocketAddr,
    /// When it was accepted.
    pub(super) at: Instant,
    pub(super) monitor: bool,
    /// It came to a direct port.
    pub(super) direct: bool,
    /// On a direct port, once it is let in.
    pub(super) guest: Option<Guest>,
    pub(super) opening: Opening,
}

impl Opener<'_> {
    /// Reads and opens what there is to read and to open.
    pub(super) async fn run(&mut self) -> Result<Spoke, Refused> {
        let alarms = &self.worker.alarms;
        let limit = self.route.listener().handshake_timeout;
        let rule = if self.direct {
            HeaderRule::Forbidden
        } else {
            HeaderRule::of(self.route.listener(), self.from.ip())
        };
        let opened = alarms.within(limit, self.open(rule)).await;
        let spoke = opened.unwrap_or_else(|_| Err(Refusal::HandshakeTimeout.into()));
        // Where something was read, it was no header.
        self.opening.forbid_header =
            rule == HeaderRule::Forbidden && !self.is_relayed() && self.opening.is_empty();
        if self.wire.is_none() {
            self.listener.counts.tls_failed.add(1);
        }
        spoke
    }

    async fn open(&mut self, rule: HeaderRule) -> Result<Spoke, Refused> {
        let route = Rc::clone(&self.route);
        let listener = route.listener();
        let protocol = listener.protocol;
        let server_first = |name| protocol == Protocol::Auto && route.route().is_server_first(name);
        let may_be_silent = protocol == Protocol::Tcp || server_first(None);
        if self.direct {
            self.arrive(may_be_silent).await?;
        } else {
            let (opening, mut source) = self.source()?;
            opening.read_header(&mut source, rule, may_be_silent).await?;
            if let Some(addresses) = &opening.addresses {
                self.from = addresses.source;
            }
            self.allow()?;
        }
        if protocol == Protocol::Tcp {
            return Ok(Spoke::Opaque);
        }
        // What comes after a relay header was looked at where it was relayed.
        let rule = if self.is_relayed() {
            HeaderRule::Ignored
        } else {
            rule
        };
        let (opening, mut source) = self.source()?;
        match opening
            .read_first(&mut source, protocol, rule, server_first(None))
            .await?
        {
            Spoken::Opaque => return Ok(Spoke::Opaque),
            Spoken::Http(version) => return self.clear_http(version).await,
            Spoken::Tls => {}
        }
        match &route.route().tls {
            Some(server) if self.is_relayed_whole(server) => return Ok(Spoke::Opaque),
            Some(server) => self.open_tls(server).await?,
            None if protocol == Protocol::Https => return Err(Refusal::NoCertificate.into()),
            None => return Ok(Spoke::Opaque),
        }
        if protocol == Protocol::Tls {
            return Ok(Spoke::Opaque);
        }
        match self.wire.as_ref().and_then(Wire::alpn) {
            Some(b"h2") => return Ok(Spoke::Http(HttpVersion::Http2)),
            Some(b"http/1.1") => return Ok(Spoke::Http(HttpVersion::Http1)),
            _ => {}
        }
        let may_be_silent = server_first(self.opening.name.as_deref());
        let (opening, mut source) = self.source()?;
        match opening
            .read_inside(&mut source, protocol, rule, may_be_silent)
            .await?
        {
            Spoken::Http(version) => Ok(Spoke::Http(version)),
            Spoken::Opaque | Spoken::Tls => Ok(Spoke::Opaque),
        }
    }

    fn newcomer<'s>(&'s self, tls: Option<&'s tls::Server>) -> Newcomer<'s> {
        Newcomer {
            followers: &self.worker.shared.followers,
            from: self.from.ip(),
            at: self.at,
            tls,
        }
    }

    /// Whether TLS that could end here is relayed as it is.
    fn is_relayed_whole(&self, server: &tls::Server) -> bool {
        if self.direct || self.monitor {
            return false;
        }
        let protocol = self.route.listener().protocol;
        let fits = |dialects: &[Dialect]| elsewhere::fits_inside(protocol, dialects);
        let chain = self.route.chain(self.opening.name.as_deref());
        chain.is_some_and(|chain| self.newcomer(Some(server)).is_relayed(&chain.handle.view(), fits))
    }

    /// HTTP in the clear is relayed as it is, too, once it is known for whom it is.
    async fn clear_http(&mut self, version: HttpVersion) -> Result<Spoke, Refused> {
        let route = Rc::clone(&self.route);
        let http = Ok(Spoke::Http(version));
        if self.direct || self.monitor || route.listener().https_redirect.is_some() || !route.has_detours() {
            return http;
        }
        let asked = match version {
            HttpVersion::Http1 => {
                let (opening, mut source) = self.source()?;
                opening.read_request(&mut source).await?
            }
            // Only whoever speaks HTTP/2 with it can tell for whom it is, where that is not clear without.
            HttpVersion::Http2 => (!route.route().has_names()).then(Asked::default),
        };
        let Some(asked) = asked else { return http };
        let Some(chain) = route.chain(asked.name.as_deref()) else {
            return http;
        };
        let dialect = if asked.upgrades {
            Dialect::WebSocket
        } else {
            Dialect::Http
        };
        let fits = |dialects: &[Dialect]| dialects.contains(&dialect);
        if !self.newcomer(None).is_relayed(&chain.handle.view(), fits) {
            return http;
        }
        self.opening.name = asked.name;
        Ok(Spoke::Opaque)
    }

    fn is_relayed(&self) -> bool {
        self.guest.as_ref().is_some_and(Guest::is_relayed)
    }

    fn allow(&self) -> Result<(), Refused> {
        if is_allowed(&self.route, self.from.ip()) || self.monitor {
            Ok(())
        } else {
            Err(Refusal::SourceNotAllowed.into())
        }
    }

    /// On a direct port: whoever sends a relay header stands for the client that it names; whoever sends none was
    /// redirected here, or is a probe.
    async fn arrive(&mut self, may_be_silent: bool) -> Result<(), Refused> {
        let route = Rc::clone(&self.route);
        let keys = route.routing().relaying.as_ref().map(|relaying| &relaying.keys);
        let (opening, mut source) = self.source()?;
        let relayed = opening.read_relayed(&mut source, keys, may_be_silent).await?;
        let (listener, limits) = (self.listener, route.listener());
        let mut passes = Vec::new();
        if let Some(relayed) = &relayed {
            self.from = relayed.addresses.source;
            if std::mem::take(&mut self.monitor) {
                // Probes come from there too, but this is none.
                listener.counts.accepted.add(1);
                passes.push(listener.gate.enter_anyway(1));
            }
            let accepted = self.accept_relayed(&route, relayed);
            accepted.map_err(|fault| Refused::because(fault.refusal(), fault.to_string()))?;
        }
        self.allow()?;
        let stay = if self.monitor {
            None
        } else {
            let full = || {
                Refused::because(
                    Refusal::GuestsFull,
                    format!("{} guests are here", limits.max_guests),
                )
            };
            passes.push(listener.guests.enter(1, limits.max_guests).ok_or_else(full)?);
            Some(Stay {
                _passes: passes,
                book: Rc::clone(&self.worker.guests),
            })
        };
        let (home, chain) = relayed.map(|relayed| (relayed.home, relayed.chain)).unzip();
        self.guest = Some(Guest::new(home, chain, stay));
        Ok(())
    }

    fn accept_relayed(&self, route: &LocalRoute, relayed: &Relayed) -> Result<(), Fault> {
        let now = unix_ms();
        let me = route
            .routing()
            .relaying
            .as_ref()
            .map_or("", |relaying| relaying.me.as_str());
        let is_here = route.route().index_of(&relayed.chain).is_some();
        relayed.check(me, is_here, now)?;
        self.worker.shared.seen.first(relayed.nonce, relayed.time, now)
    }

    fn source(&mut self) -> Result<(&mut Opening, Source<'_>), Refused> {
        let alarms = &self.worker.alarms;
        match &mut self.wire {
            Some(wire) => Ok((&mut self.opening, Source { wire, alarms })),
            None => Err(Refusal::ClientGone.into()),
        }
    }

    /// Puts what is inside in the place of what was there.
    async fn open_tls(&mut self, server: &tls::Server) -> Result<(), Refused> {
        let Some(Wire::Plain(tcp)) = self.wire.take() else {
            return Err(Refusal::ClientGone.into());
        };
        let counts = &self.listener.counts;
        match server.open(tcp, &self.opening.take_bytes()).await {
            Ok(wire) => {
                if let Some(opened) = tls::Opened::of(&wire) {
                    counts.tls_opened[opened.index()].add(1);
                    // What the certificate was chosen by.
                    self.opening.name = opened.name.as_deref().and_then(|name| host_name(name.as_bytes()));
                }
                self.wire = Some(wire);
                Ok(())
            }
            Err(unopened) => {
                let tls::Unopened { why, text, tcp } = *unopened;
                counts.tls_failed.add(1);
                self.wire = Some(Wire::Plain(tcp));
                Err(Refused::because(why, text))
            }
        }
    }
}

fn is_allowed(route: &LocalRoute, from: IpAddr) -> bool {
    let allowed = &route.listener().allowed_sources;
    allowed.is_empty() || allowed.iter().any(|net| net.contains(&from))
}
