//! Request and response: each client sends a request, the backend answers with a response. Work is counted in responses
//! that arrived complete and correct.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;

use nix::sys::epoll::EpollFlags;
use slab::Slab;

use super::backend::Backend;
use super::message::{self, Message, Progress, take_in};
use super::socket::{self, Received};
use super::wire::{Plain, Wire};
use super::{LoadError, Poller, Traffic};

/// Connections opened but not yet answered: no more than this at a time.
const OPENING: u32 = 128;
/// Longer than any response.
const ROOM: usize = 16 * 1024;

/// What a client does once its response is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Sends the next request on the same connection.
    Repeat,
    /// Closes, and opens another connection from the same address.
    Reopen,
    /// Keeps the connection and stays silent.
    Hold,
}

/// What requests and responses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// So many opaque bytes there, so many back.
    Opaque(usize, usize),
    /// HTTP/1.1: a GET, and a response whose body has so many bytes.
    Http(usize),
}

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The proxy.
    pub target: SocketAddrV4,
    /// Clients, each with one connection at a time.
    pub clients: u32,
    /// What they say and hear.
    pub speech: Speech,
    /// What follows a response.
    pub then: Then,
}

/// Clients and backend.
#[derive(Debug)]
pub struct Exchange<'a, W: Wire = Plain> {
    plan: Plan,
    wire: W,
    backend: Backend<'a>,
    clients: Slab<Client<W::Session>>,
    request: Vec<u8>,
    response: Message,
    scratch: Vec<u8>,
    opened: u32,
    done: u64,
}

#[derive(Debug)]
struct Client<S> {
    fd: OwnedFd,
    number: u32,
    session: S,
    unsent: bool,
    /// What has come of the current response.
    partial: Vec<u8>,
}

impl<'a> Exchange<'a> {
    /// In the clear. Nothing is opened yet.
    pub fn new(plan: Plan, listener: &'a TcpListener) -> Self {
        Self::over(Plain, plan, listener)
    }
}

impl<'a, W: Wire> Exchange<'a, W> {
    /// Clients that speak through `wire`. Nothing is opened yet.
    pub fn over(wire: W, plan: Plan, listener: &'a TcpListener) -> Self {
        let (request, answer) = match plan.speech {
            Speech::Opaque(there, back) => (message::pattern(there, 3), message::pattern(back, 5)),
            Speech::Http(body) => (
                message::http_request(),
                message::http_response(&message::pattern(body, 5)),
            ),
        };
        let (at_backend, response) = match plan.speech {
            Speech::Opaque(..) => (Message::Exact(request.clone()), Message::Exact(answer.clone())),
            Speech::Http(body) => (Message::Request, Message::Response(message::pattern(body, 5))),
        };
        Self {
            plan,
            wire,
            backend: Backend::new(listener, at_backend, answer),
            clients: Slab::new(),
            request,
            response,
            scratch: vec![0; ROOM],
            opened: 0,
            done: 0,
        }
    }

    fn open_next(&mut self, poller: &Poller) -> Result<(), LoadError> {
        if self.opened == self.plan.clients {
            return Ok(());
        }
        self.opened += 1;
        self.open(poller, self.opened - 1)
    }

    fn open(&mut self, poller: &Poller, number: u32) -> Result<(), LoadError> {
        // Many addresses, so that no client runs out of ports.
        let [_, high, middle, low] = number.to_be_bytes();
        let source = Ipv4Addr::new(127, 1 + high, middle, low | 1);
        let client = Client {
            fd: socket::connect(source, self.plan.target)?,
            number,
            session: self.wire.session(number)?,
            unsent: true,
            partial: Vec::new(),
        };
        let key = self.clients.insert(client);
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        poller.add(&self.clients[key].fd, key, flags)?;
        // On loopback the connection is often established by now: one trip through epoll less.
        self.request_sent(key).map(|_| ())
    }

    /// Whether the client has sent its request, which this tries.
    fn request_sent(&mut self, key: usize) -> Result<bool, LoadError> {
        let Some(client) = self.clients.get_mut(key) else {
            return Ok(false);
        };
        if client.unsent && self.wire.send(&mut client.session, &client.fd, &self.request)? {
            client.unsent = false;
        }
        Ok(!client.unsent)
    }

    fn client_ready(&mut self, poller: &Poller, key: usize) -> Result<(), LoadError> {
        if !self.request_sent(key)? {
            return Ok(());
        }
        let client = &mut self.clients[key];
        let came = match self
            .wire
            .receive(&mut client.session, &client.fd, &mut self.scratch)?
        {
            Received::Nothing => return Ok(()),
            Received::Closed => return Err(LoadError::Closed { end: "client" }),
            Received::Bytes(count) => &self.scratch[..count],
        };
        match take_in(&mut client.partial, came, |bytes| self.response.progress(bytes)) {
            Some(Progress::Complete) => {}
            Some(Progress::Partial) => return Ok(()),
            None => return Err(LoadError::Corrupt { end: "client" }),
        }
        self.done += 1;
        match self.plan.then {
            Then::Repeat => {
                client.unsent = true;
                self.request_sent(key)?;
            }
            Then::Reopen => {
                let mut client = self.clients.remove(key);
                self.wire.close(&mut client.session, &client.fd)?;
                drop(client.fd);
                self.open(poller, client.number)?;
            }
            Then::Hold => {}
        }
        self.open_next(poller)
    }
}

impl<W: Wire> Traffic for Exchange<'_, W> {
    fn start(&mut self, poller: &Poller) -> Result<(), LoadError> {
        self.backend.start(poller)?;
        for _ in 0..OPENING {
            self.open_next(poller)?;
        }
        Ok(())
    }

    fn ready(&mut self, poller: &Poller, token: usize, flags: EpollFlags) -> Result<(), LoadError> {
        if self.backend.ready(poller, token, flags)? || !self.clients.contains(token) {
            return Ok(());
        }
        self.client_ready(poller, token)
    }

    fn done(&self) -> u64 {
        self.done
    }

    fn accepted(&self) -> u64 {
        self.backend.accepted()
    }
}
