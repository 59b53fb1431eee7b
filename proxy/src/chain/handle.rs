//! The joint between a chain's control task, which publishes views, and the data workers, which read them.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use switchyard_snapshot::ChainId;
use tokio::sync::{mpsc, watch};

use super::event::ConnectFailed;
use super::view::View;
use crate::affinity;

/// How many failed attempts may wait for the control task; more tell nothing new and are dropped.
const FEEDBACK_BOUND: usize = 256;

/// What a data worker holds of a chain.
#[derive(Debug)]
pub struct ChainHandle {
    /// Which chain.
    pub id: ChainId,
    /// Which of its clients are not where their hash says; used where the pool has affinity.
    pub affinity: affinity::Table,
    view: ArcSwap<View>,
    versions: watch::Sender<u64>,
    feedback: mpsc::Sender<ConnectFailed>,
}

impl ChainHandle {
    /// A handle that shows `view`, and the end at which its control task hears of failed attempts.
    pub fn new(view: View) -> (Arc<Self>, mpsc::Receiver<ConnectFailed>) {
        let (feedback, heard) = mpsc::channel(FEEDBACK_BOUND);
        let handle = Self {
            id: view.chain.id.clone(),
            affinity: affinity::Table::default(),
            versions: watch::Sender::new(view.version),
            view: ArcSwap::from_pointee(view),
            feedback,
        };
        (Arc::new(handle), heard)
    }

    /// The newest view; no lock, no wait. Drop it before an await.
    pub fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// Swaps the view and wakes whoever waits for one.
    pub fn publish(&self, view: View) {
        let version = view.version;
        self.view.store(Arc::new(view));
        self.versions.send_replace(version);
    }

    /// For waiting until the view is another one.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    /// Tells the control task of a failed attempt; says nothing when it has more than enough to do.
    pub fn report(&self, failed: ConnectFailed) {
        let _ = self.feedback.try_send(failed);
    }
}
