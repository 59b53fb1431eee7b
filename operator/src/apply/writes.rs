//! How often the operator writes: the figure that must stand still when nothing happens.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::ChildKind;

/// Counts requests that write children. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Writes(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    verb: Verb,
    result: Outcome,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Verb {
    /// Server-side apply.
    Apply,
    /// Deletion of an orphan.
    Delete,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// Done.
    Done,
    /// The API server refused.
    Refused,
    /// No answer, or none in time: it may be done.
    Unknown,
}

impl Writes {
    /// Shows them as `switchyard_operator_child_writes_total`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "child_writes",
            "Requests that wrote children of pools",
            self.0.clone(),
        );
    }

    /// One request.
    pub fn count(&self, kind: ChildKind, verb: Verb, result: Outcome) {
        let labels = Labels {
            kind: kind.as_str(),
            verb,
            result,
        };
        self.0.get_or_create(&labels).inc();
    }
}
