//! The accept loop: as many connections as there is room for, backing off when the system has nothing left to give.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use crate::socket;
use crate::worker::thread::Worker;

use super::gate::{Gate, Pass};
use super::serve::{Accepted, Connection};
use super::{ListenerLocal, Stop};

/// Descriptors of one session: the client's and the backend's.
const DESCRIPTORS: u32 = 2;
/// How long to wait after an accept that failed: doubled with each failure in a row, up to the longest.
const BACK_OFF: Duration = Duration::from_millis(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

/// How long a handshake that has begun when a socket is closed may take: the client's part of it is one round trip away.
const LAST_HANDSHAKES: Duration = Duration::from_millis(100);

/// Which listener a socket belongs to; another one when the configuration says so.
pub(crate) type Owner = Rc<RefCell<Rc<ListenerLocal>>>;

/// What a connection occupies for as long as it lives.
#[derive(Debug)]
pub(crate) struct Passes {
    _descriptors: Pass,
    /// None for a load balancer's probe.
    place: Option<Pass>,
}

/// One listening socket of one worker.
pub(crate) struct Acceptor {
    pub(crate) worker: Rc<Worker>,
    pub(crate) socket: TcpListener,
    /// Guests arrive here.
    pub(crate) direct: bool,
    pub(crate) owner: Owner,
    pub(crate) stop: Rc<Stop>,
}

impl Acceptor {
    /// Accepts until told to stop, then serves who is in the accept queue or on the way there and closes the socket: closing
    /// a socket resets them.
    pub(crate) async fn run(self) {
        let mut failures = 0;
        loop {
            self.wait_for_room().await;
            let next = poll_fn(|cx| {
                if self.stop.is_stopped(cx.waker()) {
                    Poll::Ready(None)
                } else {
                    self.socket.poll_accept(cx).map(Some)
                }
            });
            match next.await {
                None => break,
                Some(Ok((stream, from))) => {
                    failures = 0;
                    self.admit(stream, socket::canonical(from)).await;
                }
                Some(Err(error)) => {
                    let Some(pause) = pause_after(&error, failures) else {
                        continue;
                    };
                    let listener = self.listener();
                    listener.counts.accept_errors.add(1);
                    if failures == 0 {
                        tracing::warn!(listener = listener.name, %error, "cannot accept connections; trying again");
                    }
                    failures += 1;
                    tokio::time::sleep(pause).await;
                }
            }
        }
        let listener = self.listener();
        if let Err(error) = self.serve_last().await {
            tracing::warn!(listener = listener.name, %error, "connections that waited to be accepted may be lost");
        }
    }

    fn listener(&self) -> Rc<ListenerLocal> {
        Rc::clone(&self.owner.borrow())
    }

    /// Leaves connections in the kernel's queue while this listener, or the process, has all it may have.
    async fn wait_for_room(&self) {
        let mut limited = false;
        loop {
            let listener = self.listener();
            let limit = listener.max_connections();
            let (descriptors, descriptor_limit) = self.descriptors();
            let full = if !listener.gate.has_room(1, limit) {
                (&listener.gate, 1, limit)
            } else if !descriptors.has_room(DESCRIPTORS, descriptor_limit) {
                (descriptors, DESCRIPTORS, descriptor_limit)
            } else {
                return;
            };
            if !std::mem::replace(&mut limited, true) {
                listener.counts.limited.add(1);
            }
            let (gate, size, limit) = full;
            if self.stopped_before_room(gate, size, limit).await {
                return;
            }
        }
    }

    fn descriptors(&self) -> (&Arc<Gate>, u32) {
        let shared = &self.worker.shared;
        (&shared.descriptors, shared.descriptor_limit)
    }

    /// Waits for room; true: told to stop instead.
    async fn stopped_before_room(&self, gate: &Gate, size: u32, limit: u32) -> bool {
        let mut room = std::pin::pin!(gate.wait_for_room(size, limit));
        poll_fn(|cx| {
            if self.stop.is_stopped(cx.waker()) {
                return Poll::Ready(true);
            }
            room.as_mut().poll(cx).map(|()| false)
        })
        .await
    }

    /// Takes the connection's places and starts its task. Another worker may have taken the last place since it was
    /// looked for; then the connection waits here.
    async fn admit(&self, stream: TcpStream, from: SocketAddr) {
        let listener = self.listener();
        let (descriptors, descriptor_limit) = self.descriptors();
        let passes = Passes {
            _descriptors: self.enter(descriptors, DESCRIPTORS, || descriptor_limit).await,
            place: if listener.is_monitor(from.ip()) {
                None
            } else {
                Some(self.enter(&listener.gate, 1, || listener.max_connections()).await)
            },
        };
        start(&self.worker, listener, (stream, from, self.direct), passes);
    }

    async fn enter(&self, gate: &Arc<Gate>, size: u32, limit: impl Fn() -> u32) -> Pass {
        loop {
            if let Some(pass) = gate.enter(size, limit()) {
                return pass;
            }
            if self.stopped_before_room(gate, size, limit()).await {
                return gate.enter_anyway(size);
            }
        }
    }

    /// Accepts who has begun a connection, limits or no limits, then closes.
    async fn serve_last(self) -> io::Result<()> {
        // Who begins now is not seen; its next SYN, a second later, finds the port closed: refused, and not cut.
        let ignored = socket::ignore_newcomers(&self.socket);
        let mut over = std::pin::pin!(tokio::time::sleep(LAST_HANDSHAKES));
        loop {
            let next = poll_fn(|cx| match self.socket.poll_accept(cx) {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending => over.as_mut().poll(cx).map(|()| None),
            });
            match next.await {
                Some(Ok((stream, from))) => self.admit_anyway(stream, from),
                Some(Err(error)) if pause_after(&error, 0).is_none() => {}
                Some(Err(error)) => return Err(error),
                None => return ignored,
            }
        }
    }

    fn admit_anyway(&self, stream: TcpStream, from: SocketAddr) {
        socket::ignore_nobody(&stream);
        let listener = self.listener();
        let from = socket::canonical(from);
        let passes = Passes {
            _descriptors: self.worker.shared.descriptors.enter_anyway(DESCRIPTORS),
            place: (!listener.is_monitor(from.ip())).then(|| listener.gate.enter_anyway(1)),
        };
        start(&self.worker, listener, (stream, from, self.direct), passes);
    }
}

/// How long to wait before the next accept; none: the failure was that one connection's own (accept(2) hands on errors
/// of the new socket).
fn pause_after(error: &io::Error, failures: u32) -> Option<Duration> {
    let of_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    );
    (!of_connection).then(|| LONGEST_BACK_OFF.min(BACK_OFF * (1 << failures.min(8))))
}

fn start(
    worker: &Rc<Worker>,
    listener: Rc<ListenerLocal>,
    (client, from, direct): (TcpStream, SocketAddr, bool),
    passes: Passes,
) {
    let monitor = passes.place.is_none();
    if !monitor {
        listener.counts.accepted.add(1);
    }
    let accepted = Accepted {
        client,
        from,
        at: Instant::now(),
        monitor,
        direct,
        passes,
    };
    tokio::task::spawn_local(Connection::new(worker.begin(), listener, accepted));
}

impl ListenerLocal {
    fn max_connections(&self) -> u32 {
        self.route.borrow().listener().max_connections
    }

    /// Whether `from` is a load balancer's probe.
    fn is_monitor(&self, from: IpAddr) -> bool {
        self.route
            .borrow()
            .listener()
            .monitor_sources
            .iter()
            .any(|net| net.contains(&from))
    }
}
