//! A way from a lab's machine to the API server, which is not in the lab. In:
//! a machine. Out: the API server's own address on that machine's loopback,
//! so that one kubeconfig fits everywhere; it can be cut and restored, which
//! is what an outage of the API server looks like to that machine alone.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::lab::Host;

/// While it lives, its machine can reach the API server.
pub struct Relay {
    host: Host,
    server: SocketAddr,
    outside: runtime::Handle,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(super) fn new(host: &Host, server: SocketAddr, outside: &runtime::Handle) -> Self {
        let mut relay = Self {
            host: host.clone(),
            server,
            outside: outside.clone(),
            running: None,
        };
        relay.restore();
        relay
    }

    /// Ends all connections and refuses new ones.
    pub fn cut(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        let _ = running.stop.send(()); // an error means that it has ended
        self.host.block_on(async move {
            let _ = running.task.await; // its panic has been told by its own message
        });
    }

    /// Lets connections through again.
    ///
    /// # Panics
    /// When the address is taken on that machine.
    pub fn restore(&mut self) {
        if self.running.is_some() {
            return;
        }
        let (stop, stopped) = oneshot::channel();
        let (bound, is_bound) = mpsc::channel();
        let (server, outside) = (self.server, self.outside.clone());
        let task = self.host.spawn(async move {
            let listener = TcpListener::bind(server).await;
            let _ = bound.send(listener.as_ref().map(|_| ()).map_err(ToString::to_string));
            if let Ok(listener) = listener {
                accept(listener, server, outside, stopped).await;
            }
        });
        let told = is_bound.recv().expect("the task says whether it could bind");
        told.unwrap_or_else(|why| panic!("{server} on {}: {why}", self.host.name()));
        self.running = Some(Running { stop, task });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    outside: runtime::Handle,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Ok((inner, _)) = listener.accept() => {
                // A socket belongs to the network of the thread that made it: the other one is made outside.
                connections.spawn_on(carry(inner.into_std(), server), &outside);
            }
            Some(_) = connections.join_next() => {} // how one ended is its client's to judge
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Carries one connection on to `server`, from the network of the thread that runs this.
pub(super) async fn carry(inner: io::Result<std::net::TcpStream>, server: SocketAddr) -> io::Result<()> {
    let mut inner = TcpStream::from_std(inner?)?;
    let mut outer = TcpStream::connect(server).await?;
    inner.set_nodelay(true)?;
    outer.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut inner, &mut outer).await?;
    Ok(())
}
