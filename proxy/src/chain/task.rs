//! The control task of one chain: drives its [`ChainState`]. In: DNS, probes, failed connections, configuration, time.
//! Out: views for data workers, probes, sessions that are moved, state on disk, word of every change.

mod control;
mod giving_back;
mod lookups;
mod moving;

pub use control::{ANSWER_WITHIN, ChainControl, Surroundings, TransitionCounters};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use switchyard_snapshot::{Chain, Target as BackendTarget};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::event::{ConnectFailed, Event, Order, Stored, Transition, TransitionKind};
use super::handle::ChainHandle;
use super::state::{Bearings, ChainReport, ChainState, LeaveReason, Outline};
use crate::app::{Hood, SaidBoard};
use crate::clock::Now;
use crate::endpoint::{Endpoint, EndpointId};
use crate::gossip::ChainSaid;
use crate::monitor::Target;
use crate::monitor::prober::{Probed, Probers};
use crate::report::News;
use crate::resolve::{Clamp, Question};
use crate::session::end::CloseReason;
use crate::state_dir::Kept;
use giving_back::Farewell;
use lookups::Lookups;
use moving::Mover;

/// Events taken in before conclusions are put to work, if so many are ready.
const TOGETHER: usize = 64;

/// A tick is never due sooner than this: a state that asked to be woken at once, again and again, would leave no time
/// for anybody else.
const SHORTEST_NAP: Duration = Duration::from_millis(1);

/// A chain that starts waits so long to be told whom its proxy talks to. It would change its tier alone otherwise: listeners are
/// bound, and probes pass, before that is known.
const PLACED_WITHIN: Duration = if cfg!(test) {
    // A test that shows that it waits must not be over before a busy machine has come to the question.
    Duration::from_mins(1)
} else {
    Duration::from_secs(1)
};

/// What the proxy wants of a chain.
#[derive(Debug)]
enum Command {
    Configure(Arc<Chain>, oneshot::Sender<()>),
    Report(oneshot::Sender<ChainReport>),
    /// Where its clients go that it cannot serve; none: it stands alone.
    Bearings(oneshot::Sender<Option<Bearings>>),
    /// Its guests go back now. Answers whether there is anybody to whom they could.
    Return(oneshot::Sender<Result<(), String>>),
    Remove {
        forget: bool,
    },
}

struct Inbox {
    orders: mpsc::Receiver<Command>,
    hood: watch::Receiver<Hood>,
    confirmations: watch::Receiver<()>,
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
    farewell: Farewell,
    kept: watch::Sender<Kept>,
    transitions: Arc<TransitionCounters>,
    waiting: watch::Sender<Option<String>>,
    news: Arc<News>,
    /// What others were told last that there is news of.
    outline: Option<Outline>,
    board: Arc<SaidBoard>,
    /// What other proxies were told last.
    told: Option<ChainSaid>,
    /// Where this proxy stood when it was looked at last.
    hood: Option<Hood>,
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
    /// Others say something new, or stand by their words where that matters, or this proxy stands elsewhere among them.
    Hood,
    Move,
    GiveBack,
    /// The proxy stops.
    End,
}

impl ChainTask {
    async fn run(mut self, mut inbox: Inbox) {
        // Clients are served meanwhile, by what is configured.
        self.settle();
        let placed = async { drop(inbox.hood.wait_for(|hood| !hood.unknown).await) };
        tokio::select! {
            // however that ends: what is known then is what there is
            _ = tokio::time::timeout(PLACED_WITHIN, placed) => {}
            () = inbox.ended.cancelled() => {}
        }
        self.look_around(&mut inbox.hood);
        self.settle();
        loop {
            let input = self.next(&mut inbox).await;
            // That others stand by their words wakes nobody who does not wait for it: it is looked at before anything is decided.
            let heeded = self.look_around(&mut inbox.hood);
            if matches!(input, Input::Hood) && !heeded {
                continue;
            }
            let mut more = Some(input);
            let mut taken = 0;
            while let Some(input) = more {
                match input {
                    Input::Event(event) => self.take(event),
                    Input::Hood => {}
                    Input::Move => self.mover.turn(Instant::now()).await,
                    Input::GiveBack => self.farewell.turn(Instant::now()).await,
                    Input::Command(Command::Configure(chain, done)) => {
                        self.configure(chain);
                        let _ = done.send(());
                    }
                    Input::Command(Command::Report(answer)) => {
                        let _ = answer.send(self.state.report(Now::read()));
                    }
                    Input::Command(Command::Bearings(answer)) => {
                        let _ = answer.send(self.state.bearings(Now::read()));
                    }
                    Input::Command(Command::Return(answer)) => {
                        let _ = answer.send(self.state.may_return(Instant::now()));
                        self.take(Event::Return);
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
        let back_at = self.farewell.turn_at();
        tokio::select! {
            command = inbox.orders.recv() => command.map_or(Input::End, Input::Command),
            () = inbox.ended.cancelled() => Input::End,
            Some(failed) = inbox.feedback.recv() => Input::Event(Event::ConnectFailed(failed)),
            Some(probed) = inbox.probed.recv() => Input::Event(probed.into()),
            (question, lookup) = self.lookups.next() => Input::Event(Event::Resolved(question, lookup)),
            Ok(()) = inbox.hood.changed() => Input::Hood,
            Ok(()) = inbox.confirmations.changed(), if self.state.is_attentive() => Input::Hood,
            () = sleep_until(tick_at.unwrap_or(now).into()), if tick_at.is_some() => Input::Event(Event::Tick),
            () = sleep_until(move_at.unwrap_or(now).into()), if move_at.is_some() => Input::Move,
            () = sleep_until(back_at.unwrap_or(now).into()), if back_at.is_some() => Input::GiveBack,
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

    /// Tells the state where this proxy stands among others, and what they say; what is as it was is not told again. Whether
    /// it drew conclusions from that.
    fn look_around(&mut self, hood: &mut watch::Receiver<Hood>) -> bool {
        let before = self.state.conclusions();
        let hood = hood.borrow_and_update().clone();
        let known = self.hood.replace(hood.clone());
        let known = known.as_ref();
        if known.is_none_or(|known| known.leaving != hood.leaving) {
            self.take(Event::Draining(hood.leaving));
        }
        if known.is_none_or(|known| !Arc::ptr_eq(&known.remotes, &hood.remotes)) {
            self.take(Event::Remotes(hood.remotes));
        }
        if known.is_none_or(|known| known.topology != hood.topology) {
            self.take(Event::Topology(hood.topology));
        }
        if known.is_none_or(|known| !Arc::ptr_eq(&known.neighbours, &hood.neighbours)) {
            self.take(Event::Neighbours(hood.neighbours));
        }
        self.state.conclusions() != before
    }

    fn configure(&mut self, chain: Arc<Chain>) {
        self.mover.set_pace(chain.failover.pace);
        self.farewell.set_pace(chain.failover.pace);
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
            TransitionKind::FailedOver
            | TransitionKind::BackendDown
            | TransitionKind::EndpointsStale
            | TransitionKind::RedirectStarted => {
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
        let outline = self.state.outline();
        if self.outline.as_ref() != Some(&outline) {
            self.outline = Some(outline);
            self.news.tell(&self.chain.id);
        }
        self.farewell.set(self.state.giving_back(now.mono), now.mono);
        let said = self.state.said();
        if self.told.as_ref() != Some(&said) {
            self.board.say(&self.chain.id, said.clone());
            self.told = Some(said);
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
            board,
            ..
        } = self;
        if forget {
            board.forget(&chain.id);
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
                begun,
                result,
            } => Self::Probed {
                endpoint,
                monitor,
                begun,
                result,
            },
            Probed::Confirmed {
                endpoint,
                begun,
                result,
            } => Self::Confirmed {
                endpoint,
                begun,
                result,
            },
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
