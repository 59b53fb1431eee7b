//! Queries counted by what became of them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::FailureKind;
use super::upstream::{Denied, Found};

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryResult {
    /// Records came.
    Answered,
    /// They did not.
    Failed(FailureKind),
}

impl QueryResult {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Answered,
        Self::Failed(FailureKind::NxDomain),
        Self::Failed(FailureKind::Empty),
        Self::Failed(FailureKind::Server),
        Self::Failed(FailureKind::Unreachable),
    ];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed(FailureKind::NxDomain) => "nxdomain",
            Self::Failed(FailureKind::Empty) => "empty",
            Self::Failed(FailureKind::Server) => "server",
            Self::Failed(FailureKind::Unreachable) => "unreachable",
        }
    }
}

/// How many queries ended in which way since the process began.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; QueryResult::ALL.len()]);

impl Counters {
    /// So many ended like this.
    pub fn get(&self, result: QueryResult) -> u64 {
        self.slot(result).load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, outcome: &Result<Found, Denied>) {
        let result = match outcome {
            Ok(_) => QueryResult::Answered,
            Err(denied) => QueryResult::Failed(denied.kind),
        };
        self.slot(result).fetch_add(1, Ordering::Relaxed);
    }

    fn slot(&self, result: QueryResult) -> &AtomicU64 {
        let index = match result {
            QueryResult::Answered => 0,
            QueryResult::Failed(FailureKind::NxDomain) => 1,
            QueryResult::Failed(FailureKind::Empty) => 2,
            QueryResult::Failed(FailureKind::Server) => 3,
            QueryResult::Failed(FailureKind::Unreachable) => 4,
        };
        &self.0[index]
    }
}
