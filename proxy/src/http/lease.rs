//! An endpoint that a request occupies. In: a connection and a place. Out: both given back when the request is done.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use switchyard_snapshot::SendProxy;

use super::Visit;
use super::link::Link;
use super::pool::{Kept, Taken};
use crate::chain::view::Via;
use crate::connect::Reached;
use crate::endpoint::{EndpointId, Place};
use crate::listener::{ChainLocal, ListenerLocal};
use crate::worker::thread::Worker;

/// A place at an endpoint, and the connection to it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) reached: Reached,
    pub(super) taken: Taken,
    pub(super) hold: Hold,
}

/// What is told to others when a request leaves its endpoint.
#[derive(Debug)]
pub(super) struct Hold {
    worker: Rc<Worker>,
    listener: Rc<ListenerLocal>,
    from: IpAddr,
    pub(super) chain: Rc<ChainLocal>,
    endpoint: EndpointId,
    /// Somebody else tells it.
    released: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        if let Some(rules) = &self.listener.route().routing().affinity {
            let table = &self.chain.handle.affinity;
            table.released(rules, self.from, self.endpoint, Instant::now());
        }
        self.chain.freed.notify_one();
    }
}

impl Hold {
    /// The relay tells the others from now on.
    pub(super) fn pass_on(mut self) -> Rc<ChainLocal> {
        self.released = true;
        Rc::clone(&self.chain)
    }
}

impl Lease {
    pub(super) fn new(visit: &Visit, chain: &Rc<ChainLocal>, reached: Reached, taken: Taken) -> Self {
        Self {
            hold: Hold {
                worker: Rc::clone(visit.worker()),
                listener: Rc::clone(&visit.listener),
                from: visit.from.ip(),
                chain: Rc::clone(chain),
                endpoint: reached.place.endpoint().id,
                released: false,
            },
            reached,
            taken,
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.reached.place
    }

    pub(super) fn via(&self) -> Via {
        self.reached.via
    }

    pub(super) fn link(&self) -> Link {
        self.taken.link()
    }

    /// The connection is of no use; the place is kept for as long as it takes to say so.
    pub(super) fn into_reached(self) -> Reached {
        self.reached
    }

    /// Gives back a connection that may be used again.
    pub(super) fn keep(self) {
        let Self { reached, taken, hold } = self;
        // A connection that begins with one client's address must not carry another's request.
        let shared = reached.via.send_proxy == SendProxy::None;
        if let Taken::H1(kept) = taken
            && shared
        {
            let Kept { conn, .. } = &kept;
            if conn.is_quiet() {
                hold.worker.pool.keep(reached.place.endpoint().id, kept);
            }
        }
    }
}
