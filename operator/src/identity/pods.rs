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

/// Whose a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Of the pool with this name.
    Member(String),
    /// Its label names a pool that is not there, or not yet.
    NotThere(String),
    /// Its label names a pool that it does not belong to.
    Stranger {
        /// The name.
        pool: String,
        /// In words.
        why: String,
    },
}

/// What of a pod decides whose configuration it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// `metadata.uid`.
    pub uid: String,
    /// Whose it is.
    pub membership: Membership,
    /// It has a `metadata.deletionTimestamp`.
    pub terminating: bool,
}
