//! Bodies: where they come from, where they go, and what carries them. In: a source and a sink, of either HTTP version. Out:
//! bytes moved with backpressure, trailers, or which side broke.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::HeaderMap;

use super::chunked::{Decoder, Piece};
use super::conn::Conn;
use super::head::Framing;
use super::life::Life;
use super::rewrite;
use crate::relay::buffers::{BULK, Buffers};

/// A piece of a body.
#[derive(Debug)]
pub(crate) enum Frame {
    Data(Bytes),
    /// Nothing follows.
    Trailers(HeaderMap),
}

/// How long a body will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// There is none.
    Empty,
    Exact(u64),
    Unknown,
}

/// Why a body cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Whoever sends it has gone, or reset it.
    Source(String),
    /// What is sent breaks a rule of the protocol.
    Malformed(&'static str),
    /// It is longer than the listener allows.
    TooLong,
    /// Whoever gets it has gone, or reset it.
    Sink(String),
}

/// Where a body comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Nothing, or nothing more.
    Empty,
    /// Words of our own.
    Once(Bytes),
    H1 {
        conn: Rc<Conn>,
        reader: Reader,
    },
    H2 {
        stream: RecvStream,
        /// Given on, and not yet given back to the sender's window.
        unreleased: usize,
        data_done: bool,
    },
}

/// How the end of an HTTP/1.1 body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Left(u64),
    Chunked(Decoder),
    /// Until the connection ends.
    Close,
}

impl Source {
    /// A body that `framing` delimits.
    pub(crate) fn h1(conn: &Rc<Conn>, framing: Framing) -> Self {
        let reader = match framing {
            Framing::None => return Self::Empty,
            Framing::Length(length) => Reader::Left(length),
            Framing::Chunked => Reader::Chunked(Decoder::default()),
            Framing::Close => Reader::Close,
        };
        Self::H1 {
            conn: Rc::clone(conn),
            reader,
        }
    }

    pub(crate) fn h2(stream: RecvStream) -> Self {
        if stream.is_end_stream() {
            return Self::Empty;
        }
        Self::H2 {
            stream,
            unreleased: 0,
            data_done: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// The next piece; none: the end.
    fn poll_frame(&mut self, cx: &mut Context<'_>, buffers: &Buffers) -> Poll<Result<Option<Frame>, Broken>> {
        match self {
            Self::Empty => Poll::Ready(Ok(None)),
            Self::Once(bytes) => {
                let frame = Frame::Data(std::mem::take(bytes));
                *self = Self::Empty;
                Poll::Ready(Ok(Some(frame)))
            }
            Self::H1 { conn, reader } => reader.poll_frame(cx, conn, buffers),
            Self::H2 {
                stream,
                unreleased,
                data_done,
            } => {
                // What was given on before has been taken by now.
                let released = std::mem::take(unreleased);
                if released > 0 {
                    // It can only fail where the stream is gone, which the next poll says too.
                    let _ = stream.flow_control().release_capacity(released);
                }
                let broke = |error: &h2::Error| Broken::Source(error.to_string());
                if !*data_done {
                    match ready!(stream.poll_data(cx)) {
                        Some(data) => {
                            let data = data.map_err(|error| broke(&error))?;
                            *unreleased = data.len();
                            return Poll::Ready(Ok(Some(Frame::Data(data))));
                        }
                        None => *data_done = true,
                    }
                }
                let trailers = ready!(stream.poll_trailers(cx)).map_err(|error| broke(&error))?;
                Poll::Ready(Ok(trailers.map(Frame::Trailers)))
            }
        }
    }
}

impl Reader {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        conn: &Conn,
        buffers: &Buffers,
    ) -> Poll<Result<Option<Frame>, Broken>> {
        loop {
            if let Some(frame) = self.take(conn) {
                return Poll::Ready(frame);
            }
            match (ready!(conn.poll_fill(cx, buffers)), &self) {
                (Err(error), _) => return Poll::Ready(Err(Broken::Source(error.to_string()))),
                (Ok(0), Self::Close) => *self = Self::Left(0),
                (Ok(0), _) => {
                    return Poll::Ready(Err(Broken::Source(
                        "the connection ended in the middle of it".into(),
                    )));
                }
                (Ok(_), _) => {}
            }
        }
    }

    /// What can be had without reading; none: nothing.
    fn take(&mut self, conn: &Conn) -> Option<Result<Option<Frame>, Broken>> {
        let input = &mut *conn.input.borrow_mut();
        match self {
            Self::Left(0) => Some(Ok(None)),
            Self::Left(left) if !input.is_empty() => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= here as u64;
                Some(Ok(Some(Frame::Data(input.split_to(here).freeze()))))
            }
            Self::Close if !input.is_empty() => Some(Ok(Some(Frame::Data(input.split().freeze())))),
            Self::Left(_) | Self::Close => None,
            Self::Chunked(decoder) => match decoder.take(input) {
                Ok(Piece::Data(data)) => Some(Ok(Some(Frame::Data(data)))),
                Ok(Piece::End(trailers)) => {
                    *self = Self::Left(0);
                    Some(Ok(trailers.map(Frame::Trailers)))
                }
                Ok(Piece::More) => None,
                Err(bad) => Some(Err(Broken::Malformed(bad.why))),
            },
        }
    }
}

/// Where a body goes.
#[derive(Debug)]
pub(crate) enum Sink {
    H1 {
        conn: Rc<Conn>,
        writer: Writer,
    },
    H2 {
        stream: SendStream<Bytes>,
        held: Bytes,
        ended: bool,
    },
}

/// How an HTTP/1.1 body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    Left(u64),
    Chunked,
    Close,
}

impl Sink {
    pub(crate) fn h1(conn: &Rc<Conn>, writer: Writer) -> Self {
        Self::H1 {
            conn: Rc::clone(conn),
            writer,
        }
    }

    pub(crate) fn h2(stream: SendStream<Bytes>, ended: bool) -> Self {
        Self::H2 {
            stream,
            held: Bytes::new(),
            ended,
        }
    }

    /// Ready once it takes another piece.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Self::H1 { conn, .. } => conn
                .poll_room(cx)
                .map_err(|error| Broken::Sink(error.to_string())),
            Self::H2 { stream, held, ended } => {
                if *ended {
                    return Poll::Ready(Ok(()));
                }
                if let Poll::Ready(reset) = stream.poll_reset(cx) {
                    let why = reset.map_or_else(|error| error.to_string(), |reason| reason.to_string());
                    return Poll::Ready(Err(Broken::Sink(format!("the stream was reset: {why}"))));
                }
                while !held.is_empty() {
                    stream.reserve_capacity(held.len());
                    match ready!(stream.poll_capacity(cx)) {
                        Some(Ok(0)) => {}
                        Some(Ok(room)) => {
                            let piece = held.split_to(room.min(held.len()));
                            stream
                                .send_data(piece, false)
                                .map_err(|error| Broken::Sink(error.to_string()))?;
                        }
                        Some(Err(error)) => return Poll::Ready(Err(Broken::Sink(error.to_string()))),
                        None => return Poll::Ready(Err(Broken::Sink("the stream is closed".into()))),
                    }
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Takes a piece; only after [`Sink::poll_room`].
    fn put(&mut self, data: Bytes) -> Result<(), Broken> {
        match self {
            Self::H2 { held, .. } => *held = data,
            Self::H1 { conn, writer } => match writer {
                Writer::Close => conn.put(data, b""),
                Writer::Left(left) => {
                    *left = left
                        .checked_sub(data.len() as u64)
                        .ok_or(Broken::Malformed("a body that is longer than its Content-Length"))?;
                    conn.put(data, b"");
                }
                Writer::Chunked if data.is_empty() => {}
                Writer::Chunked => {
                    conn.gather(|out| {
                        use std::io::Write as _;
                        // Writing to a Vec cannot fail.
                        let _ = write!(out, "{:x}\r\n", data.len());
                    });
                    conn.put(data, b"\r\n");
                }
            },
        }
        Ok(())
    }

    /// Says that nothing follows; only after [`Sink::poll_room`].
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Broken> {
        match self {
            Self::H2 { stream, ended, .. } => {
                if !std::mem::replace(ended, true) {
                    let sent = match trailers {
                        Some(trailers) => stream.send_trailers(trailers),
                        None => stream.send_data(Bytes::new(), true),
                    };
                    sent.map_err(|error| Broken::Sink(error.to_string()))?;
                }
            }
            Self::H1 { conn, writer } => match writer {
                Writer::Left(0) | Writer::Close => {}
                Writer::Left(_) => {
                    return Err(Broken::Malformed(
                        "a body that is shorter than its Content-Length",
                    ));
                }
                Writer::Chunked => conn.gather(|out| {
                    out.extend_from_slice(b"0\r\n");
                    for (name, value) in trailers.iter().flatten() {
                        rewrite::write_line(out, name, value.as_bytes());
                    }
                    out.extend_from_slice(b"\r\n");
                }),
            },
        }
        Ok(())
    }

    /// Ready once everything is on its way.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Self::H1 { conn, .. } => conn
                .poll_flush(cx)
                .map_err(|error| Broken::Sink(error.to_string())),
            Self::H2 { .. } => self.poll_room(cx),
        }
    }

    /// Breaks off, so that nobody takes what was sent for the whole. Where a length says what is missing, a plain close does,
    /// and lets what was sent arrive.
    pub(crate) fn abort(&mut self) {
        match self {
            Self::H1 { conn, writer } => {
                if *writer == Writer::Close {
                    conn.reset_on_close();
                }
            }
            Self::H2 { stream, ended, .. } => {
                if !*ended {
                    stream.send_reset(h2::Reason::INTERNAL_ERROR);
                }
            }
        }
    }
}

/// One body on its way.
#[derive(Debug)]
pub(crate) struct Pump {
    pub(crate) source: Source,
    pub(crate) sink: Sink,
    state: State,
    /// Bytes of data so far.
    pub(crate) moved: u64,
    limit: Option<u64>,
    /// Whether anything was taken from the source.
    pub(crate) touched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// All is given to the sink.
    Ending,
    Done,
}

impl Pump {
    /// `limit`: bytes of data that may come.
    pub(crate) fn new(source: Source, sink: Sink, limit: Option<u64>) -> Self {
        Self {
            source,
            sink,
            state: State::Open,
            moved: 0,
            limit,
            touched: false,
        }
    }

    /// Moves what there is; ready when all of it has been given on, or a side broke.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        life: &Life,
    ) -> Poll<Result<(), Broken>> {
        let mut allowance = 4 * BULK;
        loop {
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(self.sink.poll_flush(cx))?;
                    self.state = State::Done;
                    life.moves();
                }
                State::Open => {
                    ready!(self.sink.poll_room(cx))?;
                    if allowance == 0 {
                        // Others want their turn.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    match self.source.poll_frame(cx, buffers) {
                        Poll::Pending => {
                            ready!(self.sink.poll_flush(cx))?;
                            return Poll::Pending;
                        }
                        Poll::Ready(frame) => {
                            let length = self.give(frame?)?;
                            allowance = allowance.saturating_sub(length);
                            life.moves();
                        }
                    }
                }
            }
        }
    }

    /// Gives a piece to the sink; its length.
    fn give(&mut self, frame: Option<Frame>) -> Result<usize, Broken> {
        match frame {
            Some(Frame::Data(data)) => {
                self.touched = true;
                let length = data.len();
                self.moved += length as u64;
                if self.limit.is_some_and(|limit| self.moved > limit) {
                    return Err(Broken::TooLong);
                }
                self.sink.put(data)?;
                Ok(length)
            }
            last => {
                let trailers = match last {
                    Some(Frame::Trailers(trailers)) => Some(rewrite::trailers(trailers)),
                    _ => None,
                };
                self.sink.end(trailers.filter(|trailers| !trailers.is_empty()))?;
                self.source = Source::Empty;
                self.state = State::Ending;
                Ok(0)
            }
        }
    }
}
