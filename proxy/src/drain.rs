//! The one drain timer. In: a request to leave, and a second one from somebody in a hurry. Out: no new clients, sessions
//! that leave by themselves until the timer ends, and then none.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use switchyard_snapshot::ChainId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::endpoint::EndpointId;
use crate::session::LINGER;
use crate::session::end::CloseReason;
use crate::worker::Workers;

/// Where a proxy stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Bound, but not sure yet whom to serve from.
    Starting,
    /// As it should be.
    Serving,
    /// No new clients; the others may stay until the deadline.
    Draining {
        /// When it was asked to.
        since: Timestamp,
        /// When the last sessions are closed.
        until: Timestamp,
        /// The same, to wait for.
        deadline: Instant,
    },
    /// Everybody has left.
    Drained,
}

/// The phase of one proxy.
#[derive(Debug)]
pub struct Life {
    phase: watch::Sender<Phase>,
    hurry: CancellationToken,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting),
            hurry: CancellationToken::new(),
        }
    }
}

impl Life {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// The phase now, and word of each change.
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// It knows whom to serve from.
    pub fn ready(&self) {
        self.phase.send_if_modified(|phase| {
            let starting = *phase == Phase::Starting;
            if starting {
                *phase = Phase::Serving;
            }
            starting
        });
    }

    /// Waits until it serves, or is past that.
    pub async fn started(&self) {
        let _ = self
            .phase
            .subscribe()
            .wait_for(|phase| *phase != Phase::Starting)
            .await;
    }

    /// Waits until everybody has left.
    pub async fn drained(&self) {
        let _ = self
            .phase
            .subscribe()
            .wait_for(|phase| *phase == Phase::Drained)
            .await;
    }

    /// Asks it to drain. True: it was not draining yet, so somebody has to call [`Life::run`]; false: it was, and hurries
    /// now.
    pub fn request(&self, time: Duration) -> bool {
        let first = self.phase.send_if_modified(|phase| {
            let first = matches!(phase, Phase::Starting | Phase::Serving);
            if first {
                let since = Timestamp::now();
                *phase = Phase::Draining {
                    since,
                    until: since.saturating_add(time).unwrap_or(Timestamp::MAX),
                    deadline: Instant::now() + time,
                };
            }
            first
        });
        if !first {
            self.hurry.cancel();
        }
        first
    }

    /// Drains, once it was asked for and nobody new is accepted any more.
    pub async fn run(&self, workers: &Workers) {
        let Phase::Draining { deadline, .. } = self.phase() else {
            return;
        };
        tracing::info!(
            deadline_s = deadline.duration_since(Instant::now()).as_secs(),
            "draining"
        );
        workers.leave(false).await;
        let left = tokio::select! {
            left = workers.drain(deadline) => left,
            () = self.hurry.cancelled() => workers.drain(Instant::now()).await,
        };
        if left > 0 {
            tracing::warn!(sessions = left, "the time to leave is over: closing who is left");
            close_all(workers).await;
            workers.drain(Instant::now() + LINGER).await;
        }
        tracing::info!("drained");
        self.phase.send_replace(Phase::Drained);
    }
}

async fn close_all(workers: &Workers) {
    let mut endpoints: HashMap<ChainId, HashSet<EndpointId>> = HashMap::new();
    for session in workers.sessions(usize::MAX).await {
        endpoints
            .entry(session.chain)
            .or_default()
            .insert(session.endpoint_id);
    }
    workers.leave(true).await;
    for (chain, endpoints) in &endpoints {
        workers
            .close_sessions(chain, endpoints, usize::MAX, CloseReason::Draining)
            .await;
    }
}
