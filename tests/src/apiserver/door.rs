//! A way to an API server that runs on a lab's machine, which this machine's
//! network does not reach. In: that machine and a port. Out: the same port on
//! our loopback; each connection is carried to the machine's own loopback.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;
use tokio::runtime;
use tokio::task::JoinHandle;

use super::relay;
use crate::lab::Host;

/// While it lives, the port is open.
pub(super) struct Door {
    accepting: JoinHandle<()>,
}

impl Door {
    /// Opens it.
    ///
    /// # Panics
    /// When the port is taken here.
    pub(super) fn open(host: &Host, port: u16, here: &runtime::Handle) -> Self {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = here.block_on(TcpListener::bind(at));
        let listener = listener.unwrap_or_else(|e| panic!("{at}: {e}"));
        let host = host.clone();
        let accepting = here.spawn(async move {
            // A socket belongs to the network of the thread that made it: the other one is made inside. A connection ends
            // with one of its ends, at the latest with the machine.
            while let Ok((stream, _)) = listener.accept().await {
                drop(host.spawn(relay::carry(stream.into_std(), at)));
            }
        });
        Self { accepting }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
