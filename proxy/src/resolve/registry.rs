//! Who wants to know what. In: subscriptions. Out: one task per distinct question, for as long as anybody subscribes.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::question::Asked;
use super::system::SystemFiles;
use super::upstream::Upstreams;
use super::{Clamp, Counters, Lookup, Question};
use crate::tasks::Tasks;

/// Asks every question of the process, each by one task. Clones share it.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tasks: Tasks,
    upstreams: Arc<Upstreams>,
    counters: Arc<Counters>,
    questions: Mutex<HashMap<Question, Arc<Asked>>>,
    next_subscriber: AtomicU64,
}

impl Resolver {
    /// A resolver that takes the system's configuration from where it usually is.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start() -> Self {
        Self::with_system_files(SystemFiles::default())
    }

    /// A resolver that takes the system's configuration from these files.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn with_system_files(files: SystemFiles) -> Self {
        Self(Arc::new(Inner {
            tasks: Tasks::new(),
            upstreams: Arc::new(Upstreams::new(files)),
            counters: Arc::default(),
            questions: Mutex::default(),
            next_subscriber: AtomicU64::new(0),
        }))
    }

    /// From now on the question is asked at least as often as `clamp` says, until the subscription is dropped.
    pub fn subscribe(&self, question: Question, clamp: Clamp) -> Subscription {
        let id = self.0.next_subscriber.fetch_add(1, Ordering::Relaxed);
        let mut questions = self.0.questions();
        let asked = questions.entry(question).or_insert_with_key(|question| {
            let asked = Arc::new(Asked {
                question: question.clone(),
                lookup: watch::Sender::new(Arc::new(Lookup {
                    answer: None,
                    failure: None,
                })),
                clamps: Mutex::new(BTreeMap::from([(id, clamp)])),
                changed: Notify::new(),
                ended: self.0.tasks.cancelled().child_token(),
            });
            self.0.tasks.spawn(
                format!("resolver of {} {:?}", question.name, question.kind),
                Arc::clone(&asked).run(Arc::clone(&self.0.upstreams), Arc::clone(&self.0.counters)),
            );
            asked
        });
        asked
            .clamps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, clamp);
        asked.changed.notify_one();
        let asked = Arc::clone(asked);
        drop(questions);
        let mut lookups = asked.lookup.subscribe();
        // what is known already counts as news for a new subscriber
        lookups.mark_changed();
        Subscription {
            id,
            asked,
            lookups,
            resolver: self.clone(),
        }
    }

    /// What became of the queries so far.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// How many questions are being asked.
    pub fn questions(&self) -> usize {
        self.0.questions().len()
    }

    /// The age of the oldest answer in use, and how many questions have none; for metrics.
    pub fn freshness(&self) -> Freshness {
        let mut freshness = Freshness::default();
        for asked in self.0.questions().values() {
            let lookup = asked.lookup.borrow();
            match &lookup.answer {
                Some(answer) => freshness.oldest = freshness.oldest.max(answer.at.elapsed()),
                None => freshness.unanswered += 1,
            }
            freshness.failing += usize::from(lookup.failure.is_some());
        }
        freshness
    }

    /// Waits for a task of the resolver that dies, and names it.
    pub async fn died(&self) -> String {
        self.0.tasks.died().await
    }

    /// Ends all tasks and waits for them. Subscriptions learn nothing new from then on.
    pub async fn stop(&self) {
        self.0.tasks.stop().await;
    }
}

/// How fresh what the resolver knows is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Age of the oldest answer in use.
    pub oldest: std::time::Duration,
    /// Questions that never got an answer.
    pub unanswered: usize,
    /// Questions whose newest attempt failed.
    pub failing: usize,
}

impl Inner {
    fn questions(&self) -> MutexGuard<'_, HashMap<Question, Arc<Asked>>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One subscriber's share in a question; dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    asked: Arc<Asked>,
    lookups: watch::Receiver<Arc<Lookup>>,
    resolver: Resolver,
}

impl Subscription {
    /// What is asked.
    pub fn question(&self) -> &Question {
        &self.asked.question
    }

    /// What is known.
    pub fn current(&self) -> Arc<Lookup> {
        Arc::clone(&self.lookups.borrow())
    }

    /// Waits for the next attempt to end (the first time: for any that ended already) and returns what is known
    /// then. Pending for ever once the resolver has stopped.
    pub async fn next(&mut self) -> Arc<Lookup> {
        loop {
            if self.lookups.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let lookup = Arc::clone(&self.lookups.borrow_and_update());
            if lookup.answer.is_some() || lookup.failure.is_some() {
                return lookup;
            }
        }
    }

    /// Asks more or less often from now on.
    pub fn set_clamp(&self, clamp: Clamp) {
        let mut clamps = self.asked.clamps.lock().unwrap_or_else(PoisonError::into_inner);
        if clamps.insert(self.id, clamp) != Some(clamp) {
            self.asked.changed.notify_one();
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // the registry's lock is held throughout, so nobody can join a question that is being given up
        let mut questions = self.resolver.0.questions();
        let mut clamps = self.asked.clamps.lock().unwrap_or_else(PoisonError::into_inner);
        clamps.remove(&self.id);
        if clamps.is_empty() {
            self.asked.ended.cancel();
            let nameservers = &self.asked.question.nameservers;
            questions.remove(&self.asked.question);
            if !questions.keys().any(|other| &other.nameservers == nameservers) {
                self.resolver.0.upstreams.forget(nameservers);
            }
        } else {
            self.asked.changed.notify_one();
        }
    }
}
