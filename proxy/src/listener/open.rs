//! The beginning of a connection. In: an accepted socket. Out: what is spoken on it, TLS opened where it ends here; or a
//! refusal. All of it within the listener's `handshakeTimeout`.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use switchyard_snapshot::{HttpVersion, Protocol};

use crate::detect::host_name;
use crate::detect::opening::{HeaderRule, Opening, Source, Spoken};
use crate::session::end::Refusal;
use crate::tls;
use crate::wire::Wire;
use crate::worker::thread::Worker;

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
    pub(super) monitor: bool,
    pub(super) opening: Opening,
}

impl Opener<'_> {
    /// Reads and opens what there is to read and to open.
    pub(super) async fn run(&mut self) -> Result<Spoke, Refused> {
        let alarms = &self.worker.alarms;
        let limit = self.route.listener().handshake_timeout;
        let rule = HeaderRule::of(self.route.listener(), self.from.ip());
        let opened = alarms.within(limit, self.open(rule)).await;
        let spoke = opened.unwrap_or_else(|_| Err(Refusal::HandshakeTimeout.into()));
        // Where something was read, it was no header.
        self.opening.forbid_header = rule == HeaderRule::Forbidden && self.opening.is_empty();
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
        let (opening, mut source) = self.source()?;
        opening.read_header(&mut source, rule, may_be_silent).await?;
        if let Some(addresses) = &opening.addresses {
            self.from = addresses.source;
        }
        if !is_allowed(&route, self.from.ip()) && !self.monitor {
            return Err(Refusal::SourceNotAllowed.into());
        }
        if protocol == Protocol::Tcp {
            return Ok(Spoke::Opaque);
        }
        let (opening, mut source) = self.source()?;
        match opening
            .read_first(&mut source, protocol, rule, server_first(None))
            .await?
        {
            Spoken::Opaque => return Ok(Spoke::Opaque),
            Spoken::Http(version) => return Ok(Spoke::Http(version)),
            Spoken::Tls => {}
        }
        match &route.route().tls {
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
