//! What the proxy holds of a running chain: it starts the chain's task, tells it things and asks it things. Every question
//! has a deadline, so a task that hangs is noticed and holds up nobody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use switchyard_snapshot::Chain;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::lookups::Lookups;
use super::moving::Mover;
use super::{ChainTask, Command, Inbox, Watched};
use crate::chain::event::TransitionKind;
use crate::chain::handle::ChainHandle;
use crate::chain::state::{ChainReport, ChainState};
use crate::clock::Now;
use crate::monitor::prober::{ProbeCounters, Probers};
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
    pub news: Arc<Notify>,
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
    pub const KINDS: [(TransitionKind, &'static str); 9] = [
        (TransitionKind::FailedOver, "FailedOver"),
        (TransitionKind::FailedBack, "FailedBack"),
        (TransitionKind::Switched, "Switched"),
        (TransitionKind::EndpointsStale, "EndpointsStale"),
        (TransitionKind::EndpointsFresh, "EndpointsFresh"),
        (TransitionKind::BackendDown, "BackendDown"),
        (TransitionKind::BackendUp, "BackendUp"),
        (TransitionKind::Suspended, "Suspended"),
        (TransitionKind::Resumed, "Resumed"),
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
        };
        let inbox = Inbox {
            orders,
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

    /// What the chain must learn before it can serve as it should; none: it knows.
    pub fn waiting_for(&self) -> watch::Receiver<Option<String>> {
        self.waiting_for.clone()
    }
}
