//! What the API server has, as it changes. In: one watch per kind and namespace. Out: changes for the index, pods for their
//! cache, and word of each watch that has seen everything once.
//!
//! Nothing is taken for gone because a watch broke: only a complete new list shows what is missing from it. An object that
//! does not fit its type stops nothing but itself.

mod metrics;
mod pace;
mod relist;
mod source;

use std::convert::Infallible;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher;
use switchyard_crds::{ProxyChain, ProxyPool};
use tokio::sync::mpsc;

use crate::context::Context;
use crate::index::Change;
use crate::pods::POOL_LABEL;
use crate::tasks::Tasks;
pub use metrics::{Counters, Metrics};
pub use pace::paced;
use relist::Relist;
use source::Watched;

/// What a watch tells the task that keeps the index.
#[derive(Debug)]
pub enum Message {
    /// An object changed.
    Change(Change),
    /// A watch has seen everything there is for the first time.
    Synced,
}

/// Starts every watch there must be; says how many that are.
pub fn spawn(context: &Context, counters: &Metrics, to: &mpsc::Sender<Message>, tasks: &mut Tasks) -> usize {
    let everything = watcher::Config::default;
    let of_pools = everything().labels(POOL_LABEL);
    [
        spawn_kind::<DeserializeGuard<ProxyPool>>(context, &everything(), counters, to, tasks),
        spawn_kind::<DeserializeGuard<ProxyChain>>(context, &everything(), counters, to, tasks),
        spawn_kind::<Service>(context, &everything(), counters, to, tasks),
        spawn_kind::<EndpointSlice>(context, &everything(), counters, to, tasks),
        spawn_kind::<PartialObjectMeta<Secret>>(context, &everything(), counters, to, tasks),
        spawn_kind::<Pod>(context, &of_pools, counters, to, tasks),
    ]
    .into_iter()
    .sum()
}

fn spawn_kind<K: Watched>(
    context: &Context,
    config: &watcher::Config,
    metrics: &Metrics,
    to: &mpsc::Sender<Message>,
    tasks: &mut Tasks,
) -> usize {
    let apis = context.scope.apis::<K>(&context.client);
    let watches = apis.len();
    for api in apis {
        let watch = follow(api, config.clone(), metrics.of(K::NAME), to.clone());
        let cancelled = tasks.cancelled();
        tasks.spawn(K::NAME, async move {
            tokio::select! {
                () = watch => {}
                () = cancelled.cancelled() => {}
            }
            Ok::<_, Infallible>(())
        });
    }
    watches
}

/// Follows one watch until nobody listens any more.
async fn follow<K: Watched>(
    api: Api<K>,
    config: watcher::Config,
    counters: Counters,
    to: mpsc::Sender<Message>,
) {
    // The first list comes as a stream from the API server's memory: it may be a moment old, which the watch then makes good;
    // it costs far less than reading everything from etcd, page by page; and each object is read while the next is sent. A
    // later list must not go back in time, or what is new would be taken for gone.
    let mut events = paced(watcher(api.clone(), config.clone().streaming_lists())).boxed();
    let mut from_memory = true;
    let mut relist = Relist::default();
    let mut synced = false;
    // the stream never ends by itself
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                counters.errors.inc();
                tracing::warn!(kind = K::NAME, %error, "the watch is interrupted");
                // An API server before 1.32, or one whose operator has switched it off, does not stream lists.
                if !synced && from_memory {
                    from_memory = false;
                    events = paced(watcher(api.clone(), config.clone())).boxed();
                }
                continue;
            }
        };
        if synced && from_memory && matches!(event, watcher::Event::Init) {
            from_memory = false;
            events = paced(watcher(api.clone(), config.clone())).boxed();
            continue;
        }
        counters.events.inc();
        let done = matches!(event, watcher::Event::InitDone);
        for change in relist.take(event, &counters) {
            if to.send(Message::Change(change)).await.is_err() {
                return;
            }
        }
        if done && !std::mem::replace(&mut synced, true) && to.send(Message::Synced).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
