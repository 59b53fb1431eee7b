//! A way from the API server to a lab's machine, which is not in its network:
//! by it the API server calls a webhook. In: a machine and a port of its
//! loopback. Out: an address outside; it can be cut and restored.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::task::{AbortHandle, JoinHandle};

use crate::lab::Host;

/// While it lives, the API server can reach the machine.
pub struct Inlet {
    host: Host,
    port: u16,
    address: SocketAddr,
    outside: runtime::Handle,
    running: Option<JoinHandle<()>>,
    carried: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Inlet {
    pub(super) fn new(host: &Host, port: u16, outside: &runtime::Handle) -> Self {
        let mut inlet = Self {
            host: host.clone(),
            port,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            outside: outside.clone(),
            running: None,
            carried: Arc::default(),
        };
        inlet.restore();
        inlet
    }

    /// Where the API server connects.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections and refuses new ones.
    pub fn cut(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        running.abort();
        let _ = self.outside.block_on(running); // cancelled, as it shall be
        for carried in self
            .carried
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            carried.abort();
        }
    }

    /// Lets connections through again, at the same address.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn restore(&mut self) {
        if self.running.is_some() {
            return;
        }
        let bound = self.outside.block_on(TcpListener::bind(self.address));
        let listener = bound.unwrap_or_else(|why| panic!("{}: {why}", self.address));
        self.address = listener.local_addr().expect("the address of a listener");
        let (host, port, carried) = (self.host.clone(), self.port, Arc::clone(&self.carried));
        self.running = Some(self.outside.spawn(async move {
            while let Ok((outer, _)) = listener.accept().await {
                // A socket belongs to the network of the thread that made it: the other one is made inside.
                let task = host.spawn(carry(outer.into_std(), port));
                let mut carried = carried.lock().unwrap_or_else(PoisonError::into_inner);
                carried.retain(|task: &AbortHandle| !task.is_finished());
                carried.push(task.abort_handle());
            }
        }));
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn carry(outer: io::Result<std::net::TcpStream>, port: u16) -> io::Result<()> {
    let mut outer = TcpStream::from_std(outer?)?;
    let mut inner = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    inner.set_nodelay(true)?;
    outer.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut outer, &mut inner).await?;
    Ok(())
}
