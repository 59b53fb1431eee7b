//! Whose turn it is. In: views and turns taken. Out: when each candidate's next turn is due, in the rotation's own time.
//!
//! Each turn puts a candidate's next one off by a stride of 1 ÷ weight, and the one that is due first goes next (stride
//! scheduling). For two candidates of equal weight the turns alternate for as long as both can be picked, whoever comes
//! and goes beside them, so no window of time holds more than one turn more of the one than of the other.

use crate::chain::view::{Candidate, View};
use crate::endpoint::EndpointId;

use super::WHOLE;

/// The stride of a weight of 1.
const STRIDE: u64 = 1 << 36;

/// Before the rotation's time can overflow, everything is moved back.
const LATE: u64 = 1 << 60;

/// One worker's rotation of one chain. It survives views: who stays keeps its place.
#[derive(Clone, Debug)]
pub struct Rotation {
    offset: usize,
    version: Option<u64>,
    time: u64,
    uses: u64,
    slots: Vec<Slot>,
}

/// In the order of the view's candidates.
#[derive(Clone, Copy, Debug)]
struct Slot {
    id: EndpointId,
    /// When its next turn is due.
    due: u64,
    /// Which use of the rotation was its last.
    used: u64,
}

impl Rotation {
    /// `offset` is the worker's number: workers begin with different candidates.
    pub fn new(offset: usize) -> Self {
        Self {
            offset,
            version: None,
            time: 0,
            uses: 0,
            slots: Vec::new(),
        }
    }

    /// Makes the slots those of the view's candidates; costs two comparisons while the view is the same.
    pub(super) fn align(&mut self, view: &View) {
        let known = self.version == Some(view.version)
            && self.slots.len() == view.candidates.len()
            && self.slots.first().map(|slot| slot.id) == view.candidates.first().map(|c| c.endpoint.id);
        if known {
            return;
        }
        let mut old = std::mem::take(&mut self.slots);
        old.sort_unstable_by_key(|slot| slot.id);
        for rank in view.candidates.chunk_by(|a, b| a.rank == b.rank) {
            for (n, candidate) in rank.iter().enumerate() {
                self.slots.push(self.slot(candidate, n, rank.len(), &old));
            }
        }
        self.version = Some(view.version);
    }

    fn slot(&self, candidate: &Candidate, n: usize, length: usize, old: &[Slot]) -> Slot {
        let id = candidate.endpoint.id;
        let stride = stride(u64::from(candidate.weight.max(1)) * WHOLE);
        if let Ok(at) = old.binary_search_by_key(&id, |slot| slot.id) {
            return Slot {
                due: old[at].due.min(self.time + stride),
                ..old[at]
            };
        }
        // Newcomers are spread over one stride, so that those who come together do not go together.
        let turn = (n + length - self.offset % length) % length;
        let ahead = u128::from(stride) * turn as u128 / length as u128;
        Slot {
            id,
            due: self.time + ahead as u64,
            used: turn as u64,
        }
    }

    /// When a candidate's turn is due; of those due at once, who waited longest goes first. One that could not be picked
    /// for a while has no claim to the turns it missed.
    pub(super) fn turn(&self, at: usize) -> (u64, u64) {
        let slot = self.slots.get(at);
        slot.map_or((self.time, 0), |slot| (slot.due.max(self.time), slot.used))
    }

    /// Which use was a candidate's last, for balances that take turns among equals only.
    pub(super) fn used(&self, at: usize) -> u64 {
        self.slots.get(at).map_or(0, |slot| slot.used)
    }

    /// The candidate takes its turn; `weight` in thousandths.
    pub(super) fn take_turn(&mut self, at: usize, weight: u64) {
        (self.time, _) = self.turn(at);
        let due = self.time + stride(weight);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.due = due;
        }
        self.use_now(at);
        if self.time >= LATE {
            self.move_back();
        }
    }

    /// The candidate is used, in turn or out of it.
    pub(super) fn use_now(&mut self, at: usize) {
        // Beyond every number that newcomers begin with.
        self.uses = self.uses.max(self.slots.len() as u64) + 1;
        if let Some(slot) = self.slots.get_mut(at) {
            slot.used = self.uses;
        }
    }

    fn move_back(&mut self) {
        for slot in &mut self.slots {
            slot.due = slot.due.saturating_sub(self.time);
        }
        self.time = 0;
    }
}

fn stride(weight: u64) -> u64 {
    STRIDE * WHOLE / weight.max(1)
}
