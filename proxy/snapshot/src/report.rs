//! What one proxy says of itself. In: what it believes and does. Out: plain values that the operator folds into statuses.
//!
//! A report is the whole truth of its proxy at one moment, never a difference: the newest one replaces the one before.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ChainId;
use crate::listener::is_default;

/// The state of one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// Listeners are bound and every chain knows where it stands.
    pub ready: bool,
    /// It takes nobody new.
    pub draining: bool,
    /// Established client connections.
    pub sessions: u64,
    /// Ports it was told to listen on and cannot, in words; sorted.
    pub listen_errors: Vec<String>,
    /// Sorted by identity.
    pub chains: Vec<ChainReport>,
    /// The other proxies that it knows, by how they are.
    #[serde(skip_serializing_if = "is_default")]
    pub peers: PeersReport,
}

impl Report {
    /// What it says of a chain.
    pub fn chain(&self, id: &ChainId) -> Option<&ChainReport> {
        let found = self.chains.binary_search_by(|chain| chain.id.cmp(id)).ok()?;
        self.chains.get(found)
    }
}

/// How many other proxies a proxy knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PeersReport {
    /// They answer.
    pub alive: u32,
    /// They do not, and nobody is sent there while others live.
    pub suspect: u32,
    /// They have not answered for so long that they count as gone.
    pub dead: u32,
}

/// The state of one chain on one proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainReport {
    /// Which chain.
    pub id: ChainId,
    /// The generation that it runs here, as [`crate::Chain::generation`] told it; 0: not known. A proxy that has applied a new
    /// one reports at once: until then nobody can tell whether what it says is about the new one or the old one.
    #[serde(default)]
    pub generation: i64,
    /// The tier that serves; none: no tier does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveReport>,
    /// Administratively down.
    #[serde(default)]
    pub suspended: bool,
    /// Established client connections of this chain.
    #[serde(default)]
    pub sessions: u64,
    /// Sorted by backend and address; at most [`ENDPOINTS_REPORTED`] of them.
    #[serde(default)]
    pub endpoints: Vec<EndpointReport>,
    /// How many endpoints there are, also beyond those listed.
    #[serde(default)]
    pub endpoints_total: u32,
    /// How many of them serve (stale ones included).
    #[serde(default)]
    pub endpoints_serving: u32,
    /// Changes of the active tier, oldest first; the last ten.
    #[serde(default)]
    pub transitions: Vec<TransitionReport>,
    /// How the chain stands, as this proxy sees it; none: it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<StandingReport>,
    /// Where this proxy sends the chain's clients; none: nowhere, it serves them, or refuses them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<RedirectReport>,
    /// Clients here that another proxy has sent: they count among `sessions`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub guests: u64,
    /// Those of `guests` of which it is known which chain they belong to, by that; sorted by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guests_of: Vec<GuestsReport>,
    /// When guests go back: those that are here, and, as a group has one prime time, those of this chain that are elsewhere.
    /// None: nobody knows, or not before somebody says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_at: Option<Timestamp>,
}

/// How a chain stands, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StandingReport {
    /// In one word.
    pub standing: Standing,
    /// In words.
    pub reason: String,
}

/// How a chain stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// Its active tier serves.
    Live,
    /// It serves, with less than it should.
    Degraded,
    /// No proxy of its pool has anybody who serves.
    Dead,
    /// This proxy sees nobody who serves; others of its pool do.
    Blind,
    /// This proxy reaches nothing at all: it knows nothing.
    Isolated,
    /// It takes nobody new.
    Draining,
    /// Administratively down.
    Suspended,
    /// Not enough is known yet.
    Unsure,
}

impl Standing {
    /// As people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Degraded => "degraded",
            Self::Dead => "dead",
            Self::Blind => "blind",
            Self::Isolated => "isolated",
            Self::Draining => "draining",
            Self::Suspended => "suspended",
            Self::Unsure => "unsure",
        }
    }
}

/// Where a proxy sends clients of a chain that it cannot serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedirectReport {
    /// The chain whose proxies get most of them; the chain itself where other proxies of its own pool do.
    pub to: ChainId,
    /// Since when they are sent away, whereto ever.
    pub since: Timestamp,
    /// In words: why.
    pub why: String,
}

/// Guests of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestsReport {
    /// The chain that has sent them.
    pub home: ChainId,
    /// How many there are, on this proxy.
    pub guests: u64,
}

/// Endpoints listed per chain.
pub const ENDPOINTS_REPORTED: usize = 64;

/// Which tier serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveReport {
    /// The first backend of the tier that serves, in the order of the resource.
    pub backend: String,
    /// 0 is primary.
    pub tier: u32,
    /// Counts the changes of tier; the higher is the newer.
    pub epoch: u64,
    /// Since when.
    pub since: Timestamp,
}

/// What a proxy thinks of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    /// Name of the backend.
    pub backend: String,
    /// Its address.
    pub address: SocketAddr,
    /// In one word.
    pub state: EndpointState,
    /// In words: why.
    pub reason: String,
    /// Since when it has been in this state.
    pub since: Timestamp,
}

/// The verdict, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EndpointState {
    /// It gets connections.
    Serving,
    /// It gets connections although its name no longer resolves.
    Stale,
    /// It gets none: it fails.
    Ejected,
    /// It gets no new ones: it left DNS, or an administrator wants it out.
    Draining,
}

/// A change of the active tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransitionReport {
    /// When.
    pub at: Timestamp,
    /// The backend that served before; empty: none did.
    pub from: String,
    /// The backend that serves since; empty: none does.
    pub to: String,
    /// In words: why.
    pub reason: String,
}

#[cfg(test)]
mod tests;
