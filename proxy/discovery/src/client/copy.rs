//! The last good copy: what a proxy runs if it starts while nobody can tell it what to run. In and out: bytes for a file,
//! in which every piece can be checked against its version.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// All pieces that are understood, with their versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    pub(super) pieces: Vec<CopyPiece>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CopyPiece {
    pub(super) name: String,
    pub(super) version: String,
    /// As it came: the version is the hash of exactly this.
    pub(super) body: Arc<str>,
}

/// A copy that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Not what we wrote.
    #[error("it makes no sense: {0}")]
    Nonsense(#[from] serde_json::Error),
    /// Nothing in it could run.
    #[error("there is no pool in it that this release understands")]
    NoPool,
}

impl Copy {
    /// For a file.
    ///
    /// # Errors
    /// The serialiser's.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// From a file.
    ///
    /// # Errors
    /// The bytes are not a copy.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CopyError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}
