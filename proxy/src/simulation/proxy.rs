//! One whole proxy: its chain's state, its probes, its word to others. In: what it is told, and when. Out: since when it
//! believes and says what.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use jiff::SignedDuration;
use switchyard_snapshot::Chain;

use crate::chain::event::Stored;
use crate::chain::state::ChainState;
use crate::endpoint::EndpointId;
use crate::failover::council;
use crate::gossip::{Load, Neighbours, Said};
use crate::pick::Rotation;

/// What is remembered of a proxy for whoever reads a failure.
const REMEMBERED: usize = 12;

/// A proxy, running or not.
#[derive(Default)]
pub(super) struct Proxy {
    pub(super) running: Option<Running>,
    /// What it has kept.
    pub(super) disk: Option<Stored>,
    /// How far its wall clock is ahead.
    pub(super) skew: SignedDuration,
    /// Counts its runs: what belongs to a former one comes to nothing.
    pub(super) run: u64,
    pub(super) full: bool,
    pub(super) leaving: bool,
    /// What happened to it, with the moment.
    pub(super) history: VecDeque<String>,
}

/// A proxy that runs.
pub(super) struct Running {
    pub(super) state: ChainState,
    /// What was heard last; none: it does not gossip yet.
    pub(super) heard: Option<Arc<Neighbours>>,
    pub(super) told: Said,
    /// Confirming probes that are out: which, and how many of its looks have not ended.
    pub(super) confirming: BTreeMap<EndpointId, (u64, u32)>,
    pub(super) rotation: Rotation,
    pub(super) began: Instant,
    pub(super) woken: Instant,
    pub(super) seen: Seen,
}

/// Since when a proxy believes what; none: it does not.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Tiers that serve, by probes that passed.
    pub(super) serves: BTreeMap<u32, Instant>,
    /// Tiers that are not ready.
    pub(super) unready: BTreeMap<u32, Instant>,
    /// It sends its clients nowhere.
    pub(super) stranded: Option<Instant>,
    /// It takes guests, and serves them itself.
    pub(super) takes: Option<Instant>,
    /// It does not.
    pub(super) refuses: Option<Instant>,
}

impl Proxy {
    pub(super) fn note(&mut self, moment: String) {
        if self.history.len() == REMEMBERED {
            self.history.pop_front();
        }
        self.history.push_back(moment);
    }

    /// What it says of itself, as the application does.
    pub(super) fn said(&self) -> Said {
        let room = if self.full { 0 } else { super::plan::ROOM };
        let chains = self.running.iter().map(|running| {
            let chain = &running.state.view().chain;
            (chain.id.clone(), running.state.said())
        });
        Said {
            leaving: self.leaving,
            load: Load {
                sessions: 0,
                room,
                guest_room: room,
            },
            chains: chains.collect(),
        }
    }

    /// Which tier serves, by which epoch.
    pub(super) fn place(&self) -> Option<(u64, u32)> {
        let said = self.running.as_ref()?.state.said();
        Some((said.epoch, said.tier))
    }

    /// Whether it serves its own clients by its own servers.
    pub(super) fn serves_itself(&self) -> bool {
        let Some(running) = &self.running else {
            return false;
        };
        let view = running.state.view();
        view.detour.is_none() && !view.candidates.is_empty()
    }

    /// Takes note of what it believes now.
    pub(super) fn look(&mut self, now: Instant) {
        let open = self.serves_itself() && !self.full && !self.leaving;
        let Some(running) = &mut self.running else { return };
        let view = running.state.view();
        let said = running.state.said();
        let min = view.chain.failover.min_healthy;
        let takes = open && !said.detours && council::proves(&said);
        let seen = &mut running.seen;
        for tier in &said.tiers {
            keep(
                &mut seen.serves,
                tier.tier,
                tier.serving.min(tier.proven) >= min,
                now,
            );
            keep(&mut seen.unready, tier.tier, tier.proven < min, now);
        }
        let since = |known: Option<Instant>, holds: bool| holds.then(|| known.unwrap_or(now));
        seen.stranded = since(seen.stranded, view.candidates.is_empty());
        seen.takes = since(seen.takes, takes);
        seen.refuses = since(seen.refuses, !takes);
    }
}

impl Running {
    pub(super) fn new(chain: &Arc<Chain>, state: ChainState, now: Instant) -> Self {
        debug_assert_eq!(state.view().chain.id, chain.id);
        Self {
            state,
            heard: None,
            told: Said::default(),
            confirming: BTreeMap::new(),
            rotation: Rotation::new(0),
            began: now,
            woken: now,
            seen: Seen::default(),
        }
    }
}

fn keep(all: &mut BTreeMap<u32, Instant>, tier: u32, holds: bool, now: Instant) {
    if holds {
        all.entry(tier).or_insert(now);
    } else {
        all.remove(&tier);
    }
}
