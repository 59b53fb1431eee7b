//! HTTP/2 clients (RFC 9113), in the clear and with prior knowledge: few connections, on each many requests at once, each
//! answered one followed by another. The backend speaks HTTP/1.1. Work is counted in responses that arrived complete and
//! correct.
//!
//! A client as lean as can be: its header blocks are the same bytes each time, as those of a client with a warm table are,
//! and of a response's block it reads the status only, which every encoder writes first and by its number.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;

use nix::sys::epoll::EpollFlags;
use slab::Slab;

use super::backend::Backend;
use super::message::{self, Message};
use super::socket::{self, Received};
use super::{LoadError, Poller, Traffic};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const HEADER: usize = 9;

/// RFC 7541, appendix A: `:status: 200`, as an indexed field.
const STATUS_200: u8 = 0x88;
/// Bytes of one receive.
const ROOM: usize = 64 * 1024;
/// What the client lets come before it says more: never in the way.
const WINDOW: u32 = 1 << 30;

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The proxy.
    pub target: SocketAddrV4,
    /// Connections.
    pub clients: u8,
    /// Requests at a time on each.
    pub streams: u32,
    /// Bytes of a response's body.
    pub body: usize,
}

/// Clients and backend.
#[derive(Debug)]
pub struct Http2<'a> {
    plan: Plan,
    backend: Backend<'a>,
    clients: Slab<Client>,
    body: Vec<u8>,
    scratch: Vec<u8>,
    done: u64,
}

#[derive(Debug)]
struct Client {
    fd: OwnedFd,
    /// Written, not yet sent.
    out: Vec<u8>,
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// Open streams, and how much of each response's body is there; none: its head is not.
    streams: Vec<(u32, Option<usize>)>,
    next_stream: u32,
    received: u32,
}

/// One frame.
struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

impl<'a> Http2<'a> {
    /// Nothing is opened yet.
    pub fn new(plan: Plan, listener: &'a TcpListener) -> Self {
        let body = message::pattern(plan.body, 5);
        let response = message::http_response(&body);
        Self {
            plan,
            backend: Backend::new(listener, Message::Request, response),
            clients: Slab::new(),
            body,
            scratch: vec![0; ROOM],
            done: 0,
        }
    }

    fn client_ready(&mut self, key: usize) -> Result<(), LoadError> {
        let client = &mut self.clients[key];
        client.flush()?;
        let received = socket::receive(&client.fd, &mut self.scratch);
        let count = match received.map_err(LoadError::system("receiving a response"))? {
            Received::Nothing => return Ok(()),
            Received::Closed => return Err(LoadError::Closed { end: "client" }),
            Received::Bytes(count) => count,
        };
        let carried = std::mem::take(&mut client.partial);
        let joined;
        let mut rest = if carried.is_empty() {
            &self.scratch[..count]
        } else {
            joined = [&carried, &self.scratch[..count]].concat();
            &joined[..]
        };
        while let Some((frame, after)) = Frame::split(rest) {
            rest = after;
            if client.take(&frame, &self.body)? {
                self.done += 1;
                client.ask();
            }
        }
        client.partial.extend_from_slice(rest);
        client.flush()
    }
}

impl Client {
    fn open(fd: OwnedFd, streams: u32) -> Self {
        let mut client = Self {
            fd,
            out: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            partial: Vec::new(),
            streams: Vec::new(),
            next_stream: 1,
            received: 0,
        };
        // SETTINGS_ENABLE_PUSH = 0
        client.write(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 0]);
        client.write(WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
        for _ in 0..streams {
            client.ask();
        }
        client
    }

    /// One more request.
    fn ask(&mut self) {
        let block = request_block(self.next_stream == 1);
        self.write(HEADERS, END_STREAM | END_HEADERS, self.next_stream, &block);
        self.streams.push((self.next_stream, None));
        self.next_stream += 2;
    }

    fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
        self.out.extend(length);
        self.out.extend([kind, flags]);
        self.out.extend(stream.to_be_bytes());
        self.out.extend_from_slice(payload);
    }

    fn flush(&mut self) -> Result<(), LoadError> {
        if !self.out.is_empty() {
            let sent = socket::send(&self.fd, &self.out).map_err(LoadError::system("sending requests"))?;
            self.out.drain(..sent);
        }
        Ok(())
    }

    /// Whether the frame completed a response.
    fn take(&mut self, frame: &Frame<'_>, body: &[u8]) -> Result<bool, LoadError> {
        match frame.kind {
            HEADERS => self.head(frame),
            DATA => self.data(frame, body),
            SETTINGS if frame.flags & ACK == 0 => {
                self.write(SETTINGS, ACK, 0, &[]);
                Ok(false)
            }
            PING if frame.flags & ACK == 0 => {
                self.write(PING, ACK, 0, frame.payload);
                Ok(false)
            }
            SETTINGS | PING | WINDOW_UPDATE => Ok(false),
            // Streams reset, connections that go away, headers in pieces: nothing that this load should meet.
            kind => Err(LoadError::Http2(format!(
                "a frame of type {kind} on stream {}",
                frame.stream
            ))),
        }
    }

    fn head(&mut self, frame: &Frame<'_>) -> Result<bool, LoadError> {
        // Updates of the table's size may come first (RFC 7541 §4.2).
        let mut block = frame.payload.iter().skip_while(|byte| **byte & 0xe0 == 0x20);
        let index = self.index(frame.stream)?;
        if frame.flags & END_HEADERS == 0
            || block.next() != Some(&STATUS_200)
            || self.streams[index].1.is_some()
        {
            return Err(LoadError::Corrupt { end: "client" });
        }
        self.streams[index].1 = Some(0);
        // There is a body.
        if frame.flags & END_STREAM != 0 {
            return Err(LoadError::Corrupt { end: "client" });
        }
        Ok(false)
    }

    fn data(&mut self, frame: &Frame<'_>, body: &[u8]) -> Result<bool, LoadError> {
        let index = self.index(frame.stream)?;
        let Some(got) = &mut self.streams[index].1 else {
            return Err(LoadError::Corrupt { end: "client" });
        };
        let until = *got + frame.payload.len();
        if body.get(*got..until) != Some(frame.payload) {
            return Err(LoadError::Corrupt { end: "client" });
        }
        *got = until;
        self.received += frame.payload.len() as u32;
        if self.received > WINDOW / 2 {
            self.write(WINDOW_UPDATE, 0, 0, &self.received.to_be_bytes());
            self.received = 0;
        }
        if frame.flags & END_STREAM == 0 {
            return Ok(false);
        }
        self.streams.swap_remove(index);
        if until == body.len() {
            Ok(true)
        } else {
            Err(LoadError::Corrupt { end: "client" })
        }
    }

    fn index(&self, stream: u32) -> Result<usize, LoadError> {
        let found = self.streams.iter().position(|(id, _)| *id == stream);
        found.ok_or_else(|| LoadError::Http2(format!("a response on stream {stream}, which is not open")))
    }
}

impl<'a> Frame<'a> {
    /// The first frame and what follows it; none: it is not complete.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(HEADER)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, rest) = rest.split_at_checked(length)?;
        let frame = Self {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        };
        Some((frame, rest))
    }
}

impl Traffic for Http2<'_> {
    fn start(&mut self, poller: &Poller) -> Result<(), LoadError> {
        self.backend.start(poller)?;
        for number in 0..self.plan.clients {
            let fd = socket::connect(Ipv4Addr::new(127, 1, number, 1), self.plan.target)?;
            let key = self.clients.insert(Client::open(fd, self.plan.streams));
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
            poller.add(&self.clients[key].fd, key, flags)?;
            self.clients[key].flush()?;
        }
        Ok(())
    }

    fn ready(&mut self, poller: &Poller, token: usize, flags: EpollFlags) -> Result<(), LoadError> {
        if self.backend.ready(poller, token, flags)? || !self.clients.contains(token) {
            return Ok(());
        }
        self.client_ready(token)
    }

    fn done(&self) -> u64 {
        self.done
    }

    fn accepted(&self) -> u64 {
        self.backend.accepted()
    }
}

/// A request's header block (RFC 7541). The first of a connection puts its fields into the table, the others name them by
/// their places there; the path is written out each time, as clients do.
fn request_block(first: bool) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let path = [vec![0x04], text(message::PATH)].concat();
    // :method GET, :scheme http
    let start = vec![0x82, 0x86];
    if first {
        let authority = [vec![0x41], text(message::HOST)].concat();
        let agent = [vec![0x7a], text(message::AGENT)].concat();
        let accept = [vec![0x53], text("*/*")].concat();
        [start, authority, path, agent, accept].concat()
    } else {
        [start, vec![0xc0], path, vec![0xbf, 0xbe]].concat()
    }
}
