//! What the watches count.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// By kind.
type Kind = [(&'static str, &'static str); 1];

/// Counts of all watches.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    events: Family<Kind, Counter>,
    errors: Family<Kind, Counter>,
    unreadable: Family<Kind, Counter>,
}

/// Counts of all watches of a kind.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Events that arrived.
    pub events: Counter,
    /// Times that a list or watch failed.
    pub errors: Counter,
    /// Objects that did not fit their type when they were seen.
    pub unreadable: Counter,
}

impl Metrics {
    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "watch_events",
            "Events of watches that arrived, lists included",
            self.events.clone(),
        );
        registry.register(
            "watch_errors",
            "Lists and watches that failed or were cut off",
            self.errors.clone(),
        );
        registry.register(
            "watch_unreadable",
            "Times that an object was seen that does not fit its type",
            self.unreadable.clone(),
        );
    }

    /// Those of one kind.
    pub fn of(&self, kind: &'static str) -> Counters {
        let label = [("kind", kind)];
        Counters {
            events: self.events.get_or_create(&label).clone(),
            errors: self.errors.get_or_create(&label).clone(),
            unreadable: self.unreadable.get_or_create(&label).clone(),
        }
    }
}
