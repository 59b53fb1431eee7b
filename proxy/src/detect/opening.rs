//! The opening of a connection: everything that has to be read before the chain is known. In: a client's socket. Out: a
//! PROXY header's addresses, the name that the client asks for, and the bytes that were read, which go to the backend.
//!
//! Where nothing has to be known, nothing is read.

use std::net::IpAddr;
use std::time::Duration;

use switchyard_snapshot::{AcceptProxy, Listener, Protocol};
use tokio::net::TcpStream;

use crate::listener::Refused;
use crate::proxy_protocol::{self, Addresses, Header};
use crate::route::ListenerRoute;
use crate::session::end::Refusal;
use crate::worker::alarms::Alarms;

use super::{LIMIT, Look, look};

/// How long a client of a `serverFirst` chain has to say something before it counts as silent. Who speaks first does so
/// right after the handshake, in the same round trip.
const SILENCE: Duration = Duration::from_millis(30);
/// How long a trusted source that may send a PROXY header, on a listener where servers may speak first, has to begin:
/// a header comes right after the handshake, at the worst it is sent once more.
const NO_HEADER: Duration = Duration::from_secs(1);
/// Room that is made before a read.
const CHUNK: usize = 2048;

/// Whom to read from, and whose clock to read by.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) client: &'a TcpStream,
    pub(crate) alarms: &'a Alarms,
}

/// What was learnt.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    bytes: Vec<u8>,
    /// From the PROXY header, where there was one that names addresses.
    pub(crate) addresses: Option<Addresses>,
    /// SNI or Host.
    pub(crate) name: Option<String>,
    pub(crate) is_tls: bool,
    /// Whether the relay has to look out for a PROXY header, because nothing was read here.
    pub(crate) forbid_header: bool,
}

impl Opening {
    /// What the client has said so far, without a PROXY header.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Reads what has to be known of a connection from `peer` before its chain can be.
    pub(crate) async fn read(
        &mut self,
        from: Source<'_>,
        peer: IpAddr,
        route: &ListenerRoute,
    ) -> Result<(), Refused> {
        let listener = &*route.listener;
        let header = HeaderRule::of(listener, peer);
        let named = match listener.protocol {
            Protocol::Tcp => false,
            Protocol::Tls | Protocol::Http | Protocol::Https => true,
            Protocol::Auto => route.has_names(),
        };
        self.forbid_header = header == HeaderRule::Forbidden && !named;
        if !named && matches!(header, HeaderRule::Ignored | HeaderRule::Forbidden) {
            return Ok(());
        }
        let reading = async {
            let may_be_silent = listener.protocol == Protocol::Tcp || route.default_is_server_first();
            self.read_header(from, header, may_be_silent).await?;
            if named {
                self.read_name(from, route, header).await
            } else {
                Ok(())
            }
        };
        let read = from.alarms.within(listener.handshake_timeout, reading).await;
        read.unwrap_or_else(|_| Err(Refusal::HandshakeTimeout.into()))
    }

    /// Reads a PROXY header where there may or must be one.
    async fn read_header(
        &mut self,
        from: Source<'_>,
        rule: HeaderRule,
        may_be_silent: bool,
    ) -> Result<(), Refused> {
        if !matches!(rule, HeaderRule::Allowed | HeaderRule::Required) {
            return Ok(());
        }
        loop {
            match proxy_protocol::decode(&self.bytes) {
                Ok(Some((header, length))) => {
                    self.bytes.drain(..length);
                    if let Header::Proxied(addresses) = header {
                        self.addresses = Some(addresses);
                    }
                    return Ok(());
                }
                Ok(None) => {}
                Err(proxy_protocol::Invalid::NoHeader) if rule == HeaderRule::Allowed => return Ok(()),
                Err(invalid) => return Err(Refused::because(Refusal::BadProxyHeader, invalid.to_string())),
            }
            let silence = may_be_silent && rule == HeaderRule::Allowed && self.bytes.is_empty();
            let Some(more) = self.read_more_within(from, silence.then_some(NO_HEADER)).await? else {
                return Ok(());
            };
            if !more {
                return match (rule, self.bytes.is_empty()) {
                    (_, true) => Err(Refusal::ClientGone.into()),
                    (HeaderRule::Allowed, false) => Ok(()),
                    (_, false) => Err(Refused::because(Refusal::BadProxyHeader, "it ends in the middle")),
                };
            }
        }
    }

    /// Reads until SNI or Host is known, or that there is none.
    async fn read_name(
        &mut self,
        from: Source<'_>,
        route: &ListenerRoute,
        rule: HeaderRule,
    ) -> Result<(), Refused> {
        let protocol = route.listener.protocol;
        let server_first = protocol == Protocol::Auto && route.default_is_server_first();
        loop {
            if rule == HeaderRule::Forbidden && proxy_protocol::is_header(&self.bytes) {
                return Err(Refusal::UntrustedProxyHeader.into());
            }
            match look(protocol, &self.bytes) {
                Look::More => {}
                Look::Tls(name) => {
                    self.is_tls = true;
                    self.name = name;
                    return Ok(());
                }
                Look::Http(name) => {
                    self.name = name;
                    return Ok(());
                }
                // The beginning of a forbidden header looks like nothing else.
                Look::Opaque
                    if rule == HeaderRule::Forbidden && proxy_protocol::may_become_header(&self.bytes) => {}
                Look::Opaque => return Ok(()),
                Look::Bad(why) => return Err(Refused::because(Refusal::BadHandshake, why)),
            }
            let silence = server_first && self.bytes.is_empty();
            let Some(more) = self.read_more_within(from, silence.then_some(SILENCE)).await? else {
                return Ok(());
            };
            if !more {
                return match (protocol, self.bytes.is_empty()) {
                    (_, true) => Err(Refusal::ClientGone.into()),
                    (Protocol::Tls, false) => {
                        Err(Refused::because(Refusal::BadHandshake, "it ends in the middle"))
                    }
                    (_, false) => Ok(()),
                };
            }
        }
    }

    /// Like [`Opening::read_more`]; none: the client said nothing within `limit`.
    async fn read_more_within(
        &mut self,
        from: Source<'_>,
        limit: Option<Duration>,
    ) -> Result<Option<bool>, Refused> {
        let Some(limit) = limit else {
            return self.read_more(from.client).await.map(Some);
        };
        let read = from.alarms.within(limit, self.read_more(from.client)).await;
        read.map_or(Ok(None), |read| read.map(Some))
    }

    /// Reads once; false: the client says no more.
    async fn read_more(&mut self, client: &TcpStream) -> Result<bool, Refused> {
        if self.bytes.len() >= LIMIT {
            return Err(Refused::because(
                Refusal::BadHandshake,
                "a first message of more than 16 KiB",
            ));
        }
        self.bytes.reserve_exact(CHUNK);
        loop {
            let gone = |error: std::io::Error| Refused::because(Refusal::ClientGone, error.to_string());
            client.readable().await.map_err(gone)?;
            match client.try_read_buf(&mut self.bytes) {
                Ok(read) => return Ok(read > 0),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(gone(error)),
            }
        }
    }
}

/// What a PROXY header from this peer would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderRule {
    /// Nothing special: the listener knows no such thing.
    Ignored,
    Forbidden,
    Allowed,
    Required,
}

impl HeaderRule {
    fn of(listener: &Listener, peer: IpAddr) -> Self {
        let within = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&peer));
        match listener.accept_proxy {
            AcceptProxy::None => Self::Ignored,
            _ if !within(&listener.trusted_sources) => Self::Forbidden,
            AcceptProxy::Accept => Self::Allowed,
            // A load balancer's probes may be bare connections.
            AcceptProxy::Require if within(&listener.monitor_sources) => Self::Allowed,
            AcceptProxy::Require => Self::Required,
        }
    }
}
