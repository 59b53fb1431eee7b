//! The control task of one chain: drives its [`ChainState`]. In: DNS, probes, failed connections, configuration, time.
//! Out: views for data workers, probes, sessions that are moved, state on disk, word of every change.

mod lookups;
mod moving;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use switchyard_snapshot::{Chain, Target as BackendTarget};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::event::{ConnectFailed, Event, Order, Stored, Transition, TransitionKind};
use super::handle::ChainHandle;
use super::state::{ChainReport, ChainState, LeaveReason};
use crate::clock::Now;
use crate::endpoint::{Endpoint, EndpointId};
use crate::monitor::Target;
use crate::monitor::prober::{ProbeCounters, Probed, Probers};
use crate::resolve::{Clamp, Question, Resolver};
use crate::session::end::CloseReason;
use crate::state_dir::{Kept, StateDir};
use crate::tasks::Tasks;
use crate::worker::Workers;
use lookups::Lookups;
use moving::Mover;

/// Orders from the proxy that may wait for a chain.
const COMMANDS_BOUND: usize = 16;

/// Events taken in before conclusions are put to work, if so many are ready.
const TOGETHER: usize = 64;

/// A tick is never due sooner than this: a state that asked to be woken at once, again and again, would leave no time
/// for anybody else.
const SHORTEST_NAP: Duration = Duration::from_millis(1);

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

#[derive(Debug)]
enum Command {
    Configure(Arc<Chain>, oneshot::Sender<()>),
    Report(oneshot::Sender<ChainReport>),
    Remove { forget: bool },
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

    fn count(&self, kind: TransitionKind) -> &'static str {
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

struct Inbox {
    orders: mpsc::Receiver<Command>,
    probed: mpsc::Receiver<Probed>,
    feedback: mpsc::Receiver<ConnectFailed>,
    ended: CancellationToken,
}

struct ChainTask {
    chain: Arc<Chain>,
    state: ChainState,
    handle: Arc<ChainHandle>,
    /// Of the view that was published last.
    version: u64,
    lookups: Lookups,
    /// Which questions have been answered, or failed, since the task started.
    answered: BTreeSet<Question>,
    probers: Probers,
    watched: Watched,
    mover: Mover,
    kept: watch::Sender<Kept>,
    transitions: Arc<TransitionCounters>,
    waiting: watch::Sender<Option<String>>,
}

/// What probes and mover were last told of; most events change none of it.
struct Watched {
    chain: Arc<Chain>,
    /// Of the view.
    version: u64,
    endpoints: Vec<EndpointId>,
}

impl Watched {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chain, &other.chain)
            && self.version == other.version
            && self.endpoints == other.endpoints
    }
}

/// What the task wakes up for.
enum Input {
    Event(Event),
    Command(Command),
    Move,
    /// The proxy stops.
    End,
}

impl ChainTask {
    async fn run(mut self, mut inbox: Inbox) {
        self.settle();
        loop {
            let input = self.next(&mut inbox).await;
            let mut more = Some(input);
            let mut taken = 0;
            while let Some(input) = more {
                match input {
                    Input::Event(event) => self.take(event),
                    Input::Move => self.mover.turn(Instant::now()).await,
                    Input::Command(Command::Configure(chain, done)) => {
                        self.configure(chain);
                        let _ = done.send(());
                    }
                    Input::Command(Command::Report(answer)) => {
                        let _ = answer.send(self.state.report(Now::read()));
                    }
                    Input::Command(Command::Remove { forget }) => {
                        tokio::select! {
                            () = self.leave(forget) => {}
                            () = inbox.ended.cancelled() => {}
                        }
                        return;
                    }
                    Input::End => return self.probers.stop().await,
                }
                taken += 1;
                // what else is ready is taken in before conclusions are put to work
                more = (taken < TOGETHER).then(|| self.ready(&mut inbox)).flatten();
            }
            self.settle();
        }
    }

    async fn next(&mut self, inbox: &mut Inbox) -> Input {
        let now = Instant::now();
        let tick_at = self.state.wake_at().map(|at| at.max(now + SHORTEST_NAP));
        let move_at = self.mover.turn_at();
        tokio::select! {
            command = inbox.orders.recv() => command.map_or(Input::End, Input::Command),
            () = inbox.ended.cancelled() => Input::End,
            Some(failed) = inbox.feedback.recv() => Input::Event(Event::ConnectFailed(failed)),
            Some(probed) = inbox.probed.recv() => Input::Event(probed.into()),
            (question, lookup) = self.lookups.next() => Input::Event(Event::Resolved(question, lookup)),
            () = sleep_until(tick_at.unwrap_or(now).into()), if tick_at.is_some() => Input::Event(Event::Tick),
            () = sleep_until(move_at.unwrap_or(now).into()), if move_at.is_some() => Input::Move,
        }
    }

    fn ready(&mut self, inbox: &mut Inbox) -> Option<Input> {
        if let Ok(failed) = inbox.feedback.try_recv() {
            return Some(Input::Event(Event::ConnectFailed(failed)));
        }
        if let Ok(probed) = inbox.probed.try_recv() {
            return Some(Input::Event(probed.into()));
        }
        let (question, lookup) = self.lookups.next().now_or_never()?;
        Some(Input::Event(Event::Resolved(question, lookup)))
    }

    fn configure(&mut self, chain: Arc<Chain>) {
        self.mover.set_pace(chain.failover.pace);
        self.chain = Arc::clone(&chain);
        self.take(Event::Configured(chain));
        self.settle();
    }

    fn take(&mut self, event: Event) {
        if let Event::Resolved(question, _) = &event {
            self.answered.insert(question.clone());
        }
        for order in self.state.handle(event, Now::read()) {
            match order {
                Order::Confirm(id) => {
                    if let Some(target) = self.state.endpoint(id).map(|endpoint| self.target(endpoint)) {
                        self.probers.confirm(id, &target, &self.chain.health);
                    }
                }
                Order::StopConfirming(id) => self.probers.stop_confirming(id),
                Order::Persist(stored) => self.persist(stored),
                Order::Announce(transition) => self.announce(&transition),
            }
        }
    }

    fn persist(&self, stored: Stored) {
        self.kept.send_replace(Kept::Stored(stored));
    }

    fn announce(&self, transition: &Transition) {
        let kind = self.transitions.count(transition.kind);
        let Transition { from, to, reason, .. } = transition;
        let chain = &self.chain.id;
        match transition.kind {
            TransitionKind::FailedOver | TransitionKind::BackendDown | TransitionKind::EndpointsStale => {
                tracing::warn!(%chain, kind, from, to, reason, "transition");
            }
            _ => tracing::info!(%chain, kind, from, to, reason, "transition"),
        }
    }

    /// Puts to work what the state has concluded.
    fn settle(&mut self) {
        let now = Now::read();
        let view = self.state.view();
        if view.version != self.version {
            self.version = view.version;
            self.handle.publish(view.clone());
        }
        let Chain {
            resolution, health, ..
        } = &*self.chain;
        let questions = self.state.questions();
        let clamp = Clamp {
            min_ttl: resolution.min_ttl,
            max_ttl: resolution.max_ttl,
        };
        self.lookups.ask(&questions, clamp);
        let probed = self.state.probed(now);
        let watched = Watched {
            chain: Arc::clone(&self.chain),
            version: self.version,
            endpoints: probed.iter().map(|p| p.endpoint.id).collect(),
        };
        if !watched.is(&self.watched) {
            let targets = probed.iter().map(|p| (p.endpoint.id, self.target(&p.endpoint)));
            let targets: BTreeMap<EndpointId, Target> = targets.collect();
            self.probers.watch(&targets, health);
            let candidates = view
                .candidates
                .iter()
                .map(|candidate| Arc::clone(&candidate.endpoint));
            let all = candidates.chain(probed.iter().map(|p| Arc::clone(&p.endpoint)));
            self.mover.know(all);
            self.watched = watched;
        }
        let leaving = self
            .state
            .leaving()
            .iter()
            .map(|(&id, &why)| (id, close_reason(why)));
        self.mover.set_leaving(leaving.collect(), now.mono);
        self.answered.retain(|question| questions.contains(question));
        if self.waiting.borrow().is_some() {
            let unanswered = questions
                .iter()
                .find(|question| !self.answered.contains(*question));
            let unprobed = probed.iter().find(|p| !p.probed);
            let id = &self.chain.id;
            self.waiting.send_replace(match (unanswered, unprobed) {
                (Some(question), _) => Some(format!("chain {id}: the first answer for {}", question.name)),
                (None, Some(p)) => Some(format!("chain {id}: the first probe of {}", p.endpoint.address)),
                (None, None) => None,
            });
        }
    }

    /// How an endpoint is probed.
    fn target(&self, endpoint: &Endpoint) -> Target {
        let backend = self
            .chain
            .backends
            .iter()
            .find(|backend| *backend.name == *endpoint.backend);
        let host = backend.and_then(|backend| match &backend.target {
            BackendTarget::Host { host, .. } if host.parse::<std::net::IpAddr>().is_err() => {
                Some(host.trim_end_matches('.').to_owned())
            }
            _ => None,
        });
        Target {
            address: endpoint.address,
            host,
        }
    }

    /// The chain is gone from the configuration: its sessions leave, paced.
    async fn leave(self, forget: bool) {
        let Self {
            mut mover,
            probers,
            lookups,
            kept,
            chain,
            ..
        } = self;
        if forget {
            kept.send_replace(Kept::Forgotten);
        }
        drop((lookups, kept));
        probers.stop().await;
        mover.leave_all(CloseReason::ChainRemoved, Instant::now());
        while !mover.is_done() {
            let now = Instant::now();
            sleep_until(mover.turn_at().unwrap_or(now).into()).await;
            mover.turn(Instant::now()).await;
        }
        tracing::info!(chain = %chain.id, "removed; its last session has left");
    }
}

impl From<Probed> for Event {
    fn from(probed: Probed) -> Self {
        match probed {
            Probed::Monitor {
                endpoint,
                monitor,
                result,
            } => Self::Probed {
                endpoint,
                monitor,
                result,
            },
            Probed::Confirmed { endpoint, result } => Self::Confirmed { endpoint, result },
        }
    }
}

fn close_reason(why: LeaveReason) -> CloseReason {
    match why {
        LeaveReason::Down => CloseReason::EndpointDown,
        LeaveReason::Vanished => CloseReason::Vanished,
        LeaveReason::FailedBack => CloseReason::Failback,
        LeaveReason::Switched => CloseReason::Switched,
        LeaveReason::Suspended => CloseReason::Suspended,
        LeaveReason::Unconfigured => CloseReason::EndpointRemoved,
    }
}
