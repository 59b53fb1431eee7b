//! One attempt. In: an address, source addresses, how the backend is spoken to. Out: a connection that stands, TLS and
//! all, or why there is none.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use switchyard_snapshot::SendProxy;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::proxy_protocol::{self, Addresses};
use crate::session::end::ConnectError;
use crate::socket;
use crate::tls;
use crate::wire::Wire;
use crate::worker::thread::Worker;

use super::Caller;
use super::search::Choice;

/// Ports that the kernel hands out by default begin here (`net.ipv4.ip_local_port_range`).
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

/// How one attempt ended.
pub(super) type Outcome = Result<Wire, (ConnectError, String)>;

/// Where an attempt goes.
pub(super) struct Goal {
    address: SocketAddr,
    /// To open TLS, with the header that goes before it.
    secure: Option<(Arc<str>, SendProxy)>,
}

impl Goal {
    pub(super) fn of(choice: &Choice) -> Self {
        let via = choice.via;
        Self {
            address: choice.address(),
            secure: via
                .tls
                .then(|| (Arc::clone(&choice.place.endpoint().backend), via.send_proxy)),
        }
    }
}

/// What a PROXY header says of a client.
#[derive(Clone, Copy)]
pub(crate) struct Announce<'a> {
    /// The client's socket; none where `addresses` are given.
    pub(crate) client: Option<&'a TcpStream>,
    /// The client.
    pub(crate) from: SocketAddr,
    /// What a header from the client's side said.
    pub(crate) addresses: Option<&'a Addresses>,
    /// The name of its TLS handshake.
    pub(crate) name: Option<&'a str>,
}

impl Announce<'_> {
    /// The header; empty for [`SendProxy::None`].
    ///
    /// # Errors
    /// The client's socket does not say where it connected to: it is broken.
    pub(crate) fn header(&self, version: SendProxy) -> io::Result<Vec<u8>> {
        if version == SendProxy::None {
            return Ok(Vec::new());
        }
        Ok(proxy_protocol::encode(version, &self.addresses()?, self.name))
    }

    /// The client, and what it connected to.
    ///
    /// # Errors
    /// As above.
    pub(super) fn addresses(&self) -> io::Result<Addresses> {
        match (self.addresses, self.client) {
            (Some(addresses), _) => Ok(addresses.clone()),
            (None, Some(client)) => Ok(Addresses {
                source: self.from,
                destination: socket::local_address(client)?,
            }),
            (None, None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Connects, and opens TLS where the backend speaks it.
pub(super) async fn reach(caller: Caller<'_>, goal: Goal) -> Outcome {
    let told = |error: io::Error| told(&error);
    let dialing = dial(caller.worker, goal.address, &caller.routing.snat);
    let Some((backend, header)) = goal.secure else {
        return dialing.await.map(Wire::Plain).map_err(told);
    };
    let mut tcp = dialing.await.map_err(told)?;
    let header = caller.announce.header(header).map_err(told)?;
    tcp.write_all(&header).await.map_err(told)?;
    tls::secure(caller.chain, &backend, caller.inside, tcp).await
}

fn told(error: &io::Error) -> (ConnectError, String) {
    let kind = socket::connect_error(error);
    let text = match kind {
        ConnectError::OutOfDescriptors => format!("this proxy has no descriptors or memory left: {error}"),
        ConnectError::OutOfPorts => format!("this proxy has no local port left towards it: {error}"),
        _ => error.to_string(),
    };
    (kind, text)
}

/// Connects to `to`; from the next of `sources` that has a port left towards it, where there are any.
async fn dial(worker: &Worker, to: SocketAddr, sources: &[IpAddr]) -> io::Result<TcpStream> {
    let mut left = sources
        .iter()
        .filter(|source| source.is_ipv4() == to.is_ipv4())
        .count();
    loop {
        match socket::connect(to, worker.source_for(to.ip(), sources)).await {
            Err(error) if left > 1 && socket::connect_error(&error) == ConnectError::OutOfPorts => left -= 1,
            Err(error) => return Err(error),
            Ok(stream) => return not_itself(stream, to),
        }
    }
}

/// Refuses a connection of a socket to itself: on loopback the kernel may choose the very port that was called, when
/// nobody listens there (RFC 793 §3.4, simultaneous open).
fn not_itself(stream: TcpStream, to: SocketAddr) -> io::Result<TcpStream> {
    let possible = to.ip().is_loopback() && to.port() >= FIRST_EPHEMERAL_PORT;
    if possible && stream.local_addr()? == to {
        socket::reset_on_close(&stream);
        return Err(io::Error::from_raw_os_error(nix::libc::ECONNREFUSED));
    }
    Ok(stream)
}
