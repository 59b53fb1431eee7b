//! Fetches Secrets that somebody names. In: which ([`Wants`]). Out: what stands in them, told to the index.
//!
//! Each Secret is asked for once for each version that the watch tells of; what fails is tried again, with growing pauses, as
//! long as somebody names it. The API server answers from what is agreed, so an answer is never older than what the watch told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::api::core::v1::Secret as K8sSecret;
use kube::{Api, Client};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Secret, SecretId};
use crate::index::Change;
use crate::watch::Message;

/// Requests at once.
const AT_ONCE: usize = 16;
/// For each request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after the first failure, doubled with each of a row.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Never longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so many failures in a row (some 8 s) it is said that the Secret cannot be read. Before, proxies keep what they have.
const TOLD_AFTER: u32 = 6;

/// What came of asking for a Secret.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// This stands in it, in this version.
    Found {
        /// As the API server counts it.
        version: String,
        /// What stands in it.
        secret: Arc<Secret>,
    },
    /// It is not there.
    Gone,
    /// It could not be read so far, again and again; why, in words.
    Failed(String),
}

/// Which Secrets somebody names, and which of those must be fetched. Clones are the same. Bounded by what pools and chains name.
#[derive(Clone, Debug, Default)]
pub struct Wants(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    lists: Mutex<Lists>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Lists {
    named: BTreeSet<SecretId>,
    open: BTreeSet<SecretId>,
}

impl Wants {
    /// Somebody names it.
    pub fn named(&self, id: &SecretId) {
        self.lists().named.insert(id.clone());
    }

    /// Nobody names it any more.
    pub fn unnamed(&self, id: &SecretId) {
        let mut lists = self.lists();
        lists.named.remove(id);
        lists.open.remove(id);
    }

    /// It must be fetched.
    pub fn open(&self, id: &SecretId) {
        self.lists().open.insert(id.clone());
        self.0.more.notify_one();
    }

    /// It need not be fetched any more.
    pub fn close(&self, id: &SecretId) {
        self.lists().open.remove(id);
    }

    /// It must be fetched again, if somebody still names it.
    fn again(&self, id: &SecretId) {
        let mut lists = self.lists();
        if lists.named.contains(id) {
            lists.open.insert(id.clone());
        }
    }

    fn names(&self, id: &SecretId) -> bool {
        self.lists().named.contains(id)
    }

    /// Takes some off the list that `free` lets through, as many as `most`.
    pub(crate) fn take(&self, most: usize, free: impl Fn(&SecretId) -> bool) -> Vec<SecretId> {
        let mut lists = self.lists();
        let taken: Vec<SecretId> = lists
            .open
            .iter()
            .filter(|id| free(id))
            .take(most)
            .cloned()
            .collect();
        for id in &taken {
            lists.open.remove(id);
        }
        taken
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Failures in a row of one Secret.
struct Trouble {
    failures: u32,
    again_at: Instant,
}

/// Fetches what is wanted until nobody listens any more.
pub async fn run(client: Client, wants: Wants, to: mpsc::Sender<Message>) {
    let mut busy: BTreeSet<SecretId> = BTreeSet::new();
    let mut trouble: BTreeMap<SecretId, Trouble> = BTreeMap::new();
    let mut running = FuturesUnordered::new();
    loop {
        let now = Instant::now();
        trouble.retain(|id, _| wants.names(id));
        for (id, _) in trouble.iter().filter(|(_, it)| it.again_at <= now) {
            wants.again(id);
        }
        let rests = |id: &SecretId| trouble.get(id).is_some_and(|it| it.again_at > now);
        for id in wants.take(AT_ONCE - busy.len(), |id| !busy.contains(id) && !rests(id)) {
            busy.insert(id.clone());
            // it is not due again before this is answered
            if let Some(it) = trouble.get_mut(&id) {
                it.again_at = now + TIMEOUT + LONGEST_PAUSE;
            }
            running.push(get(client.clone(), id));
        }
        let next = trouble
            .values()
            .map(|it| it.again_at)
            .filter(|at| *at > now)
            .min();
        let due = sleep_until(next.unwrap_or(now + LONGEST_PAUSE));
        let (id, answer) = tokio::select! {
            Some(answered) = running.next() => answered,
            () = wants.0.more.notified() => continue,
            () = due => continue,
        };
        busy.remove(&id);
        let fetched = match answer {
            Ok(fetched) => {
                trouble.remove(&id);
                fetched
            }
            Err(why) => {
                let failures = trouble.get(&id).map_or(0, |it| it.failures) + 1;
                let again_at = Instant::now() + pause(failures, fastrand::f64());
                trouble.insert(id.clone(), Trouble { failures, again_at });
                tracing::warn!(secret = %id, why, failures, "the Secret cannot be read; it is tried again");
                if failures != TOLD_AFTER {
                    continue;
                }
                Fetched::Failed(why)
            }
        };
        if to
            .send(Message::Change(Change::Fetched(id, fetched)))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// After so many failures in a row; `random` is from 0 to 1.
fn pause(failures: u32, random: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(LONGEST_PAUSE).mul_f64(0.75 + random / 4.0)
}

async fn get(client: Client, id: SecretId) -> (SecretId, Result<Fetched, String>) {
    let api: Api<K8sSecret> = Api::namespaced(client, &id.namespace);
    let answer = match timeout(TIMEOUT, api.get_opt(&id.name)).await {
        Ok(Ok(Some(secret))) => Ok(found(secret)),
        Ok(Ok(None)) => Ok(Fetched::Gone),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    };
    (id, answer)
}

fn found(secret: K8sSecret) -> Fetched {
    let data = secret.data.unwrap_or_default();
    Fetched::Found {
        version: secret.metadata.resource_version.unwrap_or_default(),
        secret: Arc::new(Secret::new(
            data.into_iter().map(|(key, bytes)| (key, bytes.0)).collect(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute() {
        for (failures, most) in [
            (1, 250),
            (2, 500),
            (3, 1_000),
            (6, 8_000),
            (8, 30_000),
            (100, 30_000),
        ] {
            let most = Duration::from_millis(most);
            assert_eq!(pause(failures, 1.0), most);
            assert_eq!(pause(failures, 0.0), most.mul_f64(0.75));
        }
    }

    #[test]
    fn what_nobody_names_any_more_is_not_asked_for() {
        let id = |name: &str| SecretId {
            namespace: "edge".into(),
            name: name.into(),
        };
        let wants = Wants::default();
        for name in ["a", "b", "c"] {
            wants.named(&id(name));
            wants.open(&id(name));
        }
        wants.unnamed(&id("a"));
        wants.close(&id("b"));
        assert_eq!(wants.take(9, |_| true), [id("c")]);
        assert_eq!(wants.take(9, |_| true), []);
        wants.again(&id("a"));
        wants.again(&id("b"));
        assert_eq!(wants.take(9, |found| *found != id("b")), []);
        assert_eq!(wants.take(9, |_| true), [id("b")]);
    }
}
