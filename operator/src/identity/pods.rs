//! What is known of a pod. In: the operator's watch of pods, as a function. Out: an answer to one question.

use std::sync::Arc;

/// Asks for a pod by namespace and name.
pub type PodLookup = Arc<dyn Fn(&str, &str) -> PodAnswer + Send + Sync>;

/// What the watch knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodAnswer {
    /// Not everything yet: the watch has never been complete since the start.
    NotSynced,
    /// There is no such pod.
    Absent,
    /// There is.
    Present(PodFacts),
}

/// What of a pod decides whose configuration it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// `metadata.uid`.
    pub uid: String,
    /// The label `switchyard.dev/pool`.
    pub pool: Option<String>,
    /// It has a `metadata.deletionTimestamp`.
    pub terminating: bool,
}
