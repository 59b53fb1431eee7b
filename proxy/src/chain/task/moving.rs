//! Sessions that must leave, at a set pace. In: whom they must leave, and why. Out: orders to data workers, never
//! faster than the pace.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_snapshot::ChainId;

use super::ANSWER_WITHIN;
use crate::endpoint::{Endpoint, EndpointId};
use crate::pace::Pacer;
use crate::session::end::CloseReason;
use crate::worker::Workers;

/// Turns are taken together when they come faster than this: asking the workers costs them a look at every session.
const BATCH: Duration = Duration::from_millis(20);

/// When nobody was there to be moved, the next look comes after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The mover of one chain.
#[derive(Debug)]
pub(super) struct Mover {
    chain: ChainId,
    workers: Arc<Workers>,
    pacer: Pacer,
    leaving: BTreeMap<EndpointId, CloseReason>,
    /// Every endpoint that may have sessions.
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    next: Option<Instant>,
}

impl Mover {
    pub(super) fn new(chain: ChainId, workers: Arc<Workers>, pace: u32) -> Self {
        Self {
            chain,
            workers,
            pacer: Pacer::new(pace),
            leaving: BTreeMap::new(),
            endpoints: HashMap::new(),
            next: None,
        }
    }

    pub(super) fn set_pace(&mut self, pace: u32) {
        self.pacer.set_rate(pace);
    }

    /// These endpoints may have sessions, besides those known before.
    pub(super) fn know(&mut self, endpoints: impl IntoIterator<Item = Arc<Endpoint>>) {
        self.endpoints
            .retain(|id, endpoint| endpoint.connections() > 0 || self.leaving.contains_key(id));
        self.endpoints
            .extend(endpoints.into_iter().map(|endpoint| (endpoint.id, endpoint)));
    }

    /// Sessions must leave these endpoints, and no others.
    pub(super) fn set_leaving(&mut self, leaving: BTreeMap<EndpointId, CloseReason>, now: Instant) {
        if leaving != self.leaving {
            self.leaving = leaving;
            self.next = (!self.leaving.is_empty()).then_some(now);
        }
    }

    /// Sessions must leave every endpoint.
    pub(super) fn leave_all(&mut self, why: CloseReason, now: Instant) {
        let all = self.endpoints.keys().map(|&id| (id, why)).collect();
        self.set_leaving(all, now);
    }

    /// Nobody is connected, or being connected, to any endpoint.
    pub(super) fn is_done(&self) -> bool {
        self.endpoints
            .values()
            .all(|endpoint| endpoint.connections() == 0)
    }

    /// When to call [`Mover::turn`]; none: nobody has to leave.
    pub(super) fn turn_at(&self) -> Option<Instant> {
        self.next
    }

    /// Moves as many as are due.
    pub(super) async fn turn(&mut self, now: Instant) {
        let mut reasons: BTreeMap<u8, (CloseReason, HashSet<EndpointId>)> = BTreeMap::new();
        for (id, why) in &self.leaving {
            if self
                .endpoints
                .get(id)
                .is_some_and(|endpoint| endpoint.connections() > 0)
            {
                let (_, ids) = reasons
                    .entry(*why as u8)
                    .or_insert_with(|| (*why, HashSet::new()));
                ids.insert(*id);
            }
        }
        if reasons.is_empty() {
            self.next = (!self.leaving.is_empty()).then_some(now + LOOK_AGAIN);
            return;
        }
        let mut due = 0;
        while self.pacer.take(now) {
            due += 1;
        }
        let mut left = due;
        for (why, endpoints) in reasons.values() {
            if left > 0 {
                let closing = self.workers.move_sessions(&self.chain, endpoints, left, *why);
                let closed = tokio::time::timeout(ANSWER_WITHIN, closing).await.unwrap_or(0);
                left -= closed.min(left);
            }
        }
        let pause = if due > 0 && left == due { LOOK_AGAIN } else { BATCH };
        self.next = Some(self.pacer.ready_at(now).max(now + pause));
    }
}
