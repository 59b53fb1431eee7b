//! What people are told of a chain.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use switchyard_snapshot::{Chain, ChainId, RedirectReport, StandingReport};

use super::member::Member;
use crate::chain::event::Transition;
use crate::clock::Now;
use crate::endpoint::EndpointId;
use crate::failover::machine::Machine;
use crate::verdict::{self, Ground, Verdict};

/// A chain as `GET /endpoints` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainReport {
    /// `namespace/name`.
    pub chain: String,
    /// The generation of the resource that it runs.
    pub generation: i64,
    /// What it runs.
    #[serde(skip)]
    pub config: Arc<Chain>,
    /// Which tier serves.
    pub active: Active,
    /// When the next failback is due, if one is under way.
    pub failback_at: Option<Timestamp>,
    /// A change of the tier is due, and waits for other proxies of the pool: for whom and why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// How it stands here.
    pub standing: StandingReport,
    /// Where its clients are sent; none: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<RedirectReport>,
    /// When guests that are here go back; in the past: since then they go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returns_at: Option<Timestamp>,
    /// Every endpoint that is known, vanished ones too.
    pub endpoints: Vec<EndpointReport>,
    /// The last ten changes, the newest last.
    pub transitions: Vec<Transition>,
}

/// Which tier serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Active {
    /// Its backends.
    pub backend: String,
    /// Its number.
    pub tier: u32,
    /// Since when it is active.
    pub since: Timestamp,
    /// How often the active tier has changed.
    pub epoch: u64,
    /// Why it is active, in words.
    pub reason: String,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    /// Name of its backend.
    pub backend: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its tier; none: its backend is not configured any more.
    pub tier: Option<u32>,
    /// `Serving`, `Stale`, `Ejected` or `Draining`.
    pub state: &'static str,
    /// The same, for programs.
    #[serde(skip)]
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Connections of this proxy to it.
    pub connections: u32,
}

/// What decides whether a chain has something new to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    pub(super) config: Arc<Chain>,
    pub(super) epoch: u64,
    /// When the last transition was.
    pub(super) last: Option<Timestamp>,
    pub(super) standing: StandingReport,
    /// Where to, and since when.
    pub(super) redirect: Option<(ChainId, Timestamp)>,
    pub(super) returns_at: Option<Timestamp>,
    pub(super) members: Vec<(EndpointId, (Verdict, Ground))>,
}

pub(super) fn active(chain: &Chain, machine: &Machine) -> Active {
    Active {
        backend: backends_of(chain, machine.tier()),
        tier: machine.tier(),
        since: machine.since(),
        epoch: machine.epoch(),
        reason: machine.reason().to_owned(),
    }
}

pub(super) fn endpoint(member: &Member, chain: &Chain, now: Now) -> EndpointReport {
    let evidence = member.evidence(chain, chain.suspend);
    EndpointReport {
        backend: member.endpoint.backend.to_string(),
        address: member.endpoint.address,
        tier: member.tier(chain),
        state: member.verdict.0.state(),
        verdict: member.verdict.0,
        reason: verdict::words(&evidence, member.verdict, now.mono),
        since: member.since.wall,
        connections: member.endpoint.connections(),
    }
}

/// The names of a tier's backends.
pub(super) fn backends_of(chain: &Chain, tier: u32) -> String {
    let of_tier = chain.backends.iter().filter(|backend| backend.tier == tier);
    let names: Vec<&str> = of_tier.map(|backend| backend.name.as_str()).collect();
    if names.is_empty() {
        format!("tier {tier}")
    } else {
        names.join(", ")
    }
}

/// The last changes of a chain.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<Transition>);

impl History {
    const KEPT: usize = 10;

    pub(super) fn push(&mut self, transition: Transition) {
        if self.0.len() == Self::KEPT {
            self.0.pop_front();
        }
        self.0.push_back(transition);
    }

    pub(super) fn last(&self) -> Option<Timestamp> {
        self.0.back().map(|transition| transition.at)
    }

    pub(super) fn to_vec(&self) -> Vec<Transition> {
        self.0.iter().cloned().collect()
    }
}
