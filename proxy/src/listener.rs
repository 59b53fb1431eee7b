//! One worker's part of a listener: THE accept loop. In: listening sockets and what the routing says of them. Out: one
//! task per connection, which finds the chain, connects and hands over to the relay.

mod accept;
mod elsewhere;
pub(crate) mod gate;
mod open;
mod refuse;
mod serve;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use switchyard_snapshot::Listener;
use tokio::sync::Notify;

use crate::chain::handle::ChainHandle;
use crate::counters::{ChainCounts, ListenerCounts};
use crate::guest::Guest;
use crate::pick::Rotation;
use crate::route::{ListenerRoute, Routing};
use crate::tls;

use gate::{Gate, Gates};

pub(crate) use accept::{Acceptor, Passes};
pub(crate) use refuse::Refused;
pub(crate) use serve::began;

/// One chain as one worker knows it.
#[derive(Debug)]
pub(crate) struct ChainLocal {
    pub(crate) handle: Arc<ChainHandle>,
    pub(crate) counts: Arc<ChainCounts>,
    pub(crate) rotation: RefCell<Rotation>,
    /// What opens TLS towards its backends.
    pub(crate) tls: tls::Clients,
    /// Told when a session of this chain on this worker ends, so that one that waits for a place may look again.
    pub(crate) freed: Notify,
}

/// One listener as one worker knows it.
#[derive(Debug)]
pub(crate) struct ListenerLocal {
    pub(crate) name: String,
    pub(crate) counts: Arc<ListenerCounts>,
    /// Sessions here, over all workers.
    pub(crate) gate: Arc<Gate>,
    /// The guests among them.
    pub(crate) guests: Arc<Gate>,
    route: RefCell<Rc<LocalRoute>>,
    idle_timeout: Cell<Duration>,
}

/// What the routing says of a listener, with this worker's chains.
#[derive(Debug)]
pub(crate) struct LocalRoute {
    routing: Arc<Routing>,
    index: usize,
    /// In the order of the route's chains.
    pub(crate) chains: Vec<Rc<ChainLocal>>,
}

impl LocalRoute {
    /// `index` is that of a listener of `routing`.
    pub(crate) fn new(routing: Arc<Routing>, index: usize, chains: Vec<Rc<ChainLocal>>) -> Rc<Self> {
        Rc::new(Self {
            routing,
            index,
            chains,
        })
    }

    pub(crate) fn route(&self) -> &ListenerRoute {
        &self.routing.listeners[self.index]
    }

    pub(crate) fn listener(&self) -> &Listener {
        &self.route().listener
    }

    pub(crate) fn routing(&self) -> &Routing {
        &self.routing
    }

    /// The chain for a name, or for none.
    pub(crate) fn chain(&self, name: Option<&str>) -> Option<&Rc<ChainLocal>> {
        self.route().index(name).and_then(|index| self.chains.get(index))
    }

    /// The chain of a guest that came to `name`, or to none.
    pub(crate) fn chain_of_guest(&self, guest: &Guest, name: Option<&str>) -> Option<&Rc<ChainLocal>> {
        let index = match &guest.chain {
            Some(chain) => self.route().index_of(chain),
            None => self.route().guest_index(name),
        };
        index.and_then(|index| self.chains.get(index))
    }
}

impl ListenerLocal {
    pub(crate) fn new(counts: Arc<ListenerCounts>, gates: Gates, route: Rc<LocalRoute>) -> Rc<Self> {
        let Gates { all, guests } = gates;
        let listener = route.listener();
        Rc::new(Self {
            name: listener.name.clone(),
            counts,
            gate: all,
            guests,
            idle_timeout: Cell::new(listener.idle_timeout),
            route: RefCell::new(route),
        })
    }

    /// What holds for connections that come now.
    pub(crate) fn route(&self) -> Rc<LocalRoute> {
        Rc::clone(&self.route.borrow())
    }

    /// Swaps the configuration; open sessions follow the new idle timeout.
    pub(crate) fn set_route(&self, route: Rc<LocalRoute>) {
        self.idle_timeout.set(route.listener().idle_timeout);
        self.route.replace(route);
        self.gate.reconsider();
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        self.idle_timeout.get()
    }
}

/// Tells an accept loop to end; costs it one look at a cell per accept.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    stopped: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Stop {
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn is_stopped(&self, waker: &Waker) -> bool {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
        self.stopped.get()
    }
}

#[cfg(test)]
mod tests;
