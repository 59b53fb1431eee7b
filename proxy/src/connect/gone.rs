//! Notices that a client left, without reading what it said. In: its socket. Out: a future that ends when it is gone.

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Ends when the client has reset or closed the connection, or half-closed it before it said anything: a client that
/// hangs up cannot be told from one that half-closes, but one that has nothing to say and never will is not served by
/// waiting on.
///
/// A client that said something and then half-closed (a request with nothing to follow) is alive.
pub(super) async fn left(client: Option<&TcpStream>) {
    match client {
        Some(client) => gone(client).await,
        None => std::future::pending().await,
    }
}

async fn gone(client: &TcpStream) {
    // `PRIORITY` stands for "urgent data or read side closed"; sockets are registered for the latter only. Interest in
    // readability would end at once when there are bytes, and these must stay where they are.
    match client.ready(Interest::PRIORITY).await {
        Ok(ready) if !ready.is_error() && !ready.is_write_closed() => {}
        _ => return,
    }
    if let Ok(1..) = nix::sys::socket::recv(
        std::os::fd::AsRawFd::as_raw_fd(client),
        &mut [0],
        nix::sys::socket::MsgFlags::MSG_PEEK | nix::sys::socket::MsgFlags::MSG_DONTWAIT,
    ) {
        // It has spoken, and is only done speaking.
        let _ = client.ready(Interest::ERROR).await;
    }
}
