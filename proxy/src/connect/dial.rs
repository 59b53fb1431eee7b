//! One TCP connect. In: an address, source addresses. Out: an established connection, or what the system said.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;

use crate::session::end::ConnectError;
use crate::socket;
use crate::worker::thread::Worker;

/// Ports that the kernel hands out by default begin here (`net.ipv4.ip_local_port_range`).
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

/// Connects to `to`; from the next of `sources` that has a port left towards it, where there are any.
pub(super) async fn dial(worker: &Worker, to: SocketAddr, sources: &[IpAddr]) -> io::Result<TcpStream> {
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
