//! One direction of a relay. In: a socket that is read, a socket that is written. Out: bytes moved, and what happened.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy_protocol;
use crate::wire::Wire;

use super::buffers::{BULK, Buffers, SIZE, Waiting};

/// What became of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Nothing more to do until a socket says so.
    Blocked,
    /// There is more to do, but others want their turn.
    Yielded,
    /// Everything was delivered, the end of the stream included.
    Done,
    /// The sender's side broke.
    SourceBroke,
    /// The receiver's side broke.
    TargetBroke,
    /// The sender began with a PROXY header that it may not send.
    Forbidden,
}

/// Where a direction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing more is read; what waits is written, then the end is passed on.
    Ending,
    Done,
}

/// One direction. While its receiver keeps up it holds no memory.
#[derive(Debug)]
pub(super) struct Pipe {
    waiting: Option<Waiting>,
    state: State,
    /// Whether the target still holds small segments back (RFC 9293 §3.7.4).
    nagle: Nagle,
    /// The sender's first bytes, until it is sure that they are no PROXY header.
    screen: Option<Screen>,
    /// TLS took bytes that may not be on the wire yet: nothing more is read until they are.
    flushing: bool,
    /// Bytes read at once: more, up to [`BULK`], while full reads find a receiver that takes them whole.
    reach: usize,
}

/// A first small write is sent at once in any case, and many sessions have no second one: the option is worth its system
/// call only after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nagle {
    Off,
    Unused,
    Used,
}

/// What fits into one segment wherever TCP goes (RFC 9293 §3.7.1, for IPv4).
const ONE_SEGMENT: usize = 536;

/// Bytes that may become a PROXY header's signature: fewer than the longest has.
#[derive(Debug, Default)]
struct Screen {
    held: [u8; proxy_protocol::LONGEST_SIGNATURE],
    length: u8,
}

/// Sees bytes as they pass.
pub(super) type Eye<'a> = &'a mut dyn FnMut(&[u8]);

/// What a direction works with.
pub(super) struct Ends<'a> {
    pub(super) from: &'a mut Wire,
    pub(super) to: &'a mut Wire,
    pub(super) buffers: &'a Buffers,
    /// Bytes delivered.
    pub(super) moved: &'a Cell<u64>,
    /// Sees what is read.
    pub(super) watch: Option<Eye<'a>>,
}

impl Pipe {
    /// To the backend. `first` goes before what is read; with `screened`, a PROXY header is not passed on.
    pub(super) fn up(first: Option<Waiting>, screened: bool) -> Self {
        let screen = screened.then(Screen::default);
        Self {
            waiting: first,
            state: State::Open,
            nagle: Nagle::Unused,
            screen,
            flushing: false,
            reach: SIZE,
        }
    }

    /// To the client; `first` goes before what is read. Its socket has all options from the listening one.
    pub(super) fn down(first: Option<Waiting>) -> Self {
        Self {
            waiting: first,
            state: State::Open,
            nagle: Nagle::Off,
            screen: None,
            flushing: false,
            reach: SIZE,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the sender has ended the stream (or we ended it in its place).
    pub(super) fn has_ended(&self) -> bool {
        self.state != State::Open
    }

    /// Delivers `bytes` after everything that has been read.
    pub(super) fn say(&mut self, bytes: Vec<u8>) {
        match &mut self.waiting {
            Some(waiting) => waiting.append(&bytes),
            None => self.waiting = Some(Waiting::new(bytes)),
        }
    }

    /// Reads no more: what waits is written, then the end is passed on.
    pub(super) fn end(&mut self) {
        if self.state == State::Open {
            self.state = State::Ending;
        }
    }

    /// Moves bytes until a socket blocks, or the `allowance` (bytes asked for) is used up. `last`: the other direction is done, so that the end
    /// of the stream is passed on by the close that follows.
    pub(super) fn pump(
        &mut self,
        cx: &mut Context<'_>,
        ends: Ends<'_>,
        allowance: &mut usize,
        last: bool,
    ) -> Flow {
        let Ends {
            from,
            to,
            buffers,
            moved,
            mut watch,
        } = ends;
        let mut scratch = buffers.scratch();
        loop {
            if let Some(flow) = self.deliver(cx, to, buffers, moved) {
                return flow;
            }
            match self.state {
                State::Done => return Flow::Done,
                State::Ending => return self.pass_on_end(cx, to, last),
                State::Open => {}
            }
            if *allowance == 0 {
                return Flow::Yielded;
            }
            let reach = self.reach;
            *allowance = allowance.saturating_sub(reach);
            let mut read = ReadBuf::new(&mut scratch[..reach]);
            match Pin::new(&mut *from).poll_read(cx, &mut read) {
                Poll::Pending => return Flow::Blocked,
                Poll::Ready(Err(_)) => return Flow::SourceBroke,
                Poll::Ready(Ok(())) => {}
            }
            let bytes = read.filled();
            if bytes.is_empty() {
                self.end();
                self.release(&[], buffers);
                continue;
            }
            if let Some(watch) = &mut watch {
                watch(bytes);
            }
            if self.screen.is_some() {
                if self.is_forbidden(bytes, buffers) {
                    return Flow::Forbidden;
                }
                continue;
            }
            match self.nagle.write(cx, to, bytes) {
                Written::All(n) => {
                    moved.set(moved.get() + n as u64);
                    self.flushing = to.is_tls();
                    if n == reach {
                        self.reach = (reach * 2).min(BULK);
                    }
                }
                Written::Part(n) => {
                    moved.set(moved.get() + n as u64);
                    self.reach = SIZE;
                    self.waiting = Some(buffers.keep(&bytes[n..]));
                    return Flow::Blocked;
                }
                Written::Broke => return Flow::TargetBroke,
            }
        }
    }

    /// Writes what waits, and sees that all of it is on the wire; none: it is.
    fn deliver(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Wire,
        buffers: &Buffers,
        moved: &Cell<u64>,
    ) -> Option<Flow> {
        if let Some(waiting) = &mut self.waiting {
            match self.nagle.write(cx, to, waiting.rest()) {
                Written::All(n) => {
                    moved.set(moved.get() + n as u64);
                    self.flushing = to.is_tls();
                    if let Some(waiting) = self.waiting.take() {
                        buffers.give_back(waiting);
                    }
                }
                Written::Part(n) => {
                    moved.set(moved.get() + n as u64);
                    waiting.advance(n);
                    return Some(Flow::Blocked);
                }
                Written::Broke => return Some(Flow::TargetBroke),
            }
        }
        if self.flushing {
            match Pin::new(to).poll_flush(cx) {
                Poll::Pending => return Some(Flow::Blocked),
                Poll::Ready(Ok(())) => self.flushing = false,
                Poll::Ready(Err(_)) => return Some(Flow::TargetBroke),
            }
        }
        None
    }

    /// Holds `bytes` back while they may still become a PROXY header; true: they are one.
    fn is_forbidden(&mut self, bytes: &[u8], buffers: &Buffers) -> bool {
        let Some(screen) = &mut self.screen else {
            return false;
        };
        let held = usize::from(screen.length);
        let taken = bytes.len().min(screen.held.len() - held);
        screen.held[held..held + taken].copy_from_slice(&bytes[..taken]);
        let length = held + taken;
        let begins = &screen.held[..length];
        if proxy_protocol::is_header(begins) {
            return true;
        }
        screen.length = length as u8;
        if !proxy_protocol::may_become_header(begins) {
            self.release(&bytes[taken..], buffers);
        }
        false
    }

    /// Lets go of what was held back, and of `bytes` after it.
    fn release(&mut self, bytes: &[u8], buffers: &Buffers) {
        let Some(Screen { held, length }) = self.screen.take() else {
            return;
        };
        let held = &held[..usize::from(length)];
        if !(held.is_empty() && bytes.is_empty()) {
            let mut waiting = buffers.keep(held);
            waiting.append(bytes);
            self.waiting = Some(waiting);
        }
    }

    fn pass_on_end(&mut self, cx: &mut Context<'_>, to: &mut Wire, last: bool) -> Flow {
        // The close that follows says FIN, but not what ends a stream of TLS (RFC 8446 §6.1).
        if !last || to.is_tls() {
            match Pin::new(to).poll_shutdown(cx) {
                Poll::Pending => return Flow::Blocked,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Flow::TargetBroke,
            }
        }
        self.state = State::Done;
        Flow::Done
    }
}

enum Written {
    All(usize),
    /// The receiver takes no more for now; it will wake us.
    Part(usize),
    Broke,
}

impl Nagle {
    /// Writes as much as the receiver takes.
    fn write(&mut self, cx: &mut Context<'_>, to: &mut Wire, bytes: &[u8]) -> Written {
        match self {
            Self::Off => {}
            Self::Unused if bytes.len() <= ONE_SEGMENT => *self = Self::Used,
            Self::Unused | Self::Used => {
                *self = Self::Off;
                // It only fails on a socket that is broken, which the write will say too.
                let _ = to.tcp().set_nodelay(true);
            }
        }
        let mut written = 0;
        while written < bytes.len() {
            match Pin::new(&mut *to).poll_write(cx, &bytes[written..]) {
                Poll::Ready(Ok(0) | Err(_)) => return Written::Broke,
                Poll::Ready(Ok(n)) => written += n,
                Poll::Pending => return Written::Part(written),
            }
        }
        Written::All(written)
    }
}

/// Reads and throws away until a socket blocks; true: until its end.
pub(super) fn discard(cx: &mut Context<'_>, from: &mut Wire, buffers: &Buffers) -> bool {
    let mut scratch = buffers.scratch();
    loop {
        let mut read = ReadBuf::new(&mut scratch);
        match Pin::new(&mut *from).poll_read(cx, &mut read) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
            Poll::Ready(_) => return true,
        }
    }
}
