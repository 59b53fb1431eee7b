//! Guests on their way back, at a set pace. In: what the state says of the return. Out: orders to data workers to end the
//! sessions of guests, the longest idle first.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_snapshot::ChainId;

use super::ANSWER_WITHIN;
use crate::chain::state::GiveBack;
use crate::pace::Pacer;
use crate::session::end::CloseReason;
use crate::worker::Workers;

/// Turns are taken together when they come faster than this: asking the workers costs them a look at every session.
const BATCH: Duration = Duration::from_millis(20);

/// When nobody was there who may go, the next look comes after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Sends the guests of one chain back.
#[derive(Debug)]
pub(super) struct Farewell {
    chain: ChainId,
    workers: Arc<Workers>,
    pacer: Pacer,
    back: Option<GiveBack>,
    next: Option<Instant>,
}

impl Farewell {
    pub(super) fn new(chain: ChainId, workers: Arc<Workers>, pace: u32) -> Self {
        Self {
            chain,
            workers,
            pacer: Pacer::new(pace),
            back: None,
            next: None,
        }
    }

    pub(super) fn set_pace(&mut self, pace: u32) {
        self.pacer.set_rate(pace);
    }

    /// Guests go back as this says; none: they may stay.
    pub(super) fn set(&mut self, back: Option<GiveBack>, now: Instant) {
        if back != self.back {
            self.next = back.is_some().then_some(now);
            self.back = back;
        }
    }

    /// When to call [`Farewell::turn`]; none: nobody has to go.
    pub(super) fn turn_at(&self) -> Option<Instant> {
        self.next
    }

    /// Sends off as many as are due.
    pub(super) async fn turn(&mut self, now: Instant) {
        let Some(back) = &self.back else {
            self.next = None;
            return;
        };
        let mut due = 0;
        while self.pacer.take(now) {
            due += 1;
        }
        let mut by_stay: BTreeMap<Duration, HashSet<ChainId>> = BTreeMap::new();
        for (home, stay) in &back.homes {
            by_stay.entry(*stay).or_default().insert(home.clone());
        }
        let mut closed = 0;
        for (stay, homes) in by_stay {
            if closed < due {
                let why = CloseReason::Returned;
                let closing = self
                    .workers
                    .return_guests(&self.chain, due - closed, stay, &homes, why);
                closed += tokio::time::timeout(ANSWER_WITHIN, closing).await.unwrap_or(0);
            }
        }
        let pause = if due > 0 && closed == 0 { LOOK_AGAIN } else { BATCH };
        self.next = Some(self.pacer.ready_at(now).max(now + pause));
    }
}
