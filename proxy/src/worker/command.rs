//! What a worker is told, through its bounded queue.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use switchyard_snapshot::ChainId;
use tokio::sync::oneshot;

use crate::endpoint::EndpointId;
use crate::guest;
use crate::listener::gate::Gates;
use crate::route::Routing;
use crate::session::end::{CloseReason, End};
use crate::session::{Idle, SessionInfo};

/// One order or question; each is answered when it is done.
pub(crate) enum Command {
    Apply {
        routing: Arc<Routing>,
        change: Change,
        tell: oneshot::Sender<()>,
    },
    Idlest {
        chain: ChainId,
        endpoints: Arc<HashSet<EndpointId>>,
        /// Only those that began before.
        begun_before: Instant,
        at_most: usize,
        reply: oneshot::Sender<Vec<Idle>>,
    },
    IdlestGuests {
        chain: ChainId,
        homes: Arc<HashSet<ChainId>>,
        begun_before: Instant,
        at_most: usize,
        reply: oneshot::Sender<Vec<Idle>>,
    },
    Close {
        ids: Arc<HashSet<u64>>,
        end: End,
        reply: oneshot::Sender<usize>,
    },
    CloseAll {
        why: CloseReason,
        reply: oneshot::Sender<usize>,
    },
    Sessions {
        at_most: usize,
        reply: oneshot::Sender<Vec<SessionInfo>>,
    },
    /// Guests by the chain that serves them and the one they came for.
    Guests {
        reply: oneshot::Sender<Vec<(guest::Key, u64)>>,
    },
    /// Those who speak HTTP are told to leave; the answer is how many are ended at once.
    Leave {
        at_once: bool,
        reply: oneshot::Sender<usize>,
    },
    StopListening {
        doors: Vec<Door>,
        reply: oneshot::Sender<()>,
    },
    /// Answered once nobody is connected.
    WhenEmpty {
        reply: oneshot::Sender<()>,
    },
    Count {
        reply: oneshot::Sender<Count>,
    },
}

/// Where a listener listens: an address that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Door {
    pub(crate) at: SocketAddr,
    /// Guests arrive here.
    pub(crate) direct: bool,
}

/// One worker's part of a change of listening sockets.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// Sockets that nobody accepts from yet.
    pub(crate) open: Vec<(Door, TcpListener)>,
    /// Sockets to close.
    pub(crate) close: Vec<Door>,
    /// Which listener of the routing each open socket belongs to from now on, by name.
    pub(crate) owners: HashMap<Door, String>,
    /// Places of each listener over all workers, by name.
    pub(crate) gates: HashMap<String, Gates>,
}

/// How many are connected, or being connected, at one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) connections: usize,
}
