//! What the chains' statuses say. In: a watch, as anybody may have one. Out: when the last of them said what was awaited, and
//! when a chain's generation was seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use switchyard_crds::{ProxyChain, ProxyChainStatus};
use switchyard_tests::eventually::eventually;

use crate::ground::{Ground, chain_number};

/// What the watch has seen.
#[derive(Clone, Default)]
pub struct Statuses(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// The newest status of every chain, and when it was seen.
    chains: HashMap<String, (ProxyChainStatus, Instant)>,
    /// By chain: its generations, and when each was seen first, in order.
    generations: HashMap<usize, Vec<(i64, Instant)>>,
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
                known.known().note(chain, at);
            }
        });
        statuses
    }

    /// When this generation of a chain was seen, or a newer one; none: not yet.
    pub fn seen(&self, chain: usize, generation: i64) -> Option<Instant> {
        let known = self.known();
        let generations = known.generations.get(&chain)?;
        let seen = generations.iter().find(|(seen, _)| *seen >= generation);
        seen.map(|(_, at)| *at)
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

impl Known {
    fn note(&mut self, chain: ProxyChain, at: Instant) {
        let name = chain.name_any();
        let generations = self.generations.entry(chain_number(&name)).or_default();
        let generation = chain.metadata.generation.unwrap_or_default();
        if generations.last().is_none_or(|(newest, _)| *newest < generation) {
            generations.push((generation, at));
        }
        if let Some(status) = chain.status {
            self.chains.insert(name, (status, at));
        }
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
