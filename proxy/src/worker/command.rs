//! What a worker is told, through its bounded queue.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use switchyard_snapshot::ChainId;
use tokio::sync::oneshot;

use crate::endpoint::EndpointId;
use crate::listener::gate::Gate;
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
    /// Those who speak HTTP are told to leave; the answer is how many are ended at once.
    Leave {
        at_once: bool,
        reply: oneshot::Sender<usize>,
    },
    StopListening {
        addresses: Vec<SocketAddr>,
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

/// One worker's part of a change of listening sockets.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// Sockets that nobody accepts from yet, by the address that was asked for.
    pub(crate) open: Vec<(SocketAddr, TcpListener)>,
    /// Sockets to close.
    pub(crate) close: Vec<SocketAddr>,
    /// Which listener of the routing each open socket belongs to from now on, by name.
    pub(crate) owners: HashMap<SocketAddr, String>,
    /// Places of each listener over all workers, by name.
    pub(crate) gates: HashMap<String, Arc<Gate>>,
}

/// How many are connected, or being connected, at one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) connections: usize,
}
