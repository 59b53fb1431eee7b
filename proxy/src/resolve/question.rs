//! The task of one question. In: outcomes of queries, subscribers that come and go. Out: a [`Lookup`] after each
//! attempt, to everybody who subscribed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::schedule::{refresh_after, retry_after};
use super::upstream::{Denied, Found, Upstreams};
use super::{Answer, Clamp, Counters, Failure, Lookup, Question};

/// What subscribers share with the task that asks.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) lookup: watch::Sender<Arc<Lookup>>,
    /// What each subscriber wants; empty: nobody is left.
    pub(super) clamps: Mutex<BTreeMap<u64, Clamp>>,
    /// The clamps changed.
    pub(super) changed: Notify,
    /// Nobody is left, or the resolver stops.
    pub(super) ended: CancellationToken,
}

impl Asked {
    /// The tightest wishes of all subscribers together; none: nobody is left.
    fn clamp(&self) -> Option<Clamp> {
        let clamps = self.clamps.lock().unwrap_or_else(PoisonError::into_inner);
        clamps.values().copied().reduce(|a, b| Clamp {
            min_ttl: a.min_ttl.min(b.min_ttl),
            max_ttl: a.max_ttl.min(b.max_ttl),
        })
    }

    /// Asks until nobody wants to know any more.
    pub(super) async fn run(self: Arc<Self>, upstreams: Arc<Upstreams>, counters: Arc<Counters>) {
        let work = async {
            let mut known = Lookup {
                answer: None,
                failure: None,
            };
            let mut form = None;
            loop {
                let outcome = upstreams.ask(&self.question, &mut form).await;
                counters.count(&outcome);
                let at = Instant::now();
                learn(&mut known, outcome, at);
                self.lookup.send_replace(Arc::new(known.clone()));
                if !self.pause(&known, at).await {
                    return;
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = self.ended.cancelled() => {}
        }
    }

    /// Waits until the next query is due; false: nobody is left.
    async fn pause(&self, known: &Lookup, at: Instant) -> bool {
        let luck = fastrand::f64();
        loop {
            let Some(clamp) = self.clamp() else { return false };
            let due = at + delay(known, clamp, luck);
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => return true,
                () = self.changed.notified() => {}
            }
        }
    }
}

fn delay(known: &Lookup, clamp: Clamp, luck: f64) -> Duration {
    let ttl = known.answer.as_ref().map(|answer| answer.ttl);
    match (&known.failure, ttl) {
        (Some(failure), ttl) => retry_after(failure, ttl, clamp, luck),
        (None, ttl) => refresh_after(ttl.unwrap_or(clamp.min_ttl), clamp, luck),
    }
}

/// Folds one more outcome into what is known.
pub(super) fn learn(known: &mut Lookup, outcome: Result<Found, Denied>, at: Instant) {
    match outcome {
        Ok(Found { records, ttl }) => {
            known.answer = Some(Answer { records, ttl, at });
            known.failure = None;
        }
        Err(Denied { kind, text }) => {
            let before = known.failure.take();
            let in_a_row = match &before {
                Some(failure) if failure.kind == kind => failure.in_a_row.saturating_add(1),
                _ => 1,
            };
            known.failure = Some(Failure {
                kind,
                text,
                since: before.map_or(at, |failure| failure.since),
                in_a_row,
            });
        }
    }
}
