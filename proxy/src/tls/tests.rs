//! Real clients against real listeners.

mod backends;
mod openings;
mod relays;
mod sessions;
mod shows;

use switchyard_snapshot::Listener;

use crate::counters::ListenerTotals;
use crate::testing::rig::{Control, apply, routing, workers};
use crate::worker::Workers;

/// One worker, one listener named `main`, one chain.
struct Front {
    workers: Workers,
    at: std::net::SocketAddr,
}

impl Front {
    async fn new(listener: Listener, chain: &Control) -> Self {
        let workers = workers(1);
        let at = apply(&workers, routing(vec![(listener, vec![chain])])).await["main"];
        Self { workers, at }
    }

    fn counts(&self) -> ListenerTotals {
        self.workers.counters().listeners["main"].clone()
    }
}
