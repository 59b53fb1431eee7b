//! What the chains' statuses say. In: a watch, as anybody may have one. Out: when the last of them said what was awaited.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use switchyard_crds::{ProxyChain, ProxyChainStatus};
use switchyard_tests::eventually::eventually;

use crate::ground::Ground;

/// What the watch has seen.
#[derive(Clone, Default)]
pub struct Statuses(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// The newest status of every chain, and when it was seen.
    chains: HashMap<String, (ProxyChainStatus, Instant)>,
    /// Why the watch was interrupted last.
    interrupted: Option<String>,
}

impl Statuses {
    /// Begins to watch.
    pub fn watch(ground: &Ground) -> Self {
        let statuses = Self::default();
        let api = ground.all::<ProxyChain>();
        let known = statuses.clone();
        ground.plane.spawn(async move {
            let seen = watcher(api, watcher::Config::default()).default_backoff();
            let mut seen = seen.applied_objects().boxed();
            while let Some(event) = seen.next().await {
                let at = Instant::now();
                let chain = match event {
                    Ok(chain) => chain,
                    // It goes on by itself. What is never seen is missed by whoever awaits it; at the end of a measurement
                    // the API server stops before its watchers do.
                    Err(error) => {
                        known.known().interrupted = Some(error.to_string());
                        continue;
                    }
                };
                let name = chain.name_any();
                if let Some(status) = chain.status {
                    known.known().chains.insert(name, (status, at));
                }
            }
        });
        statuses
    }

    /// Awaits that `count` statuses say so; when the last of them began to.
    pub fn await_all(
        &self,
        what: &str,
        count: usize,
        within: Duration,
        says: impl Fn(&ProxyChainStatus) -> bool,
    ) -> Instant {
        eventually(what, within, || {
            let known = self.known();
            let (right, wrong): (Vec<_>, Vec<_>) =
                known.chains.values().partition(|(status, _)| says(status));
            if right.len() >= count {
                Ok(right.iter().map(|(_, at)| *at).max().expect("there are chains"))
            } else {
                let example = wrong.first();
                let interrupted = &known.interrupted;
                Err(format!(
                    "{} of {count}; for example {example:?}; the watch was interrupted: {interrupted:?}",
                    right.len()
                ))
            }
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a condition of the status is so, for a reason, and all proxies agree.
pub fn says(status: &ProxyChainStatus, condition: &str, is: &str, reason: &str) -> bool {
    status.conditions.iter().any(|found| {
        found.type_ == condition
            && found.status == is
            && found.reason == reason
            && !found.message.contains("differs")
    })
}

/// Whether all proxies that there should be run the newest generation.
pub fn programmed(status: &ProxyChainStatus, members: usize) -> bool {
    status.programmed.as_deref() == Some(format!("{members}/{members}").as_str())
}
