//! Which sockets listen. In: a routing. Out: for each worker, which sockets to open, keep and close, so that what did
//! not change is never rebound; and what could not be bound, in words.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::listener::gate::Gates;
use crate::route::Routing;
use crate::socket;

use super::command::{Change, Door};

/// A listener that does not listen where it should.
#[derive(Debug)]
pub struct ListenError {
    /// Name of the listener.
    pub listener: String,
    /// Where it should listen.
    pub address: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            listener,
            address,
            error,
        } = self;
        let (ip, port) = (address.ip(), address.port());
        write!(f, "listener {listener:?} cannot listen on port {port} of {ip}: ")?;
        match error.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "another process listens there already; stop it (`ss -ltnp sport = :{port}` names it) or give the \
                 listener another port"
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "ports below 1024 need CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start"
            ),
            io::ErrorKind::AddrNotAvailable => write!(f, "this machine does not have that address"),
            _ => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// The sockets that are open.
#[derive(Debug)]
pub(super) struct Ports {
    bind: Option<IpAddr>,
    open: BTreeMap<Door, Open>,
    gates: HashMap<String, Gates>,
}

#[derive(Debug)]
struct Open {
    listener: String,
    bound: SocketAddr,
}

impl Ports {
    pub(super) fn new(bind: Option<IpAddr>) -> Self {
        Self {
            bind,
            open: BTreeMap::new(),
            gates: HashMap::new(),
        }
    }

    /// Forgets sockets that have to close before others can be bound, and says which: those on the same port as a new
    /// one, of which one listens on all addresses; and those where guests arrive from now on, or do no more.
    pub(super) fn in_the_way(&mut self, routing: &Routing) -> Vec<Door> {
        let wanted = self.wanted(routing);
        let new: Vec<&Door> = wanted.keys().filter(|at| !self.open.contains_key(at)).collect();
        let gone = self.open.keys().filter(|at| !wanted.contains_key(at));
        let in_the_way = gone.filter(|old| {
            let clashes = |new: &&&Door| {
                let (new, old) = (new.at, old.at);
                let same = new.ip() == old.ip() || new.ip().is_unspecified() || old.ip().is_unspecified();
                // Port 0 is another one each time.
                new.port() != 0 && new.port() == old.port() && same
            };
            new.iter().any(|at| clashes(&at))
        });
        let in_the_way: Vec<Door> = in_the_way.copied().collect();
        for at in &in_the_way {
            self.open.remove(at);
        }
        in_the_way
    }

    /// Binds what is new, for each of `workers`, and says what is to be closed.
    pub(super) fn plan(&mut self, routing: &Routing, workers: usize) -> (Vec<Change>, Vec<ListenError>) {
        let wanted = self.wanted(routing);
        let mut changes: Vec<Change> = (0..workers).map(|_| Change::default()).collect();
        let gone: Vec<Door> = self
            .open
            .keys()
            .copied()
            .filter(|at| !wanted.contains_key(at))
            .collect();
        for at in &gone {
            self.open.remove(at);
            for change in &mut changes {
                change.close.push(*at);
            }
        }
        let mut errors = Vec::new();
        for (at, listener) in wanted {
            if let Some(open) = self.open.get_mut(&at) {
                open.listener = listener;
                continue;
            }
            match socket::listen(at.at, workers) {
                Ok(sockets) => {
                    let bound = sockets
                        .first()
                        .and_then(|socket| socket.local_addr().ok())
                        .unwrap_or(at.at);
                    for (change, socket) in changes.iter_mut().zip(sockets) {
                        change.open.push((at, socket));
                    }
                    self.open.insert(at, Open { listener, bound });
                }
                Err(error) => errors.push(ListenError {
                    listener,
                    address: at.at,
                    error,
                }),
            }
        }
        self.gates
            .retain(|name, _| routing.listeners.iter().any(|route| route.listener.name == *name));
        for route in &routing.listeners {
            self.gates.entry(route.listener.name.clone()).or_default();
        }
        for change in &mut changes {
            change.owners = self
                .open
                .iter()
                .map(|(at, open)| (*at, open.listener.clone()))
                .collect();
            change.gates.clone_from(&self.gates);
        }
        (changes, errors)
    }

    fn wanted(&self, routing: &Routing) -> BTreeMap<Door, String> {
        let mut wanted = BTreeMap::new();
        for route in &routing.listeners {
            let listener = &route.listener;
            let everywhere = [self.bind.unwrap_or_else(socket::any_address)];
            let addresses = if listener.addresses.is_empty() {
                &everywhere[..]
            } else {
                &listener.addresses
            };
            for ip in addresses {
                let ports = [(Some(listener.port), false), (listener.direct_port, true)];
                for (port, direct) in ports {
                    let Some(port) = port else { continue };
                    let at = SocketAddr::new(*ip, port);
                    wanted.insert(Door { at, direct }, listener.name.clone());
                }
            }
        }
        wanted
    }

    /// Where clients come to, or guests.
    pub(super) fn bound(&self, direct: bool) -> Vec<(String, SocketAddr)> {
        let doors = self.open.iter().filter(|(door, _)| door.direct == direct);
        doors
            .map(|(_, open)| (open.listener.clone(), open.bound))
            .collect()
    }

    /// Forgets every socket; which those were.
    pub(super) fn clear(&mut self) -> Vec<Door> {
        std::mem::take(&mut self.open).into_keys().collect()
    }
}
