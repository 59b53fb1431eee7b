//! Which proxies serve which chains, for sidecars, which hear nobody themselves. In: what proxies report. Out: changes for the
//! index, and only where something differs.
//!
//! Nobody waits at [`Serving::heard`]: of one proxy only the newest is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchyard_discovery::server::{Activity, ProxyId, What};
use switchyard_snapshot::{ChainId, Report, Standing};
use tokio::sync::{Notify, mpsc};

use crate::index::Change;
use crate::watch::Message;

/// What proxies serve. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Serving(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// By each proxy's last report.
    said: BTreeMap<ProxyId, Vec<ChainId>>,
    /// Those whose news have not been passed on.
    news: BTreeSet<ProxyId>,
}

impl Serving {
    /// A proxy did something.
    pub fn heard(&self, activity: &Activity) {
        let says = match &activity.what {
            What::Reported(report) => Some(serves(report)),
            What::Disconnected => None,
            What::Connected { .. } | What::Acked { .. } | What::Refused { .. } => return,
        };
        let mut known = self.lock();
        if known.said.get(&activity.proxy) == says.as_ref() {
            return;
        }
        match says {
            Some(chains) => drop(known.said.insert(activity.proxy.clone(), chains)),
            None => drop(known.said.remove(&activity.proxy)),
        }
        known.news.insert(activity.proxy.clone());
        drop(known);
        self.0.changed.notify_one();
    }

    /// Passes news on until nobody takes them any more.
    pub async fn pass_on(self, to: mpsc::Sender<Message>) {
        loop {
            for change in self.news() {
                if to.send(Message::Change(change)).await.is_err() {
                    return;
                }
            }
            self.0.changed.notified().await;
        }
    }

    fn news(&self) -> Vec<Change> {
        let mut known = self.lock();
        let news = std::mem::take(&mut known.news);
        let changes = news.into_iter().filter_map(|id| {
            let chains = known.said.get(&id).cloned();
            // A pod of that name that came later has said something since.
            let others = || {
                known
                    .said
                    .keys()
                    .any(|it| it.pool == id.pool && it.name == id.name)
            };
            if chains.is_none() && others() {
                return None;
            }
            let ProxyId { pool, name, uid: _ } = id;
            Some(Change::Serves { pool, name, chains })
        });
        changes.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The chains that a proxy serves by itself, sorted. Whoever drains, or sends its own clients elsewhere, serves nobody's.
fn serves(report: &Report) -> Vec<ChainId> {
    if report.draining || !report.ready {
        return Vec::new();
    }
    let stands = report.chains.iter().filter(|chain| {
        let standing = chain.standing.as_ref().map(|standing| standing.standing);
        matches!(standing, Some(Standing::Live | Standing::Degraded)) && chain.redirect.is_none()
    });
    stands.map(|chain| chain.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use switchyard_snapshot::PoolId;

    use super::*;

    fn did(uid: &str, what: What) -> Activity {
        let pool = PoolId {
            namespace: "edge".to_owned(),
            name: "far".to_owned(),
        };
        Activity {
            proxy: ProxyId {
                pool,
                name: "far-0".to_owned(),
                uid: uid.to_owned(),
            },
            what,
        }
    }

    fn report(draining: bool, standing: &str) -> What {
        let id = json!({"namespace": "edge", "name": "c"});
        let chain = json!({"id": id, "standing": {"standing": standing, "reason": ""}});
        let report = json!({"ready": true, "draining": draining, "chains": [chain]});
        What::Reported(serde_json::from_value(report).unwrap())
    }

    /// What is passed on: for each proxy how many chains it serves.
    fn told(serving: &Serving) -> Vec<Option<usize>> {
        let told = |change: Change| match change {
            Change::Serves { name, chains, .. } => {
                assert_eq!(name, "far-0");
                chains.map(|chains| chains.len())
            }
            other => panic!("{other:?}"),
        };
        serving.news().into_iter().map(told).collect()
    }

    #[test]
    fn only_what_differs_is_passed_on() {
        let serving = Serving::default();
        for (what, uid, activity, expected) in [
            (
                "it connects",
                "u1",
                What::Connected {
                    version: "0.1.0".into(),
                },
                &[][..],
            ),
            ("serves", "u1", report(false, "Live"), &[Some(1)]),
            ("still", "u1", report(false, "Live"), &[]),
            ("on its backup", "u1", report(false, "Degraded"), &[]),
            ("sees nobody", "u1", report(false, "Dead"), &[Some(0)]),
            ("serves again", "u1", report(false, "Live"), &[Some(1)]),
            ("drains", "u1", report(true, "Live"), &[Some(0)]),
            ("its successor serves", "u2", report(false, "Live"), &[Some(1)]),
            ("it is gone", "u1", What::Disconnected, &[]),
            ("so is that", "u2", What::Disconnected, &[None]),
            ("of whom nothing was known", "u3", What::Disconnected, &[]),
        ] {
            serving.heard(&did(uid, activity));
            assert_eq!(told(&serving), expected, "{what}");
        }
    }
}
