//! New connections at a fixed rate, whatever becomes of the earlier ones
//! (open loop): each asks one backend for its name and leaves.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use super::{Conversation, Dialog, End, Outcome, Outcomes};
use crate::eventually::let_pass;
use crate::lab::Host;

/// What a load does.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// Where to.
    pub to: SocketAddr,
    /// Connections begun per second.
    pub per_second: u32,
    /// Who speaks first.
    pub dialog: Dialog,
    /// Time for one connection, from begin to end.
    pub deadline: Duration,
}

impl LoadPlan {
    /// Clients that ask, and give up after 10 s.
    pub fn new(to: SocketAddr, per_second: u32) -> Self {
        Self {
            to,
            per_second,
            dialog: Dialog::Ask,
            deadline: Duration::from_secs(10),
        }
    }
}

/// A running load.
pub struct Load {
    host: Host,
    plan: LoadPlan,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Load {
    /// Starts clients on `host`.
    pub fn start(host: &Host, plan: LoadPlan) -> Self {
        let outcomes = Arc::default();
        let (stop, stopped) = watch::channel(false);
        let task = host.spawn(generate(plan.clone(), Arc::clone(&outcomes), stopped));
        Self {
            host: host.clone(),
            plan,
            outcomes,
            stop,
            task,
        }
    }

    /// Runs clients on `host` for `period`, and tells about all.
    ///
    /// # Panics
    /// As [`Load::stop`].
    pub fn run(host: &Host, plan: LoadPlan, period: Duration) -> Outcomes {
        let load = Self::start(host, plan);
        let_pass(period);
        load.stop()
    }

    /// What became of the connections that have ended so far.
    pub fn so_far(&self) -> Outcomes {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        Outcomes::new(outcomes.clone())
    }

    /// Begins no more, lets the open ones end, and tells about all.
    ///
    /// # Panics
    /// When they do not end by their deadlines.
    pub fn stop(self) -> Outcomes {
        self.stop.send_replace(true);
        let limit = self.plan.deadline + Duration::from_secs(5);
        let task = self.task;
        self.host
            .block_on(async move { tokio::time::timeout(limit, task).await })
            .expect("clients end by their deadlines")
            .expect("clients do not panic");
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        Outcomes::new(std::mem::take(&mut *outcomes))
    }
}

async fn generate(plan: LoadPlan, outcomes: Arc<Mutex<Vec<Outcome>>>, mut stopped: watch::Receiver<bool>) {
    let mut schedule = interval(Duration::from_secs(1) / plan.per_second);
    schedule.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            due = schedule.tick() => {
                let (plan, outcomes) = (plan.clone(), Arc::clone(&outcomes));
                clients.spawn(async move {
                    let outcome = visit(&plan, due.into_std()).await;
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                });
            }
            Some(_) = clients.join_next() => {}
            _ = stopped.wait_for(|stop| *stop) => break,
        }
    }
    while clients.join_next().await.is_some() {}
}

async fn visit(plan: &LoadPlan, due: Instant) -> Outcome {
    let begun = Instant::now();
    let deadline = begun + plan.deadline;
    let mut outcome = Outcome {
        begun,
        late: begun.saturating_duration_since(due),
        connected: None,
        served: None,
        end: End::Timeout,
        lasted: Duration::ZERO,
    };
    outcome.end = match converse(plan, deadline, &mut outcome).await {
        Ok(end) | Err(end) => end,
    };
    outcome.lasted = begun.elapsed();
    outcome
}

async fn converse(plan: &LoadPlan, deadline: Instant, outcome: &mut Outcome) -> Result<End, End> {
    let mut conversation = Conversation::connect(plan.to, deadline).await?;
    outcome.connected = Some(outcome.begun.elapsed());
    let (at, greeting) = conversation.greeting(plan.dialog, deadline).await?;
    outcome.served = Some((at - outcome.begun, greeting));
    Ok(conversation.finish(deadline).await)
}
