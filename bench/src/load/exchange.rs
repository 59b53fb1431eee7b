//! Request and response: each client sends a request of fixed length, the backend answers with a response of fixed
//! length. Work is counted in responses that arrived complete and correct.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use slab::Slab;

use super::socket::{self, Received};
use super::{LISTENER, LoadError, Poller, Traffic};

/// Connections opened but not yet answered: no more than this at a time.
const OPENING: u32 = 128;

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

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The proxy.
    pub target: SocketAddrV4,
    /// Clients, each with one connection at a time.
    pub clients: u32,
    /// Bytes of a request.
    pub request: usize,
    /// Bytes of a response.
    pub response: usize,
    /// What follows a response.
    pub then: Then,
}

/// Clients and backend.
#[derive(Debug)]
pub struct Exchange<'a> {
    plan: Plan,
    listener: &'a TcpListener,
    connections: Slab<Connection>,
    request: Vec<u8>,
    response: Vec<u8>,
    scratch: Vec<u8>,
    opened: u32,
    accepted: u64,
    done: u64,
}

#[derive(Debug)]
struct Connection {
    fd: OwnedFd,
    /// Bytes of the current request (at the backend) or response (at a client) that have come.
    got: usize,
    end: End,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Client { source: Ipv4Addr, unsent: bool },
    Backend,
}

impl<'a> Exchange<'a> {
    /// Nothing is opened yet.
    pub fn new(plan: Plan, listener: &'a TcpListener) -> Self {
        Self {
            plan,
            listener,
            connections: Slab::new(),
            request: message(plan.request, 3),
            response: message(plan.response, 5),
            scratch: vec![0; plan.request.max(plan.response) + 1],
            opened: 0,
            accepted: 0,
            done: 0,
        }
    }

    fn open_next(&mut self, poller: &Poller) -> Result<(), LoadError> {
        if self.opened == self.plan.clients {
            return Ok(());
        }
        // Many addresses, so that no client runs out of ports.
        let [_, high, middle, low] = self.opened.to_be_bytes();
        self.opened += 1;
        self.open(poller, Ipv4Addr::new(127, 1 + high, middle, low | 1))
    }

    fn open(&mut self, poller: &Poller, source: Ipv4Addr) -> Result<(), LoadError> {
        let fd = socket::connect(source, self.plan.target)?;
        let key = self.connections.insert(Connection {
            fd,
            got: 0,
            end: End::Client { source, unsent: true },
        });
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        poller.add(&self.connections[key].fd, key, flags)?;
        // On loopback the connection is often established by now: one trip through epoll less.
        self.request_sent(key).map(|_| ())
    }

    /// Whether the client has sent its request, which this tries.
    fn request_sent(&mut self, key: usize) -> Result<bool, LoadError> {
        let Some(Connection {
            fd,
            end: End::Client { unsent, .. },
            ..
        }) = self.connections.get_mut(key)
        else {
            return Ok(false);
        };
        if *unsent && send_whole(fd, &self.request, "sending a request")? {
            *unsent = false;
        }
        Ok(!*unsent)
    }

    fn client_ready(&mut self, poller: &Poller, key: usize, source: Ipv4Addr) -> Result<(), LoadError> {
        if !self.request_sent(key)? {
            return Ok(());
        }
        let client = &mut self.connections[key];
        match socket::receive(&client.fd, &mut self.scratch)
            .map_err(LoadError::system("receiving a response"))?
        {
            Received::Nothing => return Ok(()),
            Received::Closed => return Err(LoadError::Closed { end: "client" }),
            Received::Bytes(count) => {
                if !client.complete(&self.scratch[..count], &self.response, "client")? {
                    return Ok(());
                }
            }
        }
        self.done += 1;
        match self.plan.then {
            Then::Repeat => {
                client.end = End::Client { source, unsent: true };
                self.request_sent(key)?;
            }
            Then::Reopen => {
                self.connections.remove(key);
                self.open(poller, source)?;
            }
            Then::Hold => {}
        }
        self.open_next(poller)
    }

    fn backend_ready(&mut self, key: usize, ending: bool) -> Result<(), LoadError> {
        loop {
            let backend = &mut self.connections[key];
            match socket::receive(&backend.fd, &mut self.scratch) {
                // HAProxy's monitor ends its connections with a reset, which is no client's connection.
                Ok(Received::Closed) | Err(Errno::ECONNRESET) if backend.got == 0 => {
                    self.connections.remove(key);
                    return Ok(());
                }
                Ok(Received::Closed) => return Err(LoadError::Closed { end: "backend" }),
                Ok(Received::Nothing) => return Ok(()),
                Ok(Received::Bytes(count)) => {
                    if backend.complete(&self.scratch[..count], &self.request, "backend")? {
                        send_whole(&backend.fd, &self.response, "sending a response")?;
                    }
                }
                Err(errno) => {
                    return Err(LoadError::System {
                        doing: "receiving a request",
                        errno,
                    });
                }
            }
            // The edge that tells of the end may be the one that told of the last bytes.
            if !ending {
                return Ok(());
            }
        }
    }

    fn accept_all(&mut self, poller: &Poller) -> Result<(), LoadError> {
        while let Some(fd) = socket::accept(self.listener)? {
            self.accepted += 1;
            let key = self.connections.insert(Connection {
                fd,
                got: 0,
                end: End::Backend,
            });
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
            poller.add(&self.connections[key].fd, key, flags)?;
        }
        Ok(())
    }
}

impl Traffic for Exchange<'_> {
    fn start(&mut self, poller: &Poller) -> Result<(), LoadError> {
        poller.add(self.listener, LISTENER, EpollFlags::EPOLLIN)?;
        for _ in 0..OPENING {
            self.open_next(poller)?;
        }
        Ok(())
    }

    fn ready(&mut self, poller: &Poller, token: usize, flags: EpollFlags) -> Result<(), LoadError> {
        if token == LISTENER {
            return self.accept_all(poller);
        }
        let ending = flags.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        match self.connections.get(token).map(|connection| connection.end) {
            Some(End::Client { source, .. }) => self.client_ready(poller, token, source),
            Some(End::Backend) => self.backend_ready(token, ending),
            None => Ok(()),
        }
    }

    fn done(&self) -> u64 {
        self.done
    }

    fn accepted(&self) -> u64 {
        self.accepted
    }
}

impl Connection {
    /// Takes in what came: whether the message is complete now. One that is longer than `expected` is wrong.
    fn complete(&mut self, came: &[u8], expected: &[u8], end: &'static str) -> Result<bool, LoadError> {
        let until = self.got + came.len();
        if expected.get(self.got..until) != Some(came) {
            return Err(LoadError::Corrupt { end });
        }
        let complete = until == expected.len();
        self.got = if complete { 0 } else { until };
        Ok(complete)
    }
}

/// Sends a message to a socket that has nothing else to send: all of it, or, while it connects, nothing.
fn send_whole(fd: &OwnedFd, message: &[u8], doing: &'static str) -> Result<bool, LoadError> {
    match socket::send(fd, message).map_err(LoadError::system(doing))? {
        0 => Ok(false),
        sent if sent == message.len() => Ok(true),
        _ => Err(LoadError::System {
            doing,
            errno: Errno::EMSGSIZE,
        }),
    }
}

fn message(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + seed) as u8).collect()
}
