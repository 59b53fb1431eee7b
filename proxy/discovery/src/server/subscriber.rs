//! The delta state of one subscription, without I/O. In: what the proxy says it has, what is published, its answers.
//! Out: the next response, and what its answers mean.
//!
//! One response is under way at a time, so a slow proxy gets the newest state next and never a queue of old ones. An
//! answer names everything that the proxy refuses at that moment, also what it was sent earlier: a chain may become
//! impossible, or possible, because its listener changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_snapshot::ResourceId;

use super::activity::What;
use super::publication::{Piece, Publication};
use crate::Hash;
use crate::names::id_of;

/// What one proxy has.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// What it has answered for, taken or refused.
    held: BTreeMap<ResourceId, Hash>,
    refused: BTreeMap<ResourceId, String>,
    /// Names it brought that no resource of this release has: to be removed.
    strangers: Vec<String>,
    under_way: Option<UnderWay>,
    /// The nonce it answered last; 0: none.
    answered: u64,
    /// The nonce used last.
    nonce: u64,
}

#[derive(Debug)]
struct UnderWay {
    nonce: u64,
    since: Instant,
    changed: BTreeMap<ResourceId, Hash>,
    removed: BTreeSet<ResourceId>,
}

/// The next response.
#[derive(Debug)]
pub(crate) struct Delta {
    pub(crate) nonce: u64,
    /// Of the whole publication.
    pub(crate) version: Hash,
    pub(crate) changed: Vec<Arc<Piece>>,
    /// Names, as on the wire.
    pub(crate) removed: Vec<String>,
}

/// What a proxy says to a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) nonce: u64,
    pub(crate) refused: Refused,
}

/// What a proxy does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Exactly these of all it has, by name, and why; nothing: it runs everything.
    These(BTreeMap<String, String>),
    /// Everything in the response, for one reason: a client that does not name resources.
    Response(String),
}

impl Subscriber {
    /// A subscription of a proxy that has these versions already, by name.
    pub(crate) fn new(initial: HashMap<String, String>) -> Self {
        let mut held = BTreeMap::new();
        let mut strangers = Vec::new();
        for (name, version) in initial {
            match (id_of(&name), version.parse::<Hash>()) {
                (Some(id), Ok(version)) => {
                    held.insert(id, version);
                }
                // sent again, as if it had none
                (Some(_), Err(_)) => {}
                (None, _) => strangers.push(name),
            }
        }
        Self {
            held,
            refused: BTreeMap::new(),
            strangers,
            under_way: None,
            answered: 0,
            nonce: 0,
        }
    }

    /// The next response, if one is due. The first one comes even if it carries nothing: it tells a proxy that brought
    /// everything with it that this is still what shall run.
    pub(crate) fn next(&mut self, publication: &Publication, now: Instant) -> Option<Delta> {
        if self.under_way.is_some() {
            return None;
        }
        let pieces = publication.pieces();
        let changed: Vec<Arc<Piece>> = pieces
            .iter()
            .filter(|(id, piece)| self.held.get(id) != Some(&piece.version))
            .map(|(_, piece)| Arc::clone(piece))
            .collect();
        let removed: BTreeSet<ResourceId> = self
            .held
            .keys()
            .filter(|id| !pieces.contains_key(id))
            .cloned()
            .collect();
        if self.nonce > 0 && changed.is_empty() && removed.is_empty() {
            return None;
        }
        self.nonce += 1;
        let mut names: Vec<String> = removed.iter().map(crate::names::name_of).collect();
        names.append(&mut self.strangers);
        self.under_way = Some(UnderWay {
            nonce: self.nonce,
            since: now,
            changed: changed
                .iter()
                .map(|piece| (piece.resource.id(), piece.version))
                .collect(),
            removed,
        });
        Some(Delta {
            nonce: self.nonce,
            version: publication.version(),
            changed,
            removed: names,
        })
    }

    /// Takes an answer in; what it means. One to a response that is neither under way nor the last one answered means
    /// nothing.
    pub(crate) fn answer(&mut self, Answer { nonce, refused }: Answer) -> Vec<What> {
        let Some(under_way) = self.under_way.take_if(|under_way| under_way.nonce == nonce) else {
            let again = nonce > 0 && nonce == self.answered;
            return if again {
                self.fold(refused, &BTreeMap::new(), BTreeSet::new())
            } else {
                Vec::new()
            };
        };
        let UnderWay {
            mut changed, removed, ..
        } = under_way;
        self.held.retain(|id, _| !removed.contains(id));
        self.refused.retain(|id, _| !removed.contains(id));
        self.held.extend(changed.clone());
        if self.answered == 0 {
            // what it brought with it is confirmed by its first answer
            changed.clone_from(&self.held);
        }
        self.answered = nonce;
        self.fold(refused, &changed, removed)
    }

    /// When the proxy must have answered, if it has to.
    pub(crate) fn overdue_at(&self, within: Duration) -> Option<Instant> {
        self.under_way.as_ref().map(|under_way| under_way.since + within)
    }

    /// What an answer means that takes in, or refuses, what was `taken` from the wire.
    fn fold(
        &mut self,
        refused: Refused,
        taken: &BTreeMap<ResourceId, Hash>,
        removed: BTreeSet<ResourceId>,
    ) -> Vec<What> {
        let refused = self.refused_now(refused, taken);
        let mut facts = Vec::new();
        let lifted = self.refused.keys().filter(|id| !refused.contains_key(id));
        let versions: BTreeMap<ResourceId, Hash> = lifted
            .chain(taken.keys().filter(|id| !refused.contains_key(id)))
            .filter_map(|id| Some((id.clone(), *self.held.get(id)?)))
            .collect();
        if !versions.is_empty() || !removed.is_empty() {
            facts.push(What::Acked { versions, removed });
        }
        for (id, reason) in &refused {
            let known = !taken.contains_key(id) && self.refused.get(id) == Some(reason);
            if let Some(&version) = self.held.get(id).filter(|_| !known) {
                facts.push(What::Refused {
                    resource: id.clone(),
                    version,
                    reason: reason.clone(),
                });
            }
        }
        self.refused = refused;
        facts
    }

    fn refused_now(
        &self,
        refused: Refused,
        taken: &BTreeMap<ResourceId, Hash>,
    ) -> BTreeMap<ResourceId, String> {
        match refused {
            // names of what it does not have are nothing to us
            Refused::These(named) => named
                .into_iter()
                .filter_map(|(name, reason)| Some((id_of(&name)?, reason)))
                .filter(|(id, _)| self.held.contains_key(id))
                .collect(),
            Refused::Response(reason) => {
                let mut refused = self.refused.clone();
                refused.extend(taken.keys().map(|id| (id.clone(), reason.clone())));
                refused
            }
        }
    }
}
