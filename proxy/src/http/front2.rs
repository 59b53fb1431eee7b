//! Clients that speak HTTP/2 (RFC 9113). In: their connection. Out: a task per stream, all of them bounded, and a GOAWAY
//! before the end.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::server::{Connection, SendResponse};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Visit;
use super::answer::Answer;
use super::body::Source;
use super::exchange::{After, Exchange};
use super::life::{Life, Over, Phase};
use super::log::Entry;
use super::reply::Reply;
use super::request::Request;
use crate::wire::Wire;
use crate::worker::thread::Worker;

/// Streams of one client at a time (RFC 9113 §6.5.2 asks for 100 at least).
const MAX_STREAMS: u32 = 128;
/// Bytes that a client may send on one stream, and on all of a connection, before it is told that they were taken.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes that wait to be sent on one stream.
const SEND_BUFFER: usize = 128 * 1024;
/// Streams that a client may reset before we have looked at them; more end the connection (CVE-2023-44487).
const MAX_RESETS: usize = 32;
/// Requests that a client may take back on one connection, if they are more than half of all: it does not want answers, it
/// wants us to work.
const MAX_TAKEN_BACK: u32 = 200;
/// How long the end of a connection may take.
const LINGER: Duration = Duration::from_secs(2);

/// Serves streams until the client leaves, is idle for too long, or the proxy drains.
pub(super) async fn serve(mut visit: Visit, wire: Wire, said: Vec<u8>) {
    let worker = Rc::clone(visit.worker());
    let route = visit.listener.route();
    let limits = route.listener();
    let max_head = limits.http.max_head_bytes;
    let member = worker
        .lives
        .join(Phase::Head, limits.idle_timeout, limits.handshake_timeout);
    drop(route);
    visit.connection = Some(Rc::clone(&member.life));
    let life = &*member.life;
    let io = Ahead {
        said: said.into(),
        wire,
    };
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(max_head)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(Some(1024))
        .enable_connect_protocol()
        .handshake(io);
    let Ok(Ok(connection)) = life.unless_over(handshake).await else {
        return;
    };
    life.enter(Phase::Open);
    Streams {
        visit,
        open: Rc::default(),
        tally: Rc::default(),
        going: false,
    }
    .run(connection, life)
    .await;
}

/// The streams of one connection.
struct Streams {
    visit: Visit,
    open: Rc<Cell<usize>>,
    tally: Rc<Tally>,
    going: bool,
}

/// How streams ended.
#[derive(Debug, Default)]
struct Tally {
    served: Cell<u32>,
    taken_back: Cell<u32>,
}

impl Tally {
    fn is_abuse(&self) -> bool {
        let taken_back = self.taken_back.get();
        taken_back >= MAX_TAKEN_BACK && taken_back > self.served.get()
    }
}

/// Counts a stream for as long as it lives.
struct Open(Rc<Cell<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Streams {
    async fn run(mut self, mut connection: Connection<Ahead, Bytes>, life: &Life) {
        let worker = Rc::clone(self.visit.worker());
        loop {
            let next = poll_fn(|cx| {
                if (worker.lives.is_leaving() || life.is_leaving()) && !self.going {
                    self.going = true;
                    connection.graceful_shutdown();
                }
                connection.poll_accept(cx)
            });
            match life.unless_over(next).await {
                Ok(Some(Ok((request, respond)))) => {
                    life.moves();
                    self.begin(request, respond);
                    if self.tally.is_abuse() {
                        self.visit.note_abuse();
                        connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                        return finish(&worker, &mut connection).await;
                    }
                }
                Ok(Some(Err(error))) => {
                    self.visit.note_broken(&error);
                    return;
                }
                Ok(None) => return,
                // Streams have limits of their own.
                Err(Over) if self.open.get() > 0 && !life.is_expelled() => life.extend(),
                Err(Over) => {
                    connection.graceful_shutdown();
                    return finish(&worker, &mut connection).await;
                }
            }
        }
    }

    fn begin(&self, request: http::Request<h2::RecvStream>, respond: SendResponse<Bytes>) {
        self.open.set(self.open.get() + 1);
        let open = Open(Rc::clone(&self.open));
        // It ends with the worker, if not before.
        let tally = Rc::clone(&self.tally);
        tokio::task::spawn_local(stream(self.visit.clone(), request, respond, open, tally));
    }
}

/// Lets the last words arrive.
async fn finish(worker: &Worker, connection: &mut Connection<Ahead, Bytes>) {
    let rest = poll_fn(|cx| connection.poll_closed(cx));
    let ended = worker.alarms.within(LINGER, rest).await;
    drop(ended);
}

/// One stream.
async fn stream(
    visit: Visit,
    request: http::Request<h2::RecvStream>,
    respond: SendResponse<Bytes>,
    _open: Open,
    tally: Rc<Tally>,
) {
    let worker = Rc::clone(visit.worker());
    let route = visit.listener.route();
    let limits = route.listener();
    let member = worker
        .lives
        .join(Phase::Open, limits.idle_timeout, limits.handshake_timeout);
    drop(route);
    let life = &*member.life;
    let (parts, body) = request.into_parts();
    let mut reply = Reply::H2 {
        respond,
        head: parts.method == http::Method::HEAD,
    };
    let body = Source::h2(body);
    match Request::from_h2(parts, body.is_empty()) {
        Ok(request) => {
            let exchange = Exchange {
                visit: &visit,
                life,
                entry: Entry::new(&request),
                request,
                reply,
            };
            match exchange.run(body).await {
                After::Gone => tally.taken_back.set(tally.taken_back.get() + 1),
                _ => tally.served.set(tally.served.get() + 1),
            }
        }
        Err(bad) => {
            let answer = Answer::bad(bad);
            visit.note_refused(&answer);
            reply.say(&answer, life, &worker.buffers).await;
        }
    }
}

/// A stream of which something has been read already.
struct Ahead {
    said: Bytes,
    wire: Wire,
}

impl AsyncRead for Ahead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.said.is_empty() {
            return Pin::new(&mut self.wire).poll_read(cx, buf);
        }
        let count = self.said.len().min(buf.remaining());
        buf.put_slice(&self.said[..count]);
        self.said.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
