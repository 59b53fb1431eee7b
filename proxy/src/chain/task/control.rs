//! What the proxy holds of a running chain: it starts the chain's task, tells it things and asks it things. Every question
//! has a deadline, so a task that hangs is noticed and holds up nobody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use switchyard_snapshot::Chain;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::giving_back::Farewell;
use super::lookups::Lookups;
use super::moving::Mover;
use super::{ChainTask, Command, Inbox, Watched};
use crate::app::{Hood, SaidBoard};
use crate::chain::event::TransitionKind;
use crate::chain::handle::ChainHandle;
use crate::chain::state::{Bearings, ChainReport, ChainState};
use crate::clock::Now;
use crate::monitor::prober::{ProbeCounters, Probers};
use crate::report::News;
use crate::resolve::Resolver;
use crate::state_dir::{Kept, StateDir};
use crate::tasks::Tasks;
use crate::worker::Workers;

/// Orders from the proxy that may wait for a chain.
const COMMANDS_BOUND: usize = 16;

/// How long a chain's task may take to answer; who is silent for longer hangs.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What all chains of a proxy share.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Asks names.
    pub resolver: Resolver,
    /// Hold the sessions.
    pub workers: Arc<Workers>,
    /// Counts probes.
    pub probes: Arc<ProbeCounters>,
    /// Told whenever a chain has something new to report.
    pub news: Arc<News>,
    /// Where this proxy stands among others. Changes with news alone.
    pub hood: watch::Receiver<Hood>,
    /// Others were heard, whether or not there was news.
    pub confirmations: watch::Receiver<()>,
    /// What chains tell others.
    pub said: Arc<SaidBoard>,
    /// Keeps epochs; none: nothing is kept.
    pub state_dir: Option<StateDir>,
}

/// What the proxy holds of a running chain.
#[derive(Debug)]
pub struct ChainControl {
    /// What data workers hold of it.
    pub handle: Arc<ChainHandle>,
    /// Changes so far, by kind.
    pub transitions: Arc<TransitionCounters>,
    commands: mpsc::Sender<Command>,
    waiting_for: watch::Receiver<Option<String>>,
}

/// Transitions counted by kind.
#[derive(Debug, Default)]
pub struct TransitionCounters([AtomicU64; TransitionCounters::KINDS.len()]);

impl TransitionCounters {
    /// All kinds, with their labels.
    pub const KINDS: [(TransitionKind, &'static str); 11] = [
        (TransitionKind::FailedOver, "FailedOver"),
        (TransitionKind::FailedBack, "FailedBack"),
        (TransitionKind::Switched, "Switched"),
        (TransitionKind::EndpointsStale, "EndpointsStale"),
        (TransitionKind::EndpointsFresh, "EndpointsFresh"),
        (TransitionKind::BackendDown, "BackendDown"),
        (TransitionKind::BackendUp, "BackendUp"),
        (TransitionKind::Suspended, "Suspended"),
        (TransitionKind::Resumed, "Resumed"),
        (TransitionKind::RedirectStarted, "RedirectStarted"),
        (TransitionKind::RedirectEnded, "RedirectEnded"),
    ];

    /// Label and count of each kind.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Self::KINDS.iter().map(|(_, label)| *label).zip(counts)
    }

    pub(super) fn count(&self, kind: TransitionKind) -> &'static str {
        let index = Self::KINDS
            .iter()
            .position(|(known, _)| *known == kind)
            .unwrap_or_default();
        self.0[index].fetch_add(1, Ordering::Relaxed);
        Self::KINDS[index].1
    }
}

impl ChainControl {
    /// Starts a chain's task (and the one that keeps its state) among `tasks`.
    pub fn start(chain: Arc<Chain>, around: &Surroundings, tasks: &Tasks) -> Self {
        let id = chain.id.clone();
        let (kept, wishes) = watch::channel(Kept::Unchanged);
        let stored = around.state_dir.as_ref().and_then(|dir| dir.load(&id));
        if let Some(dir) = around.state_dir.clone() {
            tasks.spawn(
                format!("state keeper of chain {id}"),
                dir.keep(id.clone(), wishes),
            );
        }
        let state = ChainState::new(Arc::clone(&chain), stored, Now::read());
        let (handle, feedback) = ChainHandle::new(state.view().clone());
        let (commands, orders) = mpsc::channel(COMMANDS_BOUND);
        let (waiting, waiting_for) = watch::channel(Some(format!("chain {id}: its start")));
        let (probers, probed) = Probers::new(Arc::clone(&around.probes));
        let transitions = Arc::<TransitionCounters>::default();
        let task = ChainTask {
            lookups: Lookups::new(around.resolver.clone()),
            mover: Mover::new(id.clone(), Arc::clone(&around.workers), chain.failover.pace),
            farewell: Farewell::new(id.clone(), Arc::clone(&around.workers), chain.failover.pace),
            handle: Arc::clone(&handle),
            transitions: Arc::clone(&transitions),
            version: state.view().version,
            answered: BTreeSet::new(),
            watched: Watched {
                chain: Arc::clone(&chain),
                version: 0,
                endpoints: Vec::new(),
            },
            chain,
            state,
            probers,
            kept,
            waiting,
            news: Arc::clone(&around.news),
            outline: None,
            board: Arc::clone(&around.said),
            told: None,
            hood: None,
        };
        let inbox = Inbox {
            orders,
            hood: around.hood.clone(),
            confirmations: around.confirmations.clone(),
            probed,
            feedback,
            ended: tasks.cancelled(),
        };
        tasks.spawn(format!("chain {id}"), task.run(inbox));
        Self {
            handle,
            transitions,
            commands,
            waiting_for,
        }
    }

    /// Gives the chain another configuration; returns once its view is made from that.
    pub async fn configure(&self, chain: Arc<Chain>) {
        let (done, told) = oneshot::channel();
        let sent = self.commands.send(Command::Configure(chain, done));
        if timeout(ANSWER_WITHIN, async { sent.await.is_ok() && told.await.is_ok() })
            .await
            .is_err()
        {
            tracing::error!(chain = %self.handle.id, "does not take its new configuration: its task hangs");
        }
    }

    /// Ends the chain: its sessions are closed, paced, and then its task ends by itself. With `forget`, what is stored
    /// of it goes, too. Call this when no new connections can reach it any more.
    pub async fn remove(&self, forget: bool) {
        let sent = self.commands.send(Command::Remove { forget });
        if timeout(ANSWER_WITHIN, sent).await.is_err() {
            tracing::error!(chain = %self.handle.id, "does not end: its task hangs");
        }
    }

    /// Everything for people; none: the task does not answer.
    pub async fn report(&self) -> Option<ChainReport> {
        self.reporter().await
    }

    /// As [`ChainControl::report`], without holding on to the control.
    pub fn reporter(&self) -> impl Future<Output = Option<ChainReport>> + Send + 'static {
        let commands = self.commands.clone();
        async move {
            let (answer, report) = oneshot::channel();
            let asked = async {
                commands.send(Command::Report(answer)).await.ok()?;
                report.await.ok()
            };
            timeout(ANSWER_WITHIN, asked).await.ok().flatten()
        }
    }

    /// How it stands among others, and where its clients go that it cannot serve; none: it stands alone, or its task does not
    /// answer.
    pub async fn bearings(&self) -> Option<Bearings> {
        self.ask(Command::Bearings).await.flatten()
    }

    /// Sends its guests back now.
    ///
    /// # Errors
    /// Why none can go, in words.
    pub async fn return_guests(&self) -> Result<(), String> {
        let answer = self.ask(Command::Return).await;
        answer.unwrap_or_else(|| Err(format!("chain {} does not answer", self.handle.id)))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.commands.send(command(answer)).await.ok()?;
            answered.await.ok()
        };
        timeout(ANSWER_WITHIN, asked).await.ok().flatten()
    }

    /// What the chain must learn before it can serve as it should; none: it knows.
    pub fn waiting_for(&self) -> watch::Receiver<Option<String>> {
        self.waiting_for.clone()
    }
}

#[cfg(test)]
mod tests {
    use switchyard_snapshot::Target;

    use super::*;
    use crate::chain::fixture::{self, backend};
    use crate::testing::eventually;
    use crate::testing::rig::{self, Echo};

    /// Its own probes would have it leave a tier that mates may serve.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_chain_that_starts_changes_no_tier_before_it_knows_its_place() {
        let spare = Echo::start("spare").await;
        let mut chain = fixture::chain(Vec::new());
        for (tier, at) in [rig::nobody(), spare.address].into_iter().enumerate() {
            let mut backend = backend(&format!("b{tier}"), "", tier as u32);
            backend.target = Target::Host {
                host: at.ip().to_string(),
                port: at.port(),
            };
            chain.backends.push(backend);
        }
        chain.health.interval = Duration::from_millis(20);
        let hood = watch::Sender::new(Hood {
            unknown: true,
            ..Hood::default()
        });
        let around = Surroundings {
            resolver: Resolver::start(),
            workers: Arc::new(rig::workers(1)),
            probes: Arc::default(),
            news: Arc::default(),
            hood: hood.subscribe(),
            confirmations: watch::Sender::default().subscribe(),
            said: Arc::default(),
            state_dir: None,
        };
        let tasks = Tasks::new();
        let control = ChainControl::start(Arc::new(chain), &around, &tasks);
        let (probes, tier) = (&around.probes, || control.handle.view().tier);
        let limit = Duration::from_secs(5);
        eventually("both are known well", limit, || {
            probes.passed.load(Ordering::Relaxed) >= 3 && probes.failed.load(Ordering::Relaxed) >= 3
        })
        .await;
        assert_eq!(tier(), 0);
        hood.send_modify(|hood| hood.unknown = false);
        eventually("the spare serves", limit, || tier() == 1).await;
        tasks.stop().await;
    }
}
