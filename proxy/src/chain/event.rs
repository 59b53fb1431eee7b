//! What a chain's state is told, and what it wants done.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use switchyard_snapshot::Chain;

use crate::endpoint::EndpointId;
use crate::gossip::Neighbours;
use crate::redirect::Topology;
use crate::redirect::table::Remotes;
use crate::resolve::{Lookup, Question};

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The chain's configuration changed (identity and listener are the same).
    Configured(Arc<Chain>),
    /// The resolver knows something new.
    Resolved(Question, Arc<Lookup>),
    /// A probe ended.
    Probed {
        /// Of which endpoint.
        endpoint: EndpointId,
        /// Index into the chain's monitors.
        monitor: usize,
        /// When it began.
        begun: Instant,
        /// Why it failed, in words.
        result: Result<(), String>,
    },
    /// A confirming probe (a TCP connect to the endpoint's own port) ended.
    Confirmed {
        /// Of which endpoint.
        endpoint: EndpointId,
        /// When it began.
        begun: Instant,
        /// Why it failed, in words.
        result: Result<(), String>,
    },
    /// A data worker could not connect.
    ConnectFailed(ConnectFailed),
    /// Where this proxy stands among others; none: it talks to nobody. Comes before the first [`Event::Neighbours`], and
    /// both before anything else, or a chain that starts might change its tier before it has heard of anybody.
    Topology(Option<Arc<Topology>>),
    /// What other proxies say, and whether they live.
    Neighbours(Arc<Neighbours>),
    /// What monitors say of the group's chains beyond this cluster.
    Remotes(Arc<Remotes>),
    /// Whether this proxy drains.
    Draining(bool),
    /// Guests of this chain shall go back now.
    Return,
    /// Time has passed: at or after the moment that the state asked to be woken.
    Tick,
}

/// A live attempt that failed, for a reason that speaks about the endpoint (never for want of our own descriptors or
/// ports).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectFailed {
    /// Which endpoint.
    pub endpoint: EndpointId,
    /// Live failures in a row, this one included.
    pub in_a_row: u32,
    /// In words: `connection refused`, `no answer within 3s`.
    pub why: String,
    /// When.
    pub at: Instant,
}

/// What an edge shall do once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Connect to the endpoint's own port at once and report [`Event::Confirmed`]. Again after each failure, until it
    /// passes or the state says [`Order::StopConfirming`]; at once the first two times, then at the health interval.
    Confirm(EndpointId),
    /// No more of that.
    StopConfirming(EndpointId),
    /// Keep this on disk, so that a restart goes on where we are.
    Persist(Stored),
    /// Tell people.
    Announce(Transition),
}

/// What outlives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stored {
    /// Counts the changes of the active tier.
    pub epoch: u64,
    /// The active tier.
    pub tier: u32,
    /// Since when it is active.
    pub since: Timestamp,
    /// When a failback is due, if one is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failback_at: Option<Timestamp>,
    /// When guests go back, where that hangs on a schedule: a start that comes while nobody runs is not lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_at: Option<Timestamp>,
}

/// A change worth telling: logged, counted, kept in the chain's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// When.
    pub at: Timestamp,
    /// What changed.
    pub kind: TransitionKind,
    /// What it was: a tier's backends, an endpoint's state.
    pub from: String,
    /// What it is.
    pub to: String,
    /// Why, in words.
    pub reason: String,
}

/// The names of events that users know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the user's names for them, explained in the docs")]
pub enum TransitionKind {
    FailedOver,
    FailedBack,
    /// A manual change of the tier.
    Switched,
    EndpointsStale,
    EndpointsFresh,
    BackendDown,
    BackendUp,
    Suspended,
    Resumed,
    /// Clients are sent to others.
    RedirectStarted,
    RedirectEnded,
}
