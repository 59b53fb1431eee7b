//! What a chain hears of other proxies. In: where this proxy stands, and what its neighbours say. Out: the council of its
//! pool, and whether a mate doubts what is believed here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_snapshot::{Chain, ChainId};

use crate::failover::council::{self, Claim, Council, Mate};
use crate::gossip::{Liveness, Neighbour, Neighbours, PeerId, Said};
use crate::redirect::Topology;

/// Doubts of mates start confirming probes no more often than this: a mate that flaps, or lies, costs backends little.
const DOUBTS_APART: Duration = Duration::from_secs(1);

/// What a chain knows of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Circle {
    topology: Option<Arc<Topology>>,
    /// Sorts before every proxy of this pool.
    first: Option<PeerId>,
    neighbours: Arc<Neighbours>,
    /// Mates that live without a word of this chain, and since when.
    silent: BTreeMap<Arc<PeerId>, Instant>,
    doubts: Doubts,
}

/// Who was heard when it said that the active tier is down.
#[derive(Clone, Debug, Default)]
struct Doubts {
    tier: u32,
    heeded: BTreeSet<String>,
    at: Option<Instant>,
    /// When a doubt that came too soon is heeded. It passes unused where the tier goes down first: nobody doubts it then.
    due: Option<Instant>,
}

/// Who, and what is known of it.
type Known<'a> = (&'a Arc<PeerId>, &'a Neighbour);

impl Circle {
    /// Where this proxy stands; none: it talks to nobody.
    pub(super) fn place(&mut self, topology: Option<Arc<Topology>>, chain: &ChainId, now: Instant) {
        self.first = topology.as_ref().map(|topology| PeerId {
            pool: topology.me.pool.clone(),
            name: String::new(),
        });
        self.topology = topology;
        self.note_silence(chain, now);
    }

    /// What the others say. True: there is more news, for this chain and its group, than that they stand by their words
    /// and how much room they have.
    pub(super) fn hear(&mut self, neighbours: Arc<Neighbours>, chain: &Chain, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.neighbours, neighbours);
        self.note_silence(&chain.id, now);
        let group = chain.group.iter().flat_map(|group| &group.members);
        let ids = group.map(|member| &member.chain).chain([&chain.id]);
        let same_words = |a: &Said, b: &Said| {
            a.leaving == b.leaving && ids.clone().all(|id| a.chains.get(id) == b.chains.get(id))
        };
        let same = |(a, b): (Known<'_>, Known<'_>)| {
            a.0 == b.0
                && (a.1.ip, a.1.liveness) == (b.1.ip, b.1.liveness)
                && (Arc::ptr_eq(&a.1.said, &b.1.said) || same_words(&a.1.said, &b.1.said))
        };
        let (old, new) = (&before.peers, &self.neighbours.peers);
        old.len() != new.len() || !old.iter().zip(new).all(same)
    }

    fn note_silence(&mut self, chain: &ChainId, now: Instant) {
        let silent = self
            .mates()
            .filter(|(_, mate)| mate.liveness != Liveness::Dead && !mate.said.chains.contains_key(chain));
        let silent = silent.map(|(id, _)| (Arc::clone(id), self.silent.get(id).copied().unwrap_or(now)));
        self.silent = silent.collect();
    }

    pub(super) fn topology(&self) -> Option<&Topology> {
        self.topology.as_deref()
    }

    pub(super) fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// The other proxies of this pool, which lie side by side among all that are known.
    fn mates(&self) -> impl Iterator<Item = Known<'_>> {
        let place = self.topology.as_deref().zip(self.first.as_ref());
        place.into_iter().flat_map(|(topology, first)| {
            let from_first = self.neighbours.peers.range::<PeerId, _>(first..);
            from_first
                .take_while(|(id, _)| id.pool == topology.me.pool)
                .filter(|(id, _)| id.name != topology.me.name)
        })
    }

    /// What pool-mates say of the chain now.
    pub(super) fn council(&self, chain: &Chain, now: Instant) -> Council<'_> {
        let Some(topology) = &self.topology else {
            return Council::alone(now);
        };
        let mates = self.mates().filter_map(|(id, mate)| {
            let silent_since = self.silent.get(id).copied().unwrap_or(now);
            Some(Mate {
                name: &id.name,
                answers: council::answers(mate.liveness)?,
                confirmed: mate.confirmed,
                said: mate.said.chains.get(&chain.id).ok_or(silent_since),
            })
        });
        let lasts = council::evidence_lasts(&chain.health);
        Council::new(mates.collect(), lasts, topology.since, now)
    }

    /// Whether any other proxy answers.
    pub(super) fn reaches_a_peer(&self) -> bool {
        let mut all = self.neighbours.peers.values();
        let hears = self
            .topology
            .as_ref()
            .is_some_and(|topology| !topology.second_hand);
        hears && all.any(|peer| peer.liveness == Liveness::Alive)
    }

    /// Whether a mate says, since this was asked last, that a tier is down that serves here: who does.
    pub(super) fn doubt(&mut self, chain: &Chain, claim: Claim, now: Instant) -> Option<String> {
        let council = self.council(chain, now);
        let doubters: BTreeSet<String> = council.doubters(claim).map(str::to_owned).collect();
        let doubts = &mut self.doubts;
        if doubts.tier != claim.tier() {
            doubts.heeded.clear();
            doubts.tier = claim.tier();
        }
        doubts.heeded.retain(|name| doubters.contains(name));
        doubts.due = None;
        let fresh = doubters
            .iter()
            .find(|name| !doubts.heeded.contains(*name))?
            .clone();
        let soon = doubts.at.map(|at| at + DOUBTS_APART).filter(|at| now < *at);
        if soon.is_some() {
            doubts.due = soon;
            return None;
        }
        doubts.at = Some(now);
        doubts.heeded = doubters;
        Some(fresh)
    }

    /// When time alone changes something.
    pub(super) fn changes_at(&self, chain: &Chain, now: Instant) -> Option<Instant> {
        let due = self.doubts.due.filter(|at| *at > now);
        let agreed = self.council(chain, now).changes_at();
        agreed.into_iter().chain(due).min()
    }
}
