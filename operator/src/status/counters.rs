//! What the status task counts. In: ends of writes. Out: metrics.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Result {
    /// It is written.
    Succeeded,
    /// Somebody else has written the object in the meantime.
    Conflict,
    /// The object is gone.
    Gone,
    /// The API server refused it.
    Refused,
    /// No answer in time.
    Timeout,
}

/// The labels of a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    result: Result,
}

/// Of the status task. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    writes: Family<Labels, Counter>,
    events: Family<Labels, Counter>,
    folds: Counter,
    queued: Gauge,
}

impl Counters {
    /// Counters that `registry` shows.
    pub fn registered(registry: &mut Registry) -> Self {
        let counters = Self::default();
        registry.register(
            "status_writes",
            "Writes of statuses, by how they ended",
            counters.writes.clone(),
        );
        registry.register(
            "status_events",
            "Events published, by how that ended",
            counters.events.clone(),
        );
        registry.register(
            "status_folds",
            "Statuses computed, most of them to find nothing to write",
            counters.folds.clone(),
        );
        registry.register(
            "status_queued",
            "Objects whose status waits to be computed or written",
            counters.queued.clone(),
        );
        counters
    }

    pub(super) fn wrote(&self, kind: &'static str, result: Result) {
        self.writes.get_or_create(&Labels { kind, result }).inc();
    }

    pub(super) fn published(&self, kind: &'static str, result: Result) {
        self.events.get_or_create(&Labels { kind, result }).inc();
    }

    pub(super) fn folded(&self) {
        self.folds.inc();
    }

    pub(super) fn queued(&self, objects: usize) {
        self.queued.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }
}
