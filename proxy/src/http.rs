//! HTTP at the front. In: a client's stream, with TLS already opened, whose first bytes say HTTP. Out: each request
//! forwarded to an endpoint of its chain, or answered here.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use switchyard_snapshot::HttpVersion;

use crate::listener::{ListenerLocal, Passes};
use crate::wire::Wire;
use crate::worker::thread::Busy;

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
}

/// What a client holds here for as long as it is connected.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) busy: Busy,
    pub(crate) passes: Passes,
}

/// Serves a client until it leaves, is idle for too long, or the proxy drains.
pub(crate) async fn serve(held: Held, listener: Rc<ListenerLocal>, client: Client) {
    drop((held, listener, client));
}
