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

/// Chains that the API server is asked for at one time where their watch begins. Most of what a page costs it does not depend on
/// its size, and pages come one after the other. This is about 8 MB of JSON; other kinds may have larger objects.
const CHAINS: u32 = 2000;

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
    let of_chains = everything().page_size(CHAINS);
    let of_pools = everything().labels(POOL_LABEL);
    [
        spawn_kind::<DeserializeGuard<ProxyPool>>(context, &everything(), counters, to, tasks),
        spawn_kind::<DeserializeGuard<ProxyChain>>(context, &of_chains, counters, to, tasks),
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
    let mut events = paced(watcher(api, config)).boxed();
    let mut relist = Relist::default();
    let mut synced = false;
    // the stream never ends by itself
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                counters.errors.inc();
                tracing::warn!(kind = K::NAME, %error, "the watch is interrupted");
                continue;
            }
        };
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
