//! Notices that a client left, without reading what it said. In: its socket. Out: a future that ends when it is gone.

use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Ends when the client has reset or closed the connection, or half-closed it before it said anything: a client that
/// hangs up cannot be told from one that half-closes, but one that has nothing to say and never will is not served by
/// waiting on.
///
/// A client that said something and then half-closed (a request with nothing to follow) is alive; also if what it said has
/// been read already, as `has_spoken` tells.
pub(super) async fn left(client: Option<&TcpStream>, has_spoken: bool) {
    match client {
        Some(client) => gone(client, has_spoken).await,
        None => std::future::pending().await,
    }
}

async fn gone(client: &TcpStream, has_spoken: bool) {
    // `PRIORITY` stands for "urgent data or read side closed"; sockets are registered for the latter only. Interest in
    // readability would end at once when there are bytes, and these must stay where they are.
    match client.ready(Interest::PRIORITY).await {
        Ok(ready) if !ready.is_error() && !ready.is_write_closed() => {}
        _ => return,
    }
    let waits_unread = || {
        let (socket, flags) = (client.as_raw_fd(), MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        matches!(recv(socket, &mut [0], flags), Ok(1..))
    };
    if has_spoken || waits_unread() {
        // It has spoken, and is only done speaking.
        let _ = client.ready(Interest::ERROR).await;
    }
}
