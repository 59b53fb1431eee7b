//! The operator's own endpoints. In: HTTP/1.1 requests. Out: whether it lives and is ready, metrics; and, only where asked on
//! the admin address, what it knows.

mod pages;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use pages::{Known, Readiness, Wait};

/// Requests served at once; more wait to be accepted.
const CONNECTIONS: usize = 32;

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one connection may last, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(1);

/// Accepting again after it failed.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Whom an address shows what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The kubelet and collectors of metrics.
    Everyone,
    /// People on this machine: everything that is known, too.
    Local,
}

/// A bound address that nobody serves yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    audience: Audience,
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// Which.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

impl Admin {
    /// Binds.
    ///
    /// # Errors
    /// The address is taken, or not ours.
    pub async fn bind(address: SocketAddr, audience: Audience) -> Result<Self, BindError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| BindError { address, source })?;
        Ok(Self { listener, audience })
    }

    /// Serves until `ended`; requests under way are cut off then.
    ///
    /// # Errors
    /// None; the task's type wants one.
    pub async fn serve(self, known: Known, ended: CancellationToken) -> Result<(), Infallible> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = ended.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, self.audience, known.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept an admin connection");
                        tokio::time::sleep(BACK_OFF).await;
                    }
                },
            }
        }
        connections.shutdown().await;
        Ok(())
    }
}

async fn connection(stream: TcpStream, audience: Audience, known: Known) {
    let service = service_fn(move |request| {
        let known = known.clone();
        async move { Ok::<_, Infallible>(pages::answer(&request, audience, &known).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // whatever goes wrong here is the client's affair
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
}
