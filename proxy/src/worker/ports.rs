//! Which sockets listen. In: a routing. Out: for each worker, which sockets to open, keep and close, so that what did
//! not change is never rebound; and what could not be bound, in words.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::listener::gate::Gate;
use crate::route::Routing;
use crate::socket;

use super::command::Change;

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

/// The sockets that are open, by the address that was asked for.
#[derive(Debug)]
pub(super) struct Ports {
    bind: Option<IpAddr>,
    open: BTreeMap<SocketAddr, Open>,
    gates: HashMap<String, Arc<Gate>>,
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
    /// one, of which one listens on all addresses.
    pub(super) fn in_the_way(&mut self, routing: &Routing) -> Vec<SocketAddr> {
        let wanted = self.wanted(routing);
        let new: Vec<&SocketAddr> = wanted.keys().filter(|at| !self.open.contains_key(at)).collect();
        let gone = self.open.keys().filter(|at| !wanted.contains_key(at));
        let in_the_way = gone.filter(|old| {
            let clashes = |new: &&&SocketAddr| {
                new.port() == old.port() && (new.ip().is_unspecified() || old.ip().is_unspecified())
            };
            new.iter().any(|at| clashes(&at))
        });
        let in_the_way: Vec<SocketAddr> = in_the_way.copied().collect();
        for at in &in_the_way {
            self.open.remove(at);
        }
        in_the_way
    }

    /// Binds what is new, for each of `workers`, and says what is to be closed.
    pub(super) fn plan(&mut self, routing: &Routing, workers: usize) -> (Vec<Change>, Vec<ListenError>) {
        let wanted = self.wanted(routing);
        let mut changes: Vec<Change> = (0..workers).map(|_| Change::default()).collect();
        let gone: Vec<SocketAddr> = self
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
            match socket::listen(at, workers) {
                Ok(sockets) => {
                    let bound = sockets
                        .first()
                        .and_then(|socket| socket.local_addr().ok())
                        .unwrap_or(at);
                    for (change, socket) in changes.iter_mut().zip(sockets) {
                        change.open.push((at, socket));
                    }
                    self.open.insert(at, Open { listener, bound });
                }
                Err(error) => errors.push(ListenError {
                    listener,
                    address: at,
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

    fn wanted(&self, routing: &Routing) -> BTreeMap<SocketAddr, String> {
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
                wanted.insert(SocketAddr::new(*ip, listener.port), listener.name.clone());
            }
        }
        wanted
    }

    pub(super) fn bound(&self) -> Vec<(String, SocketAddr)> {
        self.open
            .values()
            .map(|open| (open.listener.clone(), open.bound))
            .collect()
    }

    /// Forgets every socket; which those were.
    pub(super) fn clear(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.open).into_keys().collect()
    }
}
