//! What a test backend says on each connection: one JSON line. Written by the
//! `test-backend` program, read by the clients; a client counts as served when
//! a byte of it arrives.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Who served this connection, and what it saw of the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The backend's name.
    pub name: String,
    /// The backend's own address of this connection.
    pub local: SocketAddr,
    /// Where the connection came from: the proxy.
    pub peer: SocketAddr,
    /// What the PROXY protocol header said, when the backend reads one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyHeader>,
}

/// A PROXY protocol header as the backend read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyHeader {
    /// 1 or 2.
    pub version: u8,
    /// The client's address and the address it connected to; `None` for
    /// `UNKNOWN` and `LOCAL`.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}
