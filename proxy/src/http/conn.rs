//! One HTTP/1.1 connection, to a client or to a backend. In: a stream. Out: heads, and buffers that bodies read from and write
//! to. While nothing is under way it holds no memory beyond itself.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::relay::buffers::{BULK, Buffers, SIZE};
use crate::wire::Wire;
use crate::worker::alarms::Alarms;

/// What is written goes out at once when this much waits; a body piece that is longer is not copied.
const GATHER: usize = 16 * 1024;
/// Bytes that a peer may send after our last word.
const MOST_DISCARDED: usize = 64 * 1024 * 1024;
/// How long it may say nothing then, and yet not end its side.
const SILENCE: Duration = Duration::from_secs(2);

/// Both sides of one stream; everything on it happens on one thread, within one poll after the other.
#[derive(Debug)]
pub(crate) struct Conn {
    wire: RefCell<Wire>,
    /// Read, and not used yet.
    pub(crate) input: RefCell<BytesMut>,
    output: RefCell<Output>,
    reach: Cell<usize>,
    ended: Cell<bool>,
    /// Bytes read and written so far.
    pub(crate) read: Cell<u64>,
    pub(crate) written: Cell<u64>,
}

/// What waits to be written: `gathered`, then `piece`, then `after`.
#[derive(Debug, Default)]
struct Output {
    gathered: Vec<u8>,
    sent: usize,
    piece: Bytes,
    after: &'static [u8],
}

impl Output {
    fn waiting(&self) -> usize {
        self.gathered.len() - self.sent + self.piece.len() + self.after.len()
    }

    fn advance(&mut self, by: usize) {
        let first = by.min(self.gathered.len() - self.sent);
        self.sent += first;
        let second = (by - first).min(self.piece.len());
        self.piece.advance(second);
        self.after = self.after.get(by - first - second..).unwrap_or_default();
        if self.sent == self.gathered.len() {
            self.gathered.clear();
            self.sent = 0;
        }
    }
}

impl Conn {
    /// A connection on which `said` has been read already.
    pub(crate) fn new(wire: Wire, said: &[u8]) -> Self {
        Self {
            wire: RefCell::new(wire),
            input: RefCell::new(BytesMut::from(said)),
            output: RefCell::default(),
            reach: Cell::new(SIZE),
            ended: Cell::new(false),
            read: Cell::new(said.len() as u64),
            written: Cell::new(0),
        }
    }

    /// The stream, and what was read and not used.
    pub(crate) fn into_parts(self) -> (Wire, Bytes) {
        (self.wire.into_inner(), self.input.into_inner().freeze())
    }

    /// Reads what is there; 0: the peer has ended its side.
    pub(crate) fn poll_fill(&self, cx: &mut Context<'_>, buffers: &Buffers) -> Poll<io::Result<usize>> {
        if self.ended.get() {
            return Poll::Ready(Ok(0));
        }
        let input = &mut *self.input.borrow_mut();
        let reach = self.reach.get();
        let mut scratch = buffers.scratch();
        let mut read = ReadBuf::new(&mut scratch[..reach]);
        ready!(Pin::new(&mut *self.wire.borrow_mut()).poll_read(cx, &mut read))?;
        let count = read.filled().len();
        input.extend_from_slice(read.filled());
        self.reach.set(if count == reach {
            (reach * 2).min(BULK)
        } else {
            SIZE
        });
        self.ended.set(count == 0);
        self.read.set(self.read.get() + count as u64);
        Poll::Ready(Ok(count))
    }

    /// Whether nothing was read that nobody asked for, and the peer has not ended its side: fit to be used again.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        !self.ended.get()
            && self.input.borrow().is_empty()
            && self.output.borrow().waiting() == 0
            && Pin::new(&mut *self.wire.borrow_mut())
                .poll_read(&mut cx, &mut read)
                .is_pending()
    }

    /// Appends to what waits to be written.
    pub(crate) fn gather(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let output = &mut *self.output.borrow_mut();
        debug_assert!(
            output.piece.is_empty() && output.after.is_empty(),
            "nothing comes before what waits"
        );
        write(&mut output.gathered);
    }

    /// Appends a piece of a body and what ends it; call only once [`Conn::poll_room`] said so.
    pub(crate) fn put(&self, piece: Bytes, after: &'static [u8]) {
        let output = &mut *self.output.borrow_mut();
        if piece.len() + output.gathered.len() <= GATHER {
            output.gathered.extend_from_slice(&piece);
            output.gathered.extend_from_slice(after);
        } else {
            output.piece = piece;
            output.after = after;
        }
    }

    /// Ready once there is room for another piece.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let output = self.output.borrow();
        let full = output.waiting() >= GATHER || !output.piece.is_empty() || !output.after.is_empty();
        drop(output);
        if full {
            self.poll_flush(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// Ready once everything is written.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let output = &mut *self.output.borrow_mut();
        let wire = &mut *self.wire.borrow_mut();
        let mut wrote = false;
        while output.waiting() > 0 {
            if output.piece.is_empty() && output.after.is_empty() {
                let count = ready!(Pin::new(&mut *wire).poll_write(cx, &output.gathered[output.sent..]))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.written.set(self.written.get() + count as u64);
                output.advance(count);
                wrote = true;
                continue;
            }
            let slices = [
                IoSlice::new(&output.gathered[output.sent..]),
                IoSlice::new(&output.piece),
                IoSlice::new(output.after),
            ];
            let used = if output.sent == output.gathered.len() {
                &slices[1..]
            } else {
                &slices[..]
            };
            let count = ready!(Pin::new(&mut *wire).poll_write_vectored(cx, used))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written.set(self.written.get() + count as u64);
            output.advance(count);
            wrote = true;
        }
        // Only TLS holds anything back.
        if wrote || matches!(wire, Wire::Tls(_)) {
            ready!(Pin::new(wire).poll_flush(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) async fn flush(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Gives back the memory that only a message under way needs.
    pub(crate) fn rest(&self) {
        let input = &mut *self.input.borrow_mut();
        if input.is_empty() {
            *input = BytesMut::new();
        }
        let output = &mut *self.output.borrow_mut();
        if output.waiting() == 0 {
            output.gathered = Vec::new();
        }
    }

    /// Ends our side, and reads what the peer still sends until it ends its own: a close with unread bytes would be a reset,
    /// which may overtake what we said last (RFC 9112 §9.6). Whoever still sends a long body reads the answer only then, so it
    /// is given time, as long as it does send. The caller limits the whole.
    pub(crate) async fn linger(&self, buffers: &Buffers, alarms: &Alarms) {
        let shut = poll_fn(|cx| Pin::new(&mut *self.wire.borrow_mut()).poll_shutdown(cx));
        if shut.await.is_err() {
            return;
        }
        let mut left = MOST_DISCARDED;
        while left > 0 {
            let read = alarms.within(SILENCE, poll_fn(|cx| self.poll_fill(cx, buffers)));
            match read.await {
                Ok(Ok(count)) if count > 0 => left = left.saturating_sub(count),
                _ => return,
            }
            self.input.borrow_mut().clear();
        }
    }

    /// Makes the coming close a reset, so that nobody takes half a message for a whole one.
    pub(crate) fn reset_on_close(&self) {
        crate::socket::reset_on_close(self.wire.borrow().tcp());
    }
}
