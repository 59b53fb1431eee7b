//! Makes the cluster run what pools say. In: watches of pools and of what was made for them. Out: children as they should be,
//! and for each pool what its status is told.
//!
//! ```text
//!  pools ────► triggers ─┐
//!  children (metadata) ──┼─► queue ─► proxypool::reconcile ─► outcome, look again in …
//!  CA bundle ────────────┘      one pool at a time, 8 at once
//! ```
//!
//! Only the leader runs this: dropping the future that [`run`] returns ends every request in flight. One pool that cannot be read
//! stops nobody else.

pub mod proxypool;

mod backoff;
mod triggers;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll};
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::{Config, WatchStreamExt, applier, reflector, watcher};
use kube::{Api, Resource, ResourceExt};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use switchyard_crds::{GROUP, Kind, ProxyPool};
use switchyard_snapshot::PoolId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::backoff::Backoff;
use self::proxypool::Reconciled;
use self::proxypool::build::Surroundings;
use self::proxypool::dereference::Neighbours;
use self::proxypool::outcome::Outcome;
use self::triggers::Triggers;
use crate::FIELD_MANAGER;
use crate::apply::{Applier, MANAGED_BY, Turn, Writes};
use crate::compile;
use crate::context::Context;
use crate::scope::Scope;
use crate::watch::paced;

/// A pool as the watch tells it; what cannot be read is told all the same.
type Pool = DeserializeGuard<ProxyPool>;

/// Pools looked at together: the API server should not notice that an operator has started.
const CONCURRENCY: u16 = 8;
/// Changes that come together are looked at together.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// No look takes longer: each of its requests has its own timeout, but there may be many.
const RECONCILE_TIMEOUT: Duration = Duration::from_mins(2);

/// Who is told what came of a pool; none: the pool is gone. It must not block.
pub type Told = Arc<dyn Fn(PoolId, Option<Outcome>) + Send + Sync>;

/// What the controller needs.
#[derive(Clone)]
pub struct Parts {
    /// Client, scope, leadership, image and address for proxies.
    pub context: Context,
    /// Certificates (PEM) of the CAs by which proxies know the operator. Nothing is built before there is one.
    pub ca_bundle: watch::Receiver<Option<Arc<str>>>,
    /// Who is told.
    pub told: Told,
    /// What is counted.
    pub counters: Counters,
}

/// What the controller counts. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Requests that write.
    pub writes: Writes,
    looks: Family<LookLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookLabels {
    result: &'static str,
}

impl Counters {
    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        self.writes.register(registry);
        registry.register(
            "pool_reconciles",
            "Looks at pools, by what came of them",
            self.looks.clone(),
        );
    }

    fn look(&self, result: &'static str) {
        self.looks.get_or_create(&LookLabels { result }).inc();
    }
}

/// Runs until it is cancelled or dropped. With a list of namespaces, each has its own watches.
///
/// # Errors
/// Never: what fails is tried again.
pub async fn run(parts: Parts, cancelled: CancellationToken) -> Result<(), Infallible> {
    let realms = match &parts.context.scope {
        Scope::All => vec![None],
        Scope::Namespaces(namespaces) => namespaces
            .iter()
            .map(|namespace| Some(namespace.as_str()))
            .collect(),
    };
    let realms = realms.into_iter().map(|namespace| realm(&parts, namespace));
    tokio::select! {
        _ = futures::future::join_all(realms) => {}
        () = cancelled.cancelled() => {}
    }
    Ok(())
}

/// What a look at a pool needs.
struct Looking {
    parts: Parts,
    pools: Store<Pool>,
    backoff: Backoff,
    turn: Turn,
}

async fn realm(parts: &Parts, namespace: Option<&str>) {
    let (pools, writer) = store::<Pool>();
    let looking = Arc::new(Looking {
        parts: parts.clone(),
        pools: pools.clone(),
        backoff: Backoff::default(),
        turn: Turn::default(),
    });
    let watched = paced(watcher(api::<Pool>(parts, namespace), watcher::Config::default()));
    let mut queue = SelectAll::new();
    queue.push(changes(reflector(writer, watched), looking.clone()));
    queue.extend(children(parts, namespace));
    queue.push(whenever_trusted(parts.ca_bundle.clone(), pools.clone()));
    let config = Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY);
    let reconcile = |pool: Arc<Pool>, looking: Arc<Looking>| look(pool, looking).boxed();
    // Nothing fails here: failures have become waits.
    let policy = |_: Arc<Pool>, never: &Infallible, _: Arc<Looking>| match *never {};
    applier(reconcile, policy, looking, pools, queue, config)
        .for_each(|looked| async move {
            if let Err(error) = looked {
                tracing::debug!(%error, "a pool was not looked at");
            }
        })
        .await;
}

fn api<K>(parts: &Parts, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    let client = parts.context.client.clone();
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

type Queue = BoxStream<'static, Result<ObjectRef<Pool>, watcher::Error>>;

/// The pools that a change of a pool concerns.
fn changes(
    watched: impl Stream<Item = Result<watcher::Event<Pool>, watcher::Error>> + Send + 'static,
    looking: Arc<Looking>,
) -> Queue {
    let mut triggers = Triggers::default();
    let concerned = move |event: Result<watcher::Event<Pool>, watcher::Error>| {
        let concerned = match event {
            Ok(event) => triggers.event(&event),
            Err(error) => {
                tracing::warn!(%error, "the watch of pools is interrupted; what is known stays");
                triggers::Concerned::default()
            }
        };
        for pool in concerned.gone {
            looking.backoff.forget(&pool);
            (looking.parts.told)(pool, None);
        }
        futures::stream::iter(concerned.look_at.into_iter().map(|pool| Ok(reference(&pool))))
    };
    watched.flat_map(concerned).boxed()
}

fn reference(pool: &PoolId) -> ObjectRef<Pool> {
    ObjectRef::new(&pool.name).within(&pool.namespace)
}

/// The owners of every child that changed or went away, kind by kind.
fn children(parts: &Parts, namespace: Option<&str>) -> Vec<Queue> {
    vec![
        owners::<ServiceAccount>(parts, namespace),
        owners::<ConfigMap>(parts, namespace),
        owners::<Secret>(parts, namespace),
        owners::<Service>(parts, namespace),
        owners::<NetworkPolicy>(parts, namespace),
        owners::<Deployment>(parts, namespace),
        owners::<DaemonSet>(parts, namespace),
        owners::<StatefulSet>(parts, namespace),
        owners::<PodDisruptionBudget>(parts, namespace),
    ]
}

/// Of one kind: only what carries our label, and only its metadata.
fn owners<K>(parts: &Parts, namespace: Option<&str>) -> Queue
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let api: Api<PartialObjectMeta<K>> = api(parts, namespace);
    let labelled = watcher::Config::default().labels(&format!("{MANAGED_BY}={FIELD_MANAGER}"));
    let touched = paced(watcher(api, labelled)).touched_objects();
    let owners = |child: Result<PartialObjectMeta<K>, watcher::Error>| {
        let owners = match child {
            Ok(child) => pools_of(&child),
            Err(error) => {
                tracing::warn!(%error, kind = %K::kind(&()), "the watch of children is interrupted");
                BTreeSet::new()
            }
        };
        futures::stream::iter(owners.into_iter().map(|pool| Ok(reference(&pool))))
    };
    touched.flat_map(owners).boxed()
}

fn pools_of(child: &impl ResourceExt) -> BTreeSet<PoolId> {
    let namespace = child.namespace().unwrap_or_default();
    let of_pools = child.owner_references().iter().filter(|owner| {
        owner.kind == Kind::ProxyPool.as_str() && owner.api_version.split('/').next() == Some(GROUP)
    });
    let pool = |name: &String| PoolId {
        namespace: namespace.clone(),
        name: name.clone(),
    };
    of_pools.map(|owner| pool(&owner.name)).collect()
}

/// Every pool, each time the CA bundle is another.
fn whenever_trusted(bundle: watch::Receiver<Option<Arc<str>>>, pools: Store<Pool>) -> Queue {
    let changes = futures::stream::unfold(bundle, |mut bundle| async move {
        match bundle.changed().await {
            Ok(()) => Some(((), bundle)),
            // Whoever makes bundles is gone with the process.
            Err(_) => std::future::pending().await,
        }
    });
    let all = move |()| {
        let pools = pools
            .state()
            .into_iter()
            .map(|pool| Ok(ObjectRef::from_obj(&*pool)));
        futures::stream::iter(pools.collect::<Vec<_>>())
    };
    changes.flat_map(all).boxed()
}

async fn look(pool: Arc<Pool>, looking: Arc<Looking>) -> Result<Action, Infallible> {
    let id = compile::pool_id(pool.meta());
    let counters = &looking.parts.counters;
    let pool = match &pool.0 {
        Ok(pool) => pool,
        Err(error) => {
            tracing::warn!(pool = %id, %error, "the pool cannot be read; what was built for it stays");
            counters.look("unreadable");
            return Ok(Action::await_change());
        }
    };
    let bundle = looking.parts.ca_bundle.borrow().clone();
    let (Some(bundle), None) = (bundle, &pool.metadata.deletion_timestamp) else {
        return Ok(Action::await_change());
    };
    let context = &looking.parts.context;
    let applier = Applier::new(
        context.client.clone(),
        &id.namespace,
        context.leadership.clone(),
        counters.writes.clone(),
        looking.turn.clone(),
    );
    let surroundings = Surroundings {
        image: context.proxy_image.clone(),
        operator: context.discovery_address.clone(),
        ca_bundle: bundle.to_string(),
    };
    let neighbours = neighbours(&looking.pools, &id.namespace);
    let reconciled = proxypool::reconcile(context, &applier, &surroundings, pool, &neighbours);
    let Ok(Reconciled { outcome, result }) = tokio::time::timeout(RECONCILE_TIMEOUT, reconciled).await else {
        tracing::warn!(pool = %id, "a look at the pool took more than 120s and is begun anew");
        counters.look("timeout");
        return Ok(Action::requeue(looking.backoff.failed(&id)));
    };
    let refused = !outcome.refused.is_empty();
    (looking.parts.told)(id.clone(), Some(outcome));
    match result {
        Ok(look_again) => {
            looking.backoff.forget(&id);
            counters.look(if refused { "refused" } else { "done" });
            Ok(look_again.map_or_else(Action::await_change, Action::requeue))
        }
        Err(error) => {
            let wait = looking.backoff.failed(&id);
            tracing::warn!(pool = %id, %error, ?wait, "the pool is not as it should be");
            counters.look(error.reason());
            Ok(Action::requeue(wait))
        }
    }
}

/// The living pools of a namespace.
fn neighbours(pools: &Store<Pool>, namespace: &str) -> Neighbours {
    let mut neighbours = Neighbours::default();
    for pool in pools.state() {
        let meta = pool.meta();
        if meta.namespace.as_deref() != Some(namespace) || meta.deletion_timestamp.is_some() {
            continue;
        }
        match &pool.0 {
            Ok(pool) => neighbours.pools.push(Arc::new(pool.clone())),
            Err(_) => neighbours.unreadable.extend(meta.uid.clone()),
        }
    }
    neighbours
}
