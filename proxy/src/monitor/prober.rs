//! The probes of one chain. In: which endpoints to probe, and how. Out: results, through one bounded queue.
//!
//! Each monitor of each endpoint is a task of its own: a slow endpoint delays nobody else's probe. All of them end,
//! and are joined, with the [`Probers`] that own them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use switchyard_snapshot::{Health, Monitor};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::{Fault, Target, knock, probe};
use crate::endpoint::EndpointId;

/// Probes may come earlier than the interval says by up to this share of it, so that endpoints learnt together drift
/// apart; never later, so that a dead endpoint is noticed in time.
const JITTER: f64 = 0.1;

/// First probes fall into so short a time after they are ordered.
const START_SPREAD: Duration = Duration::from_millis(20);

/// The second confirming connect begins so long after the first.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// How many results may wait for the chain's task; probes wait then.
const RESULTS_BOUND: usize = 256;

/// What a probe brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// A monitor's probe.
    Monitor {
        /// Of which endpoint.
        endpoint: EndpointId,
        /// Index into the chain's monitors.
        monitor: usize,
        /// When it began.
        begun: Instant,
        /// Why it failed, in words.
        result: Result<(), String>,
    },
    /// A confirming connect.
    Confirmed {
        /// To which endpoint.
        endpoint: EndpointId,
        /// When it began.
        begun: Instant,
        /// Why it failed, in words.
        result: Result<(), String>,
    },
}

/// Probes counted by what became of them.
#[derive(Debug, Default)]
pub struct ProbeCounters {
    /// The endpoint did what was asked.
    pub passed: AtomicU64,
    /// It did not.
    pub failed: AtomicU64,
    /// The probe could not be made, for reasons of our own: it counts neither way.
    pub skipped: AtomicU64,
}

/// The running probes of one chain.
#[derive(Debug)]
pub struct Probers {
    running: BTreeMap<(EndpointId, usize), Running>,
    confirming: BTreeMap<EndpointId, AbortHandle>,
    tasks: JoinSet<()>,
    results: mpsc::Sender<Probed>,
    counters: Arc<ProbeCounters>,
}

#[derive(Debug)]
struct Running {
    job: Job,
    task: AbortHandle,
}

/// Everything a probing task goes by; a changed job is a new task.
#[derive(Clone, Debug, PartialEq)]
struct Job {
    target: Target,
    monitor: Monitor,
    interval: Duration,
    timeout: Duration,
}

impl Probers {
    /// None running; results come out of the other end.
    pub fn new(counters: Arc<ProbeCounters>) -> (Self, mpsc::Receiver<Probed>) {
        let (results, out) = mpsc::channel(RESULTS_BOUND);
        let probers = Self {
            running: BTreeMap::new(),
            confirming: BTreeMap::new(),
            tasks: JoinSet::new(),
            results,
            counters,
        };
        (probers, out)
    }

    /// Probes these endpoints from now on, and no others. Tasks whose orders did not change are not touched; new ones
    /// begin at once.
    pub fn watch(&mut self, targets: &BTreeMap<EndpointId, Target>, health: &Health) {
        let jobs = targets.iter().flat_map(|(&endpoint, target)| {
            health.monitors.iter().enumerate().map(move |(index, monitor)| {
                let job = Job {
                    target: target.clone(),
                    monitor: monitor.clone(),
                    interval: health.interval,
                    timeout: health.timeout,
                };
                ((endpoint, index), job)
            })
        });
        let mut jobs: BTreeMap<_, _> = jobs.collect();
        self.running.retain(|key, running| {
            let keep = jobs.get(key) == Some(&running.job);
            if keep {
                jobs.remove(key);
            } else {
                running.task.abort();
            }
            keep
        });
        for ((endpoint, monitor), job) in jobs {
            let (results, counters) = (self.results.clone(), Arc::clone(&self.counters));
            let work = job.clone();
            let task = self.tasks.spawn(async move {
                work.run(endpoint, monitor, &results, &counters).await;
            });
            self.running.insert((endpoint, monitor), Running { job, task });
        }
        let known: BTreeSet<_> = targets.keys().copied().collect();
        self.confirming.retain(|endpoint, task| {
            let keep = known.contains(endpoint);
            if !keep {
                task.abort();
            }
            keep
        });
        self.reap();
    }

    /// Connects to the endpoint's own port at once and again shortly after, then at the health interval until it
    /// passes or [`Probers::stop_confirming`] is called. Ends what an earlier call began: whoever has just heard that a
    /// probe passed may want the next before the task of that one is over.
    pub fn confirm(&mut self, endpoint: EndpointId, target: &Target, health: &Health) {
        let confirm = Confirm {
            endpoint,
            address: target.address,
            interval: health.interval,
            timeout: health.timeout,
            results: self.results.clone(),
            counters: Arc::clone(&self.counters),
        };
        let task = self.tasks.spawn(confirm.run());
        if let Some(former) = self.confirming.insert(endpoint, task) {
            former.abort();
        }
        self.reap();
    }

    /// No more of that.
    pub fn stop_confirming(&mut self, endpoint: EndpointId) {
        if let Some(task) = self.confirming.remove(&endpoint) {
            task.abort();
        }
        self.reap();
    }

    /// Ends all probes and waits for them.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    /// Joins what has ended. A probe that died takes its chain's task with it, which is noticed.
    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

impl Job {
    async fn run(
        self,
        endpoint: EndpointId,
        monitor: usize,
        results: &mpsc::Sender<Probed>,
        counters: &ProbeCounters,
    ) {
        tokio::time::sleep(START_SPREAD.mul_f64(fastrand::f64())).await;
        // the second probe falls anywhere into the interval, so that endpoints learnt together are not probed together
        let mut pause = self.interval.mul_f64(fastrand::f64());
        loop {
            let begun = Instant::now();
            let ended = probe(&self.target, &self.monitor, self.timeout).await;
            if let Some(result) = counters.judge(ended) {
                let probed = Probed::Monitor {
                    endpoint,
                    monitor,
                    begun,
                    result,
                };
                if results.send(probed).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep_until((begun + pause).into()).await;
            pause = self.interval.mul_f64(1.0 - JITTER * fastrand::f64());
        }
    }
}

/// One endpoint under suspicion.
struct Confirm {
    endpoint: EndpointId,
    address: SocketAddr,
    interval: Duration,
    timeout: Duration,
    results: mpsc::Sender<Probed>,
    counters: Arc<ProbeCounters>,
}

impl Confirm {
    async fn run(self) {
        // side by side: where nothing answers, two looks fail as close together as they began
        let mut looks: FuturesUnordered<_> = [Duration::ZERO, SECOND_LOOK]
            .into_iter()
            .map(|delay| self.look(delay))
            .collect();
        while let Some(passed) = looks.next().await {
            if passed {
                return;
            }
        }
        while !self.look(self.interval).await {}
    }

    /// Connects after `delay` and reports; true: it passed, or nobody listens.
    async fn look(&self, delay: Duration) -> bool {
        tokio::time::sleep(delay).await;
        let begun = Instant::now();
        let Some(result) = self.counters.judge(knock(self.address, self.timeout).await) else {
            return false;
        };
        let passed = result.is_ok();
        let confirmed = Probed::Confirmed {
            endpoint: self.endpoint,
            begun,
            result,
        };
        self.results.send(confirmed).await.is_err() || passed
    }
}

impl ProbeCounters {
    /// Label and count of each result.
    pub fn all(&self) -> [(&'static str, u64); 3] {
        let counters = [
            ("passed", &self.passed),
            ("failed", &self.failed),
            ("skipped", &self.skipped),
        ];
        counters.map(|(label, counter)| (label, counter.load(Ordering::Relaxed)))
    }

    /// Counts; none: the probe says nothing about the endpoint.
    fn judge(&self, ended: Result<(), Fault>) -> Option<Result<(), String>> {
        let (counter, result) = match ended {
            Ok(()) => (&self.passed, Some(Ok(()))),
            Err(Fault::Endpoint(why)) => (&self.failed, Some(Err(why))),
            Err(Fault::Ours(why)) => {
                tracing::warn!(why, "a probe could not be made");
                (&self.skipped, None)
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }
}
