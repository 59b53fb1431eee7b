//! Which chains have something new to report. In: chains, each whenever it has. Out: those, once.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use switchyard_snapshot::ChainId;
use tokio::sync::Notify;

/// Between chains and whoever reports.
#[derive(Debug, Default)]
pub struct News {
    of: Mutex<BTreeSet<ChainId>>,
    told: Notify,
}

impl News {
    /// This chain has something new.
    pub fn tell(&self, chain: &ChainId) {
        self.of().insert(chain.clone());
        self.told.notify_one();
    }

    /// Waits until a chain has told something since this returned last. Only one task may wait.
    pub async fn any(&self) {
        self.told.notified().await;
    }

    /// Who has told something since this was called last.
    pub fn take(&self) -> BTreeSet<ChainId> {
        std::mem::take(&mut *self.of())
    }

    fn of(&self) -> MutexGuard<'_, BTreeSet<ChainId>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
