//! The backend: takes whatever connections the proxy opens, checks each request and answers it at once. Speaks in the
//! clear, whatever the proxy's clients do.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use slab::Slab;

use super::message::{Message, Progress, take_in};
use super::socket::{self, Received};
use super::{LISTENER, LoadError, Poller};

/// Set in the tokens of the backend's connections, which the clients' have no use for.
const OURS: usize = 1 << 62;
/// Longer than any request.
const ROOM: usize = 16 * 1024;

/// All connections of the backend.
#[derive(Debug)]
pub(crate) struct Backend<'a> {
    listener: &'a TcpListener,
    request: Message,
    response: Vec<u8>,
    connections: Slab<Connection>,
    scratch: Vec<u8>,
    accepted: u64,
}

#[derive(Debug)]
struct Connection {
    fd: OwnedFd,
    /// What has come of the current request.
    partial: Vec<u8>,
}

impl<'a> Backend<'a> {
    /// Nothing is accepted yet.
    pub(crate) fn new(listener: &'a TcpListener, request: Message, response: Vec<u8>) -> Self {
        Self {
            listener,
            request,
            response,
            connections: Slab::new(),
            scratch: vec![0; ROOM],
            accepted: 0,
        }
    }

    /// Connections that came, the proxy's monitors among them.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// From here on connections are accepted.
    pub(crate) fn start(&self, poller: &Poller) -> Result<(), LoadError> {
        poller.add(self.listener, LISTENER, EpollFlags::EPOLLIN)
    }

    /// Whether the token was one of the backend's; what was to do is done then.
    pub(crate) fn ready(
        &mut self,
        poller: &Poller,
        token: usize,
        flags: EpollFlags,
    ) -> Result<bool, LoadError> {
        if token == LISTENER {
            self.accept_all(poller)?;
        } else if token & OURS == 0 {
            return Ok(false);
        } else {
            let ending =
                flags.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            self.serve(token & !OURS, ending)?;
        }
        Ok(true)
    }

    fn accept_all(&mut self, poller: &Poller) -> Result<(), LoadError> {
        while let Some(fd) = socket::accept(self.listener)? {
            self.accepted += 1;
            let key = self.connections.insert(Connection {
                fd,
                partial: Vec::new(),
            });
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
            poller.add(&self.connections[key].fd, key | OURS, flags)?;
        }
        Ok(())
    }

    fn serve(&mut self, key: usize, ending: bool) -> Result<(), LoadError> {
        loop {
            let Some(connection) = self.connections.get_mut(key) else {
                return Ok(());
            };
            match socket::receive(&connection.fd, &mut self.scratch) {
                // HAProxy's monitor ends its connections with a reset, which is no client's connection.
                Ok(Received::Closed) | Err(Errno::ECONNRESET) if connection.partial.is_empty() => {
                    self.connections.remove(key);
                    return Ok(());
                }
                Ok(Received::Closed) => return Err(LoadError::Closed { end: "backend" }),
                Ok(Received::Nothing) => return Ok(()),
                Ok(Received::Bytes(count)) => {
                    let came = &self.scratch[..count];
                    match take_in(&mut connection.partial, came, |bytes| {
                        self.request.progress(bytes)
                    }) {
                        Some(Progress::Complete) => {
                            socket::send_whole(&connection.fd, &self.response, "sending a response")?;
                        }
                        Some(Progress::Partial) => {}
                        None => return Err(LoadError::Corrupt { end: "backend" }),
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
}
