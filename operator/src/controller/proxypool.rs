//! Pools to workloads, in five named steps: dereference, validate, build, apply, status.
//!
//! In: one pool that may need something. Out: its children as they should be, and what statuses are told. Everything that is
//! made is owned by pools, so the garbage collector removes it: there is nothing to undo, and no finalizer.

pub mod access_point;
pub mod build;
pub mod dereference;
pub mod keys;
pub mod names;
pub mod outcome;
pub mod owner;
pub mod validate;

use std::time::Duration;

use jiff::Timestamp;
use rustls::crypto::ring;
use serde_json::Value;
use switchyard_crds::ProxyPool;

use self::build::{Planned, Surroundings};
use self::dereference::{Fetched, Live, Neighbours};
use self::keys::{Found, GOSSIP_PERIOD, KEY_BYTES, Key, TICKETS_PERIOD};
use self::outcome::{Failure, Outcome};
use self::owner::Owner;
use self::validate::Valid;
use crate::apply::{Applier, ApplyError, Child, ChildKind};
use crate::context::Context;

/// Why a pool is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// What is there could not be read.
    #[error("what is there could not be read: {0}")]
    Dereference(#[source] ApplyError),
    /// An object could not be written or deleted.
    #[error(transparent)]
    Apply(ApplyError),
    /// No random bytes for a key.
    #[error("the system gives no random bytes: no key can be made")]
    Random,
}

impl ReconcileError {
    /// In one word, for metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Dereference(_) => "dereference",
            Self::Apply(error) => error.reason(),
            Self::Random => "random",
        }
    }

    fn failure(&self) -> Failure {
        Failure {
            message: self.to_string(),
            refused: matches!(self, Self::Apply(error) if error.is_refusal()),
        }
    }
}

/// What came of one look at a pool.
pub struct Reconciled {
    /// For its status.
    pub outcome: Outcome,
    /// When to look again, if nothing happens before; or what went wrong.
    pub result: Result<Option<Duration>, ReconcileError>,
}

/// Looks at one pool.
pub async fn reconcile(
    context: &Context,
    applier: &Applier,
    surroundings: &Surroundings,
    pool: &ProxyPool,
    neighbours: &Neighbours,
) -> Reconciled {
    let mut outcome = Outcome::new(
        pool.metadata.uid.as_deref().unwrap_or_default(),
        pool.metadata.generation.unwrap_or_default(),
    );
    let result = steps(context, applier, surroundings, pool, neighbours, &mut outcome).await;
    outcome.failed = result.as_ref().err().map(ReconcileError::failure);
    Reconciled { outcome, result }
}

async fn steps(
    context: &Context,
    applier: &Applier,
    surroundings: &Surroundings,
    pool: &ProxyPool,
    neighbours: &Neighbours,
    outcome: &mut Outcome,
) -> Result<Option<Duration>, ReconcileError> {
    // A pool that no API server has given an identity cannot own anything.
    let Some(owner) = Owner::of(pool) else {
        return Ok(None);
    };
    let fetched = dereference::dereference(context, applier, &owner, pool.spec.workload.kind)
        .await
        .map_err(ReconcileError::Dereference)?;
    outcome.pod_security.clone_from(&fetched.pod_security);
    for (kind, _, object) in fetched.live.iter() {
        outcome.observe(kind, object, &owner.pool.name, pool.access_point_name());
    }
    let valid = match validate::validate(pool, owner, &neighbours.pools()) {
        Ok(valid) => valid,
        Err(refused) => {
            outcome.refused = refused;
            return Ok(None);
        }
    };
    let (planned, look_again) = plan(&valid, &fetched, neighbours)?;
    let children = build::build(&valid, &planned, surroundings);
    apply(applier, &children, &fetched.live, &valid, neighbours, outcome)
        .await
        .map_err(ReconcileError::Apply)?;
    Ok(look_again)
}

/// The keys that are due.
fn plan(
    pool: &Valid<'_>,
    fetched: &Fetched,
    neighbours: &Neighbours,
) -> Result<(Planned, Option<Duration>), ReconcileError> {
    let now = Timestamp::now();
    let name = &pool.owner.pool.name;
    let found = |secret: &str| {
        let secret = fetched.live.get(ChildKind::Secret, secret);
        secret.map(Found::read).unwrap_or_default()
    };
    let tickets = keys::plan(now, TICKETS_PERIOD, found(&names::ticket_keys(name)), fresh()?);
    let gossip = keys::plan(now, GOSSIP_PERIOD, found(names::GOSSIP_KEYS), fresh()?);
    let look_again = tickets.next_step_in.min(gossip.next_step_in);
    let planned = Planned {
        tickets: tickets.ring,
        gossip: (gossip.ring, neighbours.gossiping()),
        proxies_there: outcome::proxies_there(fetched.live.get(ChildKind::StatefulSet, name)),
    };
    Ok((planned, Some(look_again.max(Duration::from_secs(1)))))
}

fn fresh() -> Result<[Key; 2], ReconcileError> {
    let random = ring::default_provider().secure_random;
    let mut keys = [[0; KEY_BYTES]; 2];
    for key in &mut keys {
        random.fill(key).map_err(|_| ReconcileError::Random)?;
    }
    Ok(keys.map(Key::new))
}

/// Children in their order; then what the pool has left and what nobody wants any more. Secrets are not deleted: that right is not
/// asked for, and they go with their owners.
async fn apply(
    applier: &Applier,
    children: &[Child],
    live: &Live,
    pool: &Valid<'_>,
    neighbours: &Neighbours,
    outcome: &mut Outcome,
) -> Result<(), ApplyError> {
    let access_point = pool.access_point.as_ref().map(|it| it.name.as_str());
    for child in children {
        let mut child = child.clone();
        let seen = live.get(child.kind, child.name());
        if let Some(seen) = seen {
            keep_owners(&mut child, seen, neighbours);
        }
        let now = applier.apply(&child, seen).await?;
        outcome.observe(child.kind, &now, &pool.owner.pool.name, access_point);
    }
    let wanted = |kind: ChildKind, name: &str| {
        children
            .iter()
            .any(|child| child.kind == kind && child.name() == name)
    };
    for (kind, name, object) in live.iter().filter(|(kind, name, _)| !wanted(*kind, name)) {
        match ownership(object, &pool.owner.uid) {
            Ownership::Alone if kind == ChildKind::Secret => {}
            Ownership::Alone => applier.delete(kind, object).await?,
            Ownership::Shared => leave(applier, kind, name, object, neighbours).await?,
            Ownership::None => {}
        }
    }
    Ok(())
}

/// What is shared keeps the owners that cannot be judged now: pools that cannot be read, and pools that are refused (nothing of
/// theirs is changed until their users have mended them).
fn keep_owners(child: &mut Child, seen: &Value, neighbours: &Neighbours) {
    let Some(wanted) = child.object["metadata"]["ownerReferences"].as_array() else {
        return;
    };
    if wanted.iter().any(|owner| owner["controller"] == true) {
        return;
    }
    let unjudged = |owner: &&Value| {
        let uid = owner["uid"].as_str().unwrap_or_default();
        let readable = neighbours
            .pools
            .iter()
            .find(|pool| pool.metadata.uid.as_deref() == Some(uid));
        let refused = readable.is_some_and(|pool| pool.access_point_name() == Some(child.name()));
        let listed = wanted.iter().any(|wanted| wanted["uid"] == uid);
        !listed && (refused || neighbours.unreadable.iter().any(|it| it == uid))
    };
    let there = seen["metadata"]["ownerReferences"].as_array();
    let kept: Vec<_> = there.into_iter().flatten().filter(unjudged).cloned().collect();
    if let Some(owners) = child.object["metadata"]["ownerReferences"].as_array_mut() {
        owners.extend(kept);
    }
}

enum Ownership {
    /// The pool is its controller.
    Alone,
    /// The pool is one of its owners.
    Shared,
    /// It is not the pool's.
    None,
}

fn ownership(object: &Value, uid: &str) -> Ownership {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let own = owners.into_iter().flatten().find(|owner| owner["uid"] == uid);
    match own {
        Some(owner) if owner["controller"] == true => Ownership::Alone,
        Some(_) => Ownership::Shared,
        None => Ownership::None,
    }
}

/// The pool no longer has this access point: the others go on with it, and it goes with the last of them.
async fn leave(
    applier: &Applier,
    kind: ChildKind,
    name: &str,
    seen: &Value,
    neighbours: &Neighbours,
) -> Result<(), ApplyError> {
    if kind != ChildKind::Service {
        // The keys of gossip: whoever stays tells who owns them.
        return Ok(());
    }
    let namespace = seen["metadata"]["namespace"].as_str().unwrap_or_default();
    let settled = access_point::settle(name, neighbours.pools());
    let mut child = settled
        .access_point
        .map(|access_point| build::access_point(namespace, &access_point));
    if let Some(child) = &mut child {
        keep_owners(child, seen, neighbours);
    }
    match child {
        Some(child) => applier.apply(&child, Some(seen)).await.map(drop),
        None if owned_by_unreadable(seen, neighbours) => Ok(()),
        None => applier.delete(kind, seen).await,
    }
}

fn owned_by_unreadable(object: &Value, neighbours: &Neighbours) -> bool {
    let owners = object["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten();
    owners
        .filter_map(|owner| owner["uid"].as_str())
        .any(|uid| neighbours.unreadable.iter().any(|it| it == uid))
}

#[cfg(test)]
mod tests;
