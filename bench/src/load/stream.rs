//! Bulk data: half of the connections carry data from the backend to the client, half from the client to the backend,
//! as fast as the proxy takes it. Work is counted in bytes that arrived.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use slab::Slab;

use super::records::Records;
use super::socket::{self, Received};
use super::wire::handshake;
use super::{LISTENER, LoadError, Poller, Traffic};
use crate::tls::Trust;

/// Length after which the data repeats. A prime, so that data lost or moved by any buffer's size is noticed.
const PERIOD: usize = 65_521;
/// Bytes of one send and one receive: large, because this is not what is measured.
const BLOCK: usize = 4 * PERIOD;
/// Of so many receives one is copied and compared; the others only count. The generator must stay ahead of the fastest
/// proxy, else the proxy's output queues up and is sent in larger, cheaper pieces. What is lost or doubled anywhere
/// shows at the next comparison, because it moves the position.
const COMPARE_EVERY: u32 = 16;

const DOWNLOAD: u8 = b'd';
const UPLOAD: u8 = b'u';

/// What the clients do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The proxy.
    pub target: SocketAddrV4,
    /// Connections in each direction.
    pub each_way: u8,
    /// Clients speak TLS; none: in the clear.
    pub tls: Option<Trust>,
}

/// Clients and backend.
#[derive(Debug)]
pub struct Stream<'a> {
    plan: Plan,
    listener: &'a TcpListener,
    connections: Slab<Connection>,
    data: Vec<u8>,
    scratch: Vec<u8>,
    accepted: u64,
    done: u64,
}

#[derive(Debug)]
struct Connection {
    fd: OwnedFd,
    role: Role,
    end: &'static str,
    /// A client that speaks TLS.
    records: Option<Box<Records>>,
}

#[derive(Debug, Clone, Copy)]
enum Role {
    /// A client that has yet to say what it wants.
    Asking(u8),
    /// A backend that has yet to hear it.
    Asked,
    /// Sends, from this position in the period on.
    Sending(usize),
    /// Receives, from this position in the period on, so many times before the next comparison.
    Receiving(usize, u32),
}

impl<'a> Stream<'a> {
    /// Nothing is opened yet.
    pub fn new(plan: Plan, listener: &'a TcpListener) -> Self {
        // A linear congruential generator (Numerical Recipes, 2nd ed., section 7.1); its high bits do not repeat early.
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        let period: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
        let data = period.iter().copied().cycle().take(BLOCK + PERIOD).collect();
        Self {
            plan,
            listener,
            connections: Slab::new(),
            data,
            scratch: vec![0; BLOCK],
            accepted: 0,
            done: 0,
        }
    }

    fn step(&mut self, poller: &Poller, key: usize) -> Result<(), LoadError> {
        let connection = &mut self.connections[key];
        let before = connection.role;
        let after = match before {
            _ if connection.records.is_some() => {
                let (role, received) = connection.sealed_step(&self.data)?;
                self.done += received as u64;
                role
            }
            Role::Asking(wish) => ask(&connection.fd, wish)?,
            Role::Asked => {
                let Some(role) = answer(&connection.fd)? else {
                    self.connections.remove(key);
                    return Ok(());
                };
                role
            }
            Role::Sending(at) => {
                let sent = socket::send(&connection.fd, &self.data[at..at + BLOCK])
                    .map_err(LoadError::system("sending bulk data"))?;
                Role::Sending((at + sent) % PERIOD)
            }
            Role::Receiving(at, 0) => {
                let count = counted(socket::receive(&connection.fd, &mut self.scratch), connection.end)?;
                if self.scratch[..count] != self.data[at..at + count] {
                    return Err(LoadError::Corrupt { end: connection.end });
                }
                self.done += count as u64;
                Role::Receiving((at + count) % PERIOD, COMPARE_EVERY - 1)
            }
            Role::Receiving(at, until_comparison) => {
                let count = counted(socket::discard(&connection.fd, &mut self.scratch), connection.end)?;
                self.done += count as u64;
                Role::Receiving((at + count) % PERIOD, until_comparison - 1)
            }
        };
        connection.role = after;
        if after.waits_for() == before.waits_for() {
            return Ok(());
        }
        poller.modify(&connection.fd, key, after.waits_for())
    }

    fn insert(&mut self, poller: &Poller, connection: Connection) -> Result<(), LoadError> {
        let flags = connection.role.waits_for();
        let key = self.connections.insert(connection);
        poller.add(&self.connections[key].fd, key, flags)
    }
}

impl Connection {
    /// One step of a client that speaks TLS, and how many bytes of bulk data came with it.
    fn sealed_step(&mut self, data: &[u8]) -> Result<(Role, usize), LoadError> {
        let Some(records) = &mut self.records else {
            return Ok((self.role, 0));
        };
        if matches!(self.role, Role::Asking(_) | Role::Sending(_)) {
            let sent = records
                .flush(&self.fd)
                .map_err(LoadError::system("sending bulk data"))?;
            if !sent {
                return Ok((self.role, 0));
            }
        }
        Ok(match self.role {
            Role::Asking(wish) => {
                records.seal(&[wish])?;
                let sent = records
                    .flush(&self.fd)
                    .map_err(LoadError::system("sending bulk data"))?;
                match (sent, wish) {
                    (false, _) => return Err(LoadError::Closed { end: self.end }),
                    (true, UPLOAD) => (Role::Sending(0), 0),
                    (true, _) => (Role::Receiving(0, 0), 0),
                }
            }
            Role::Asked => (Role::Asked, 0),
            Role::Sending(at) => {
                records.seal(&data[at..at + BLOCK])?;
                records
                    .flush(&self.fd)
                    .map_err(LoadError::system("sending bulk data"))?;
                (Role::Sending((at + BLOCK) % PERIOD), 0)
            }
            Role::Receiving(at, until_comparison) => {
                let open = until_comparison == 0;
                let mut position = at;
                let came = records.receive(&self.fd, open, |text| {
                    let same = data.get(position..position + text.len()) == Some(text);
                    position = (position + text.len()) % PERIOD;
                    same
                })?;
                let count = came.ok_or(LoadError::Closed { end: self.end })?;
                // Tickets, and pieces of a record, are not compared yet.
                let next = match (open, count) {
                    (true, 0) => 0,
                    (true, _) => COMPARE_EVERY - 1,
                    (false, _) => until_comparison - 1,
                };
                (Role::Receiving((at + count) % PERIOD, next), count)
            }
        })
    }
}

impl Role {
    /// Level-triggered: one block for each event, so that no connection starves another.
    fn waits_for(self) -> EpollFlags {
        match self {
            Self::Asking(_) | Self::Sending(_) => EpollFlags::EPOLLOUT,
            Self::Asked | Self::Receiving(..) => EpollFlags::EPOLLIN,
        }
    }
}

impl Traffic for Stream<'_> {
    fn start(&mut self, poller: &Poller) -> Result<(), LoadError> {
        poller.add(self.listener, LISTENER, EpollFlags::EPOLLIN)?;
        for number in 0..self.plan.each_way {
            for wish in [DOWNLOAD, UPLOAD] {
                let fd = socket::connect(Ipv4Addr::new(127, 1, number, 1), self.plan.target)?;
                let records = match &self.plan.tls {
                    Some(trust) => Some(Box::new(handshake(trust, &fd)?)),
                    None => None,
                };
                self.insert(
                    poller,
                    Connection {
                        fd,
                        role: Role::Asking(wish),
                        end: "client",
                        records,
                    },
                )?;
            }
        }
        Ok(())
    }

    fn ready(&mut self, poller: &Poller, token: usize, _: EpollFlags) -> Result<(), LoadError> {
        if token == LISTENER {
            while let Some(fd) = socket::accept(self.listener)? {
                self.accepted += 1;
                self.insert(
                    poller,
                    Connection {
                        fd,
                        role: Role::Asked,
                        end: "backend",
                        records: None,
                    },
                )?;
            }
            return Ok(());
        }
        if self.connections.contains(token) {
            self.step(poller, token)
        } else {
            Ok(())
        }
    }

    fn done(&self) -> u64 {
        self.done
    }

    fn accepted(&self) -> u64 {
        self.accepted
    }
}

/// A client says what it wants.
fn ask(fd: &OwnedFd, wish: u8) -> Result<Role, LoadError> {
    Ok(
        match socket::send(fd, &[wish]).map_err(LoadError::system("connecting to the proxy"))? {
            0 => Role::Asking(wish),
            _ if wish == UPLOAD => Role::Sending(0),
            _ => Role::Receiving(0, 0),
        },
    )
}

/// The backend hears it. `None`: this was a monitor of the proxy, which says nothing and goes.
fn answer(fd: &OwnedFd) -> Result<Option<Role>, LoadError> {
    let mut wish = [0];
    match socket::receive(fd, &mut wish) {
        Ok(Received::Nothing) => Ok(Some(Role::Asked)),
        Ok(Received::Closed) | Err(Errno::ECONNRESET) => Ok(None),
        Ok(Received::Bytes(_)) => match wish {
            [UPLOAD] => Ok(Some(Role::Receiving(0, 0))),
            [DOWNLOAD] => Ok(Some(Role::Sending(0))),
            _ => Err(LoadError::Corrupt { end: "backend" }),
        },
        Err(errno) => Err(LoadError::System {
            doing: "receiving at the backend",
            errno,
        }),
    }
}

/// How many bytes of bulk data came.
fn counted(received: nix::Result<Received>, end: &'static str) -> Result<usize, LoadError> {
    match received.map_err(LoadError::system("receiving bulk data"))? {
        Received::Nothing => Ok(0),
        Received::Closed => Err(LoadError::Closed { end }),
        Received::Bytes(count) => Ok(count),
    }
}
