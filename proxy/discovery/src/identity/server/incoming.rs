//! Accepts. In: a listener. Out: a stream of connections whose handshake is done; handshakes run beside each other, and one that
//! is slow or fails holds up nobody.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::{Peer, ServerTls};
use crate::identity::certificate::Claim;

/// Handshakes that run at the same time; more wait in the listener's queue.
const MAX_HANDSHAKES: usize = 256;

/// A client that is slower than this is none.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that was refused may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// After an error of the listener itself (no descriptors left, say).
const PAUSE: Duration = Duration::from_millis(200);

/// Failures are told once in this time, the others counted: anybody can cause them.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Connections whose handshake is done.
pub struct Incoming {
    tls: ServerTls,
    listener: TcpListener,
    handshakes: JoinSet<Result<Connection, (SocketAddr, io::Error)>>,
    pause: Option<Pin<Box<Sleep>>>,
    told: Option<Instant>,
    untold: u64,
}

impl Incoming {
    pub(super) fn new(tls: ServerTls, listener: TcpListener) -> Self {
        Self {
            tls,
            listener,
            handshakes: JoinSet::new(),
            pause: None,
            told: None,
            untold: 0,
        }
    }

    fn begin(&mut self, stream: TcpStream, address: SocketAddr) {
        let acceptor = TlsAcceptor::from(self.tls.config.borrow().clone());
        let counters = self.tls.counters.clone();
        self.handshakes.spawn(async move {
            // Delayed acknowledgements would hold small messages back for 40 ms. What cannot be set is only slower.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%address, %error, "cannot set TCP_NODELAY");
            }
            let accepting = acceptor.accept(stream).into_fallible();
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await {
                Ok(Ok(stream)) => Ok(Connection::new(stream, address)),
                Ok(Err((error, stream))) => {
                    counters.failed.fetch_add(1, Ordering::Relaxed);
                    let_read(stream).await;
                    Err((address, error))
                }
                Err(_) => {
                    counters.failed.fetch_add(1, Ordering::Relaxed);
                    Err((address, io::ErrorKind::TimedOut.into()))
                }
            }
        });
    }

    fn failed(&mut self, address: SocketAddr, error: &io::Error) {
        let now = Instant::now();
        if self.told.is_some_and(|told| now < told + TELL_EVERY) {
            self.untold += 1;
            return;
        }
        self.told = Some(now);
        let more = std::mem::take(&mut self.untold);
        tracing::warn!(%address, %error, more, "TLS handshake failed; the client was refused");
    }

    /// Takes connections from the listener as long as there is room for their handshakes.
    fn poll_listener(&mut self, context: &mut Context<'_>) {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(context).is_pending() {
                return;
            }
            self.pause = None;
        }
        while self.handshakes.len() < MAX_HANDSHAKES {
            match self.listener.poll_accept(context) {
                Poll::Ready(Ok((stream, address))) => self.begin(stream, address),
                Poll::Ready(Err(error)) => {
                    self.tls.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "cannot accept a connection");
                    let mut pause = Box::pin(tokio::time::sleep(PAUSE));
                    if pause.as_mut().poll(context).is_pending() {
                        self.pause = Some(pause);
                        return;
                    }
                }
                Poll::Pending => return,
            }
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            self.poll_listener(context);
            match self.handshakes.poll_join_next(context) {
                Poll::Ready(Some(Ok(Ok(connection)))) => {
                    self.tls.counters.accepted.fetch_add(1, Ordering::Relaxed);
                    return Poll::Ready(Some(Ok(connection)));
                }
                Poll::Ready(Some(Ok(Err((address, error))))) => self.failed(address, &error),
                Poll::Ready(Some(Err(error))) => tracing::error!(%error, "a handshake's task died"),
                // No handshake runs, so `poll_listener` found the listener (or its pause) pending: it wakes us.
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Ends our side and waits, not for long, until the client has ended its own: who was refused for its certificate has sent its first
/// words already (RFC 8446 §4.4.2.4), and a close with unread bytes would be a reset, which overtakes the alert.
async fn let_read(mut stream: TcpStream) {
    let reading = async {
        if stream.shutdown().await.is_ok() {
            let mut scratch = [0; 1024];
            while matches!(stream.read(&mut scratch).await, Ok(count) if count > 0) {}
        }
    };
    // Whoever takes longer has been told.
    let _ = tokio::time::timeout(LINGER, reading).await;
}

/// A connection whose handshake is done.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

impl Connection {
    fn new(stream: TlsStream<TcpStream>, address: SocketAddr) -> Self {
        let certificates = stream.get_ref().1.peer_certificates();
        let claim = Claim::of(certificates.and_then(|chain| chain.first()));
        Self {
            stream,
            peer: Peer { address, claim },
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
