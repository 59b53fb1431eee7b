//! Where snapshots come from, as people are told.

use jiff::Timestamp;
use serde::Serialize;

/// The state of the way to the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// `HOST:PORT`.
    pub operator: String,
    /// What runs is what the operator wants to run, as of now.
    pub in_sync: bool,
    /// Since when that is so, or not.
    pub since: Timestamp,
    /// What runs came from the last good copy, and nobody has confirmed it since.
    pub from_copy: bool,
    /// Why the operator is not heard, in words; none: it is.
    pub error: Option<String>,
}
