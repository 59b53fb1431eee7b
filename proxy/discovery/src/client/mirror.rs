//! What the operator wants to run here, without I/O. In: responses. Out: one snapshot, and answers.
//!
//! A resource that this release does not understand is refused by name and fails closed; the others go on. The pool is
//! the exception: without one there is no snapshot at all, so the last one that was understood stays.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prost::Message;
use serde::de::DeserializeOwned;
use switchyard_snapshot::{Resource, ResourceId, Snapshot};
use tonic::Code;

use super::copy::{Copy, CopyError, CopyPiece};
use crate::Hash;
use crate::names::{id_of, name_of};
use crate::proto::discovery::bad_request::FieldViolation;
use crate::proto::discovery::{
    Any, BadRequest, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource, Status,
};
use crate::proto::{BAD_REQUEST_TYPE, CHAIN_TYPE, LISTENER_TYPE, PEERS_TYPE, POOL_TYPE, SNAPSHOT_TYPE};
use crate::release::{self, Release, TooFarApart};

/// Resources that do not run, and why.
pub type NotRunning = BTreeMap<ResourceId, String>;

/// A response that cannot be taken in at all; nothing of it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MirrorError {
    /// Releases must be at most one minor apart.
    #[error(transparent)]
    Release(#[from] TooFarApart),
    /// It speaks of something else.
    #[error("the operator answers with type {0:?}, which was not asked for")]
    Type(String),
    /// It does not say what it is.
    #[error("the operator does not say its release: {0:?} is not switchyard-operator/MAJOR.MINOR.PATCH")]
    Unnamed(String),
}

/// What is held of a pool.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    held: BTreeMap<String, Held>,
    /// The last one that was understood.
    pool: Option<Piece>,
}

#[derive(Clone, Debug)]
struct Held {
    version: String,
    /// Or why it is not understood.
    piece: Result<Piece, String>,
}

#[derive(Clone, Debug)]
struct Piece {
    version: String,
    body: Arc<str>,
    resource: Resource,
}

impl Mirror {
    /// Nothing is held.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a response in; as a whole or not at all.
    ///
    /// # Errors
    /// See [`MirrorError`].
    pub(crate) fn take(
        &mut self,
        response: DeltaDiscoveryResponse,
        ours: Release,
    ) -> Result<(), MirrorError> {
        if response.type_url != SNAPSHOT_TYPE {
            return Err(MirrorError::Type(response.type_url));
        }
        let identifier = response.control_plane.map(|it| it.identifier).unwrap_or_default();
        let theirs = identifier
            .strip_prefix("switchyard-operator/")
            .and_then(|version| version.parse().ok());
        release::check(ours, theirs.ok_or(MirrorError::Unnamed(identifier))?)?;
        for name in response.removed_resources {
            self.held.remove(&name);
        }
        for WireResource {
            version,
            resource,
            name,
        } in response.resources
        {
            let piece = decode(&name, &version, resource);
            if let Ok(
                piece @ Piece {
                    resource: Resource::Pool(_),
                    ..
                },
            ) = &piece
            {
                self.pool = Some(piece.clone());
            }
            self.held.insert(name, Held { version, piece });
        }
        Ok(())
    }

    /// What shall run; none as long as no pool is known.
    pub fn snapshot(&self) -> Option<Snapshot> {
        Snapshot::from_resources(self.pieces().map(|piece| piece.resource.clone())).ok()
    }

    /// What is held, name to version: it need not be sent again.
    pub fn versions(&self) -> HashMap<String, String> {
        let held = self.held.iter();
        held.map(|(name, held)| (name.clone(), held.version.clone()))
            .collect()
    }

    /// The answer to the response with this nonce: everything that is held runs, but for what is not understood and what is
    /// `not_running`.
    pub(crate) fn answer(&self, nonce: &str, not_running: &NotRunning) -> DeltaDiscoveryRequest {
        let misunderstood = self.held.iter().filter_map(|(name, held)| {
            let reason = held.piece.as_ref().err()?;
            Some((name.clone(), reason.clone()))
        });
        let refused = not_running
            .iter()
            .map(|(id, reason)| (name_of(id), reason.clone()))
            .filter(|(name, _)| self.held.contains_key(name));
        // what is not understood is its first reason
        let all: BTreeMap<String, String> = refused.chain(misunderstood).collect();
        DeltaDiscoveryRequest {
            type_url: SNAPSHOT_TYPE.to_owned(),
            response_nonce: nonce.to_owned(),
            error_detail: (!all.is_empty()).then(|| detail(all)),
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// Everything that is understood, to be kept for a restart.
    pub fn copy(&self) -> Copy {
        let pieces = self.pieces().map(|piece| CopyPiece {
            name: name_of(&piece.resource.id()),
            version: piece.version.clone(),
            body: Arc::clone(&piece.body),
        });
        Copy {
            pieces: pieces.collect(),
        }
    }

    /// What was held when the copy was made. A piece that was damaged, or that this release does not understand, is left
    /// out, and asked for again.
    ///
    /// # Errors
    /// There is no pool left, so nothing could run.
    pub fn restore(copy: Copy) -> Result<Self, CopyError> {
        let mut mirror = Self::default();
        for CopyPiece { name, version, body } in copy.pieces {
            if Hash::of(body.as_bytes()).to_string() != version {
                tracing::warn!(name, "left out of the last good copy: damaged");
                continue;
            }
            match understand(&name, &version, kind_of(&name), &body) {
                Ok(piece) => {
                    if matches!(piece.resource, Resource::Pool(_)) {
                        mirror.pool = Some(piece.clone());
                    }
                    let held = Held {
                        version,
                        piece: Ok(piece),
                    };
                    mirror.held.insert(name, held);
                }
                Err(error) => tracing::warn!(name, error, "left out of the last good copy"),
            }
        }
        if mirror.pool.is_some() {
            Ok(mirror)
        } else {
            Err(CopyError::NoPool)
        }
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        let others = self.held.values().filter_map(|held| held.piece.as_ref().ok());
        let others = others.filter(|piece| !matches!(piece.resource, Resource::Pool(_)));
        self.pool.iter().chain(others)
    }
}

fn decode(name: &str, version: &str, resource: Option<Any>) -> Result<Piece, String> {
    let Any { type_url, value } = resource.ok_or("it came without content")?;
    let body = std::str::from_utf8(&value).map_err(|error| format!("it is not text: {error}"))?;
    // a copy of its own: the buffer it came in holds the whole response
    understand(name, version, &type_url, body)
}

fn understand(name: &str, version: &str, kind: &str, body: &str) -> Result<Piece, String> {
    let id = id_of(name).ok_or("this release knows no resource of such a name")?;
    let resource = match kind {
        POOL_TYPE => Resource::Pool(parse(body)?),
        LISTENER_TYPE => Resource::Listener(parse(body)?),
        CHAIN_TYPE => Resource::Chain(parse(body)?),
        PEERS_TYPE => Resource::Peers(parse(body)?),
        _ => return Err(format!("this release does not know resources of type {kind:?}")),
    };
    if resource.id() != id {
        return Err(format!("its content is that of another one: {}", resource.id()));
    }
    Ok(Piece {
        version: version.to_owned(),
        body: body.into(),
        resource,
    })
}

fn parse<T: DeserializeOwned>(body: &str) -> Result<T, String> {
    serde_json::from_str(body).map_err(|error| {
        format!(
            "this release ({}) does not understand it: {error}",
            Release::ours()
        )
    })
}

/// A copy does not say it: names do.
fn kind_of(name: &str) -> &'static str {
    match id_of(name) {
        Some(ResourceId::Listener(_)) => LISTENER_TYPE,
        Some(ResourceId::Chain(_)) => CHAIN_TYPE,
        Some(ResourceId::Peers(_)) => PEERS_TYPE,
        Some(ResourceId::Pool) | None => POOL_TYPE,
    }
}

fn detail(refused: BTreeMap<String, String>) -> Status {
    let message = format!("{} resources do not run here", refused.len());
    let violations = refused
        .into_iter()
        .map(|(field, description)| FieldViolation { field, description });
    let named = BadRequest {
        field_violations: violations.collect(),
    };
    Status {
        code: Code::InvalidArgument as i32,
        message,
        details: vec![Any {
            type_url: BAD_REQUEST_TYPE.to_owned(),
            value: named.encode_to_vec().into(),
        }],
    }
}
