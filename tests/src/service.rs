//! One address for several replicas, as a Service in a cluster is. In: a
//! machine, a port, where the replicas listen. Out: each connection is carried
//! to the next replica in turn, whether it answers or not: who is refused
//! tries again.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::lab::Host;

/// While it lives, its address is served.
pub struct Service {
    /// Its task lives on this machine.
    _host: Host,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Service {
    /// Serves `port` of this machine.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn start(host: &Host, port: u16, replicas: &[SocketAddr]) -> Self {
        let address = host.at(port);
        let listening = host.block_on(TcpListener::bind(address));
        let listener = listening.unwrap_or_else(|e| panic!("{address}: {e}"));
        let task = host.spawn(accept(listener, replicas.to_vec()));
        Self {
            _host: host.clone(),
            address,
            task,
        }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, replicas: Vec<SocketAddr>) {
    let mut turns = replicas.iter().copied().cycle();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                if let Some(replica) = turns.next() {
                    connections.spawn(carry(client, replica));
                }
            }
            Some(_) = connections.join_next() => {} // how one ended is its client's to judge
        }
    }
}

async fn carry(mut client: TcpStream, replica: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(replica).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
