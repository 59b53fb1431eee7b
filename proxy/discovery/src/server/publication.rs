//! The newest snapshot of a pool in its wire form. In: snapshots. Out: pieces with versions; a piece that is equal is
//! neither serialised nor hashed again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use switchyard_snapshot::{Resource, ResourceId, Snapshot};

use crate::Hash;
use crate::names::name_of;

/// A snapshot that cannot be put on the wire: a mistake of ours, never of the user. Nothing of it is published.
#[derive(Debug, thiserror::Error)]
#[error("cannot publish the {resource}: {source}")]
pub struct PublishError {
    /// The piece at fault.
    pub resource: ResourceId,
    /// What the serialiser said.
    pub source: serde_json::Error,
}

/// One resource, ready to be sent.
#[derive(Debug)]
pub(crate) struct Piece {
    /// As on the wire.
    pub(crate) name: String,
    pub(crate) version: Hash,
    /// JSON.
    pub(crate) body: Bytes,
    pub(crate) resource: Resource,
}

/// All resources of a pool.
#[derive(Debug)]
pub(crate) struct Publication {
    pieces: BTreeMap<ResourceId, Arc<Piece>>,
    versions: Arc<BTreeMap<ResourceId, Hash>>,
    /// Of the whole.
    version: Hash,
}

impl Publication {
    /// What is published after `before`; none: nothing changed.
    pub(crate) fn after(before: Option<&Self>, snapshot: Snapshot) -> Result<Option<Self>, PublishError> {
        let mut changed = false;
        let mut pieces = BTreeMap::new();
        for (id, resource) in snapshot.into_resources() {
            let known = before.and_then(|before| before.pieces.get(&id));
            let piece = match known {
                Some(piece) if piece.resource == resource => Arc::clone(piece),
                _ => {
                    changed = true;
                    Arc::new(Piece::new(&id, resource)?)
                }
            };
            pieces.insert(id, piece);
        }
        if let Some(before) = before
            && !changed
            && before.pieces.len() == pieces.len()
        {
            return Ok(None);
        }
        let versions: BTreeMap<_, _> = pieces
            .iter()
            .map(|(id, piece)| (id.clone(), piece.version))
            .collect();
        let version = whole(&pieces);
        Ok(Some(Self {
            pieces,
            versions: Arc::new(versions),
            version,
        }))
    }

    pub(crate) fn pieces(&self) -> &BTreeMap<ResourceId, Arc<Piece>> {
        &self.pieces
    }

    pub(crate) fn versions(&self) -> &Arc<BTreeMap<ResourceId, Hash>> {
        &self.versions
    }

    pub(crate) fn version(&self) -> Hash {
        self.version
    }
}

fn whole(pieces: &BTreeMap<ResourceId, Arc<Piece>>) -> Hash {
    let versions: Vec<_> = pieces
        .values()
        .map(|piece| (piece.name.as_bytes(), piece.version.to_bytes()))
        .collect();
    Hash::of_parts(
        versions
            .iter()
            .flat_map(|(name, version)| [*name, b"\0", version.as_slice()]),
    )
}

impl Piece {
    fn new(id: &ResourceId, resource: Resource) -> Result<Self, PublishError> {
        let body = match &resource {
            Resource::Pool(pool) => serde_json::to_vec(pool),
            Resource::Listener(listener) => serde_json::to_vec(listener),
            Resource::Chain(chain) => serde_json::to_vec(chain),
            Resource::Peers(peers) => serde_json::to_vec(peers),
        };
        let body = body.map_err(|source| PublishError {
            resource: id.clone(),
            source,
        })?;
        Ok(Self {
            name: name_of(id),
            version: Hash::of(&body),
            body: body.into(),
            resource,
        })
    }
}
