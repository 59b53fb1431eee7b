//! The contract between the operator (or the files of a standalone run), which write a [`Snapshot`], and the proxy,
//! which reads it.
//!
//! In: what the compile step resolved from the user's resources, every default filled in, every reference followed.
//! Out: plain values that the proxy can use without asking anybody; [`Snapshot::validate`] says what is wrong with one.
//! Neither kube nor tokio lives here.
//!
//! Unknown fields are refused, and a field that holds its default is not written: a proxy one release older than the
//! writer either understands everything it is told or says by name what it does not understand.

mod backend;
mod chain;
mod duration;
mod failover;
mod health;
mod http;
mod listener;
mod peer;
mod redirect;
mod report;
mod resource;
mod tls;
mod validate;

pub use backend::{
    Backend, Balance, Connect, Families, HttpVersion, OnMissing, Resolution, SendProxy, Target,
};
pub use chain::{Chain, ChainId};
pub use duration::{DurationError, format_duration, parse_duration};
pub use failover::{Failback, Failover, Mode, OnDown, Schedule, Start, TimeOfDay, Weekday};
pub use health::{Health, Monitor, Passive};
pub use http::{HeaderChanges, HeaderField, HeaderRules, HttpLimits};
pub use listener::{AcceptProxy, Affinity, Listener, Protocol};
pub use peer::{
    DirectAddress, DirectHost, Gossip, GossipKey, ListedAddress, PeerListener, PeerPool, PeerProxy,
};
pub use redirect::{Dialect, Fallback, Group, GroupMember, GroupPlace, Redirect, Return};
pub use report::{
    ActiveReport, ChainReport, ENDPOINTS_REPORTED, EndpointReport, EndpointState, GuestsReport, PeersReport,
    RedirectReport, Report, Standing, StandingReport, TransitionReport,
};
pub use resource::{NoPool, Resource, ResourceId};
pub use tls::{BackendTls, Certificate, ListenerTls, Private, TicketKey, TlsVersion};
pub use validate::Invalid;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything one proxy of one pool needs to serve, as one immutable value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// What holds for the whole pool.
    pub pool: Pool,
    /// Sorted by name; names are unique.
    pub listeners: Vec<Listener>,
    /// Sorted by identity; identities are unique; each names one of `listeners`.
    pub chains: Vec<Chain>,
    /// The pools that this one gossips with, or, if it does not gossip, sends clients to; its own among them; sorted by
    /// identity. Empty: it talks to nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerPool>,
}

/// Which pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolId {
    /// Namespace of the `ProxyPool`.
    pub namespace: String,
    /// Name of the `ProxyPool`.
    pub name: String,
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What holds for every listener and chain of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// Namespace of the `ProxyPool`.
    pub namespace: String,
    /// Name of the `ProxyPool`.
    pub name: String,
    /// The site the pool stands at.
    pub site: String,
    /// Source addresses for connections to backends; none: the kernel chooses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snat: Vec<IpAddr>,
    /// Which client stays with which endpoint; none: no affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How long sessions may take to leave once the proxy drains.
    #[serde(with = "duration::text")]
    pub drain_timeout: Duration,
    /// Keys for session tickets: the first seals, all open. None: each process makes its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ticket_keys: Vec<TicketKey>,
    /// How its proxies hear of each other; none: they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gossip: Option<Gossip>,
    /// What relay headers are signed with by proxies that do not gossip, and so have no key of gossip; the first signs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relay_keys: Vec<GossipKey>,
}
