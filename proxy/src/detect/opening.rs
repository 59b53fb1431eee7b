//! The opening of a connection: everything that has to be read before it is known what is spoken, and to whom. In: a
//! client's stream. Out: a PROXY header's addresses, the name that a TLS client asks for, and the bytes that were read.
//!
//! Where nothing has to be known, nothing is read.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use switchyard_snapshot::{AcceptProxy, HttpVersion, Listener, Protocol};
use tokio::io::AsyncReadExt;

use crate::http::Request;
use crate::http::head::take_request;
use crate::listener::Refused;
use crate::proxy_protocol::relayed::{self, Fault, RelayKeys, Relayed};
use crate::proxy_protocol::{self, Addresses, Header};
use crate::session::end::Refusal;
use crate::wire::Wire;
use crate::worker::alarms::Alarms;

use super::{LIMIT, Look, look, look_inside};

/// How long a client of a `serverFirst` chain has to say something before it counts as silent. Who speaks first does so
/// right after the handshake, in the same round trip.
const SILENCE: Duration = if cfg!(test) {
    // A test's client on a busy machine may need longer for its first word.
    Duration::from_secs(1)
} else {
    Duration::from_millis(30)
};
/// How long a trusted source that may send a PROXY header, on a listener where servers may speak first, has to begin:
/// a header comes right after the handshake, at the worst it is sent once more.
const NO_HEADER: Duration = Duration::from_secs(1);
/// Room that is made before a read.
const CHUNK: usize = 2048;

/// Whom to read from, and whose clock to read by.
pub(crate) struct Source<'a> {
    pub(crate) wire: &'a mut Wire,
    pub(crate) alarms: &'a Alarms,
}

/// What was learnt.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    bytes: Vec<u8>,
    /// From the PROXY header, where there was one that names addresses.
    pub(crate) addresses: Option<Addresses>,
    /// SNI.
    pub(crate) name: Option<String>,
    pub(crate) is_tls: bool,
    /// Whether the relay has to look out for a PROXY header, because nothing was read here: inside TLS it would be believed as
    /// little as in the clear.
    pub(crate) forbid_header: bool,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Tls,
    Http(HttpVersion),
    Opaque,
}

/// For whom a request is.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Its host as routes know it; none: it names nobody.
    pub(crate) name: Option<String>,
    /// It wants to change the protocol.
    pub(crate) upgrades: bool,
}

impl Opening {
    /// What the client has said so far, without a PROXY header.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The same, still here.
    pub(crate) fn said(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether what was said may still become a PROXY header that the client may not send.
    pub(crate) fn may_be_header(&self) -> bool {
        self.forbid_header && !self.bytes.is_empty()
    }

    /// Reads on once the connection is open, as long as it takes; false: the client says no more. The caller limits how much.
    ///
    /// # Errors
    /// The client is gone, or sends a PROXY header that it may not send.
    pub(crate) async fn read_on(&mut self, from: &mut Wire) -> Result<bool, Refused> {
        self.bytes.reserve(CHUNK);
        let gone = |error: io::Error| Refused::because(Refusal::ClientGone, error.to_string());
        let more = from.read_buf(&mut self.bytes).await.map_err(gone)? > 0;
        if self.forbid_header && proxy_protocol::is_header(&self.bytes) {
            return Err(Refusal::UntrustedProxyHeader.into());
        }
        // Where nothing was said, the relay looks out for one.
        let over = !(more && proxy_protocol::may_become_header(&self.bytes));
        if over && !self.bytes.is_empty() {
            self.forbid_header = false;
        }
        Ok(more)
    }

    /// Whether nothing has been read that the backend shall get.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Reads a PROXY header where there may or must be one.
    pub(crate) async fn read_header(
        &mut self,
        from: &mut Source<'_>,
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

    /// Reads a relay header on a direct port, where any other PROXY header is refused; none: there is no header.
    pub(crate) async fn read_relayed(
        &mut self,
        from: &mut Source<'_>,
        keys: Option<&RelayKeys>,
        may_be_silent: bool,
    ) -> Result<Option<Relayed>, Refused> {
        loop {
            match relayed::open(keys, &self.bytes) {
                Ok(Some((relayed, length))) => {
                    self.bytes.drain(..length);
                    self.addresses = Some(relayed.addresses.clone());
                    return Ok(Some(relayed));
                }
                Ok(None) => {}
                Err(Fault::NoHeader) => return Ok(None),
                Err(fault) => return Err(Refused::because(fault.refusal(), fault.to_string())),
            }
            let silence = may_be_silent && self.bytes.is_empty();
            match self.read_more_within(from, silence.then_some(NO_HEADER)).await? {
                Some(true) => {}
                Some(false) if self.bytes.is_empty() => return Err(Refusal::ClientGone.into()),
                // Whatever follows it would be taken for a guest's own words.
                Some(false) if proxy_protocol::is_header(&self.bytes) => {
                    return Err(Refused::because(Refusal::BadProxyHeader, "it ends in the middle"));
                }
                None | Some(false) => return Ok(None),
            }
        }
    }

    /// Reads until it is known what a client of a `protocol` listener speaks; a `ClientHello` whole, and its name.
    pub(crate) async fn read_first(
        &mut self,
        from: &mut Source<'_>,
        protocol: Protocol,
        rule: HeaderRule,
        may_be_silent: bool,
    ) -> Result<Spoken, Refused> {
        self.read_until_known(from, protocol, rule, may_be_silent, look)
            .await
    }

    /// Reads the head of an HTTP/1 request and leaves it where it is. None: it is none that could be forwarded, or too long to
    /// be looked at here; whoever serves requests says so.
    pub(crate) async fn read_request(&mut self, from: &mut Source<'_>) -> Result<Option<Asked>, Refused> {
        loop {
            let mut copy = BytesMut::from(self.bytes.as_slice());
            match take_request(&mut copy, LIMIT) {
                Ok(Some(head)) => {
                    let request = Request::from_h1(head).ok();
                    return Ok(request.map(|request| Asked {
                        name: request.name,
                        upgrades: request.upgrade.is_some(),
                    }));
                }
                Ok(None) if self.bytes.len() < LIMIT => {}
                Ok(None) | Err(_) => return Ok(None),
            }
            if !self.read_more(from.wire).await? {
                return Ok(None);
            }
        }
    }

    /// Reads until it is known what is inside TLS that ended here.
    pub(crate) async fn read_inside(
        &mut self,
        from: &mut Source<'_>,
        protocol: Protocol,
        rule: HeaderRule,
        may_be_silent: bool,
    ) -> Result<Spoken, Refused> {
        self.read_until_known(from, protocol, rule, may_be_silent, look_inside)
            .await
    }

    async fn read_until_known(
        &mut self,
        from: &mut Source<'_>,
        protocol: Protocol,
        rule: HeaderRule,
        may_be_silent: bool,
        look: fn(Protocol, &[u8]) -> Look,
    ) -> Result<Spoken, Refused> {
        loop {
            if rule == HeaderRule::Forbidden && proxy_protocol::is_header(&self.bytes) {
                return Err(Refusal::UntrustedProxyHeader.into());
            }
            // The beginning of a forbidden header is nothing else yet.
            let may_be_header =
                rule == HeaderRule::Forbidden && proxy_protocol::may_become_header(&self.bytes);
            match look(protocol, &self.bytes) {
                Look::More => {}
                _ if may_be_header => {}
                Look::Tls(name) => {
                    self.is_tls = true;
                    self.name = name;
                    return Ok(Spoken::Tls);
                }
                Look::Http(version) => return Ok(Spoken::Http(version)),
                Look::Opaque => return Ok(Spoken::Opaque),
                Look::Bad(why) => return Err(Refused::because(Refusal::BadHandshake, why)),
            }
            let silence = may_be_silent && self.bytes.is_empty();
            let Some(more) = self.read_more_within(from, silence.then_some(SILENCE)).await? else {
                return Ok(Spoken::Opaque);
            };
            if !more {
                return self.at_end(protocol);
            }
        }
    }

    /// What a client speaks that says no more, before it was known.
    fn at_end(&self, protocol: Protocol) -> Result<Spoken, Refused> {
        if self.bytes.is_empty() {
            return Err(Refusal::ClientGone.into());
        }
        match protocol {
            Protocol::Auto => Ok(Spoken::Opaque),
            Protocol::Http => Ok(Spoken::Http(HttpVersion::Http1)),
            _ => Err(Refused::because(Refusal::BadHandshake, "it ends in the middle")),
        }
    }

    /// Like [`Opening::read_more`]; none: the client said nothing within `limit`.
    async fn read_more_within(
        &mut self,
        from: &mut Source<'_>,
        limit: Option<Duration>,
    ) -> Result<Option<bool>, Refused> {
        let Some(limit) = limit else {
            return self.read_more(from.wire).await.map(Some);
        };
        let read = from.alarms.within(limit, self.read_more(from.wire)).await;
        read.map_or(Ok(None), |read| read.map(Some))
    }

    /// Reads once; false: the client says no more.
    async fn read_more(&mut self, from: &mut Wire) -> Result<bool, Refused> {
        if self.bytes.len() >= LIMIT {
            return Err(Refused::because(
                Refusal::BadHandshake,
                "a first message of more than 16 KiB",
            ));
        }
        self.bytes.reserve_exact(CHUNK);
        let gone = |error: io::Error| Refused::because(Refusal::ClientGone, error.to_string());
        Ok(from.read_buf(&mut self.bytes).await.map_err(gone)? > 0)
    }
}

/// What a PROXY header from this peer would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderRule {
    /// Nothing special: the listener knows no such thing.
    Ignored,
    Forbidden,
    Allowed,
    Required,
}

impl HeaderRule {
    pub(crate) fn of(listener: &Listener, peer: IpAddr) -> Self {
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
