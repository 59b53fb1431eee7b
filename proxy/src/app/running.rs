//! What runs. In: snapshots. Out: chains that are started, told or ended, by what differs from the snapshot before;
//! and everything that admin endpoints and metrics want to know.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use switchyard_snapshot::{Chain, ChainId, ResourceId, Snapshot};
use tokio::sync::{Mutex as AsyncMutex, watch};

use super::cut_off::Serving;
use super::pulse::Pulse;
use super::remotes::Alive;
use super::{Applied, Hood, NotListening, ProxyConfig, SaidBoard, Source, StartError};
use crate::chain::state::ChainReport;
use crate::chain::task::{ChainControl, Surroundings};
use crate::clock::Now;
use crate::drain::{Life, Phase};
use crate::gossip::GossipCounters;
use crate::monitor::prober::ProbeCounters;
use crate::report::News;
use crate::resolve::Resolver;
use crate::route::Routing;
use crate::state_dir::StateDir;
use crate::tasks::Tasks;
use crate::tls;
use crate::worker::{WorkerConfig, Workers};

/// A drain waits so long for a configuration that is being applied.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);

/// A listener that could not be bound is tried again after this long.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);

/// The parts of one proxy.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    started: Now,
    around: Surroundings,
    tasks: Tasks,
    life: Arc<Life>,
    chains: Mutex<BTreeMap<ChainId, Member>>,
    standing: watch::Sender<Arc<Standing>>,
    source: Mutex<Option<Source>>,
    cut_off: Mutex<Option<String>>,
    hood: watch::Sender<Hood>,
    confirmations: watch::Sender<()>,
    remotes: watch::Sender<Alive>,
    gossip: Mutex<Option<Arc<GossipCounters>>>,
    tls: tls::Keeper,
    /// Whoever changes what listens holds this: snapshots are applied one after the other, and none once it drains.
    applying: Arc<AsyncMutex<()>>,
    pulse: Pulse,
}

#[derive(Clone, Debug)]
struct Member {
    chain: Arc<Chain>,
    control: Arc<ChainControl>,
}

/// The newest snapshot and what became of it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What runs; none: nothing yet.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Counts the snapshots that changed something.
    pub generation: u64,
    /// When the newest one came, changed or not.
    pub confirmed: Now,
    /// When the one that runs was applied.
    pub since: Now,
    /// What became of it.
    pub applied: Applied,
    /// Entries and listeners refused since the start.
    pub rejections: u64,
}

impl Standing {
    /// Resources that do not run as they should, and why: entries that break a rule, listeners that could not be bound, and
    /// the chains that clients reach by those alone.
    pub fn not_running(&self) -> BTreeMap<ResourceId, String> {
        let mut reasons: BTreeMap<ResourceId, String> = BTreeMap::new();
        let mut add = |resource: ResourceId, why: &str| {
            reasons
                .entry(resource)
                .and_modify(|reason| *reason = format!("{reason}; {why}"))
                .or_insert_with(|| why.to_owned());
        };
        for invalid in &self.applied.rejected {
            add(invalid.resource.clone(), &invalid.why);
        }
        let chains = self.snapshot.iter().flat_map(|snapshot| &snapshot.chains);
        for NotListening { listener, why } in &self.applied.listen_errors {
            add(ResourceId::Listener(listener.clone()), why);
            for chain in chains.clone().filter(|chain| chain.listener == *listener) {
                add(ResourceId::Chain(chain.id.clone()), why);
            }
        }
        reasons
    }
}

impl Running {
    pub(super) fn start(config: ProxyConfig, tasks: Tasks) -> Result<Self, StartError> {
        let state_dir = config.state_dir.as_deref().map(|path| {
            StateDir::open(path).map_err(|source| StartError::System {
                doing: format!("create {}", path.display()),
                source,
            })
        });
        let workers = Workers::start(WorkerConfig {
            count: config.workers,
            bind: config.bind,
            descriptors: config.descriptors,
            access_log: config.access_log,
        });
        let workers = workers.map_err(|source| StartError::System {
            doing: "start data workers".to_owned(),
            source,
        })?;
        let started = Now::read();
        let hood = watch::Sender::new(Hood {
            unknown: true,
            ..Hood::default()
        });
        let confirmations = watch::Sender::default();
        Ok(Self {
            name: config.name,
            started,
            around: Surroundings {
                resolver: config.resolver,
                workers: Arc::new(workers),
                probes: Arc::default(),
                news: Arc::default(),
                hood: hood.subscribe(),
                confirmations: confirmations.subscribe(),
                said: Arc::default(),
                state_dir: state_dir.transpose()?,
            },
            tasks,
            life: Arc::default(),
            chains: Mutex::default(),
            standing: watch::Sender::new(Arc::new(Standing {
                snapshot: None,
                generation: 0,
                confirmed: started,
                since: started,
                applied: Applied::default(),
                rejections: 0,
            })),
            source: Mutex::default(),
            cut_off: Mutex::default(),
            hood,
            confirmations,
            remotes: watch::Sender::default(),
            gossip: Mutex::default(),
            tls: tls::Keeper::of_process(),
            applying: Arc::default(),
            pulse: Pulse::default(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn started(&self) -> Now {
        self.started
    }

    pub(crate) fn life(&self) -> &Life {
        &self.life
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        &self.around.resolver
    }

    pub(crate) fn workers(&self) -> &Arc<Workers> {
        &self.around.workers
    }

    pub(crate) fn probes(&self) -> &ProbeCounters {
        &self.around.probes
    }

    pub(crate) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing.borrow())
    }

    /// Changes with each snapshot, and when a listener that could not be bound is.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.subscribe()
    }

    /// Where this proxy stands among others. It changes, for whoever awaits that, with news alone.
    pub(crate) fn hood(&self) -> &watch::Sender<Hood> {
        &self.hood
    }

    /// Changes whenever the others are heard, even if all they say is that they stand by their words.
    pub(crate) fn confirmations(&self) -> &watch::Sender<()> {
        &self.confirmations
    }

    /// What goes over the wire of gossip; none: this proxy has talked to nobody yet.
    pub(crate) fn gossip(&self) -> Option<Arc<GossipCounters>> {
        self.gossip.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn tell_gossip(&self, counters: Arc<GossipCounters>) {
        *self.gossip.lock().unwrap_or_else(PoisonError::into_inner) = Some(counters);
    }

    /// Which chains beyond this cluster live.
    pub(super) fn remotes(&self) -> watch::Receiver<Alive> {
        self.remotes.subscribe()
    }

    /// Tells it.
    pub(super) fn tell_remotes(&self) -> &watch::Sender<Alive> {
        &self.remotes
    }

    /// What chains say of themselves.
    pub(crate) fn board(&self) -> &SaidBoard {
        &self.around.said
    }

    /// Which chains have something new to report.
    pub(crate) fn news(&self) -> &News {
        &self.around.news
    }

    pub(super) fn tell_source(&self, source: Source) {
        let mut known = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let was_in_sync = known.as_ref().is_some_and(|known| known.in_sync);
        if was_in_sync && !source.in_sync {
            // until now somebody would have said if it were different
            self.standing
                .send_modify(|standing| Arc::make_mut(standing).confirmed = Now::read());
        }
        *known = Some(source);
    }

    /// Where snapshots come from; none: nobody has said.
    pub(crate) fn source(&self) -> Option<Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the first snapshot.
    pub(super) async fn configured(&self) {
        let _ = self
            .changes()
            .wait_for(|standing| standing.snapshot.is_some())
            .await;
    }

    pub(crate) fn controls(&self) -> Vec<Arc<ChainControl>> {
        self.chains()
            .values()
            .map(|member| Arc::clone(&member.control))
            .collect()
    }

    /// What every chain believes, in order; none for a chain that does not answer.
    pub(crate) async fn reports(&self) -> Vec<(Arc<ChainControl>, Option<ChainReport>)> {
        reports_of(self.controls()).await
    }

    /// What chains must learn before they can serve as they should.
    pub(crate) fn waiting_for(&self) -> Vec<String> {
        if self.standing().snapshot.is_none() {
            let why = self.source().and_then(|source| source.error);
            return vec![why.map_or_else(
                || "its configuration".to_owned(),
                |why| format!("its configuration: {why}"),
            )];
        }
        let chains = self.chains();
        chains
            .values()
            .filter_map(|member| member.control.waiting_for().borrow().clone())
            .collect()
    }

    /// Which of the chains have somewhere to send a client.
    pub(super) fn serving(&self) -> Serving {
        let chains = self.chains();
        Serving::of(chains.values().map(|member| {
            let view = member.control.handle.view();
            view.empty.is_none() || view.detour.is_some()
        }))
    }

    /// Why clients had better be led to another proxy, as last looked at; none: they need not.
    pub(crate) fn cut_off(&self) -> Option<String> {
        let why = self.cut_off.lock().unwrap_or_else(PoisonError::into_inner);
        why.clone()
    }

    pub(super) fn tell_cut_off(&self, now: Option<&str>) {
        let mut why = self.cut_off.lock().unwrap_or_else(PoisonError::into_inner);
        if why.as_deref() != now {
            *why = now.map(str::to_owned);
        }
    }

    /// Waits until another proxy has been heard, if there is one to be heard.
    pub(super) async fn heard(&self) {
        let standing = self.standing();
        let others = standing.snapshot.as_ref().is_some_and(|snapshot| {
            let listed = snapshot.peers.iter().flat_map(|pool| &pool.proxies);
            let seeds = snapshot.pool.gossip.iter().flat_map(|gossip| &gossip.seeds);
            // oneself may be among them
            listed.flatten().count() + seeds.count() > 1
        });
        if others {
            let mut hood = self.hood.subscribe();
            let _ = hood.wait_for(|hood| !hood.neighbours.peers.is_empty()).await;
        }
    }

    /// Waits until every chain that runs now knows where it stands.
    pub(super) async fn informed(&self) {
        for control in self.controls() {
            let _ = control.waiting_for().wait_for(Option::is_none).await;
        }
    }

    /// Begins to drain, or hurries.
    pub(crate) fn drain(&self) {
        let standing = self.standing();
        let time = standing
            .snapshot
            .as_ref()
            .map_or_else(Default::default, |s| s.pool.drain_timeout);
        if self.life.request(time) {
            let (life, workers) = (Arc::clone(&self.life), Arc::clone(self.workers()));
            let (applying, cancelled) = (Arc::clone(&self.applying), self.tasks.cancelled());
            self.tasks.spawn("drain", async move {
                let work = async {
                    // a snapshot that is being applied may still open listeners
                    let applying = tokio::time::timeout(APPLIED_WITHIN, applying.lock()).await;
                    if applying.is_err() {
                        tracing::error!(
                            "a configuration is still being applied after {APPLIED_WITHIN:?}: draining nevertheless"
                        );
                    }
                    workers.stop_accepting().await;
                    drop(applying);
                    life.run(&workers).await;
                };
                tokio::select! {
                    () = work => {}
                    () = cancelled.cancelled() => {}
                }
            });
        }
    }

    /// Makes what runs that of `snapshot`.
    pub(super) async fn apply(&self, snapshot: Snapshot) -> Applied {
        let _one_at_a_time = self.applying.lock().await;
        if self.is_leaving() {
            tracing::warn!("a new configuration is not applied: the proxy drains");
            return Applied {
                draining: true,
                ..self.standing().applied.clone()
            };
        }
        let now = Now::read();
        let (snapshot, mut rejected) = snapshot.validate();
        let (snapshot, unusable) = self.tls.prepare(snapshot);
        rejected.extend(unusable);
        let before = self.standing();
        if before.snapshot.as_deref() == Some(&snapshot)
            && before.applied.rejected == rejected
            && before.applied.listen_errors.is_empty()
        {
            self.stand(Standing {
                confirmed: now,
                ..(*before).clone()
            });
            return before.applied.clone();
        }
        let gone = self.start_and_configure(&snapshot).await;
        let listen_errors = self.route(&snapshot).await;
        for (control, forget) in gone {
            control.remove(forget).await;
        }
        let applied = Applied {
            rejected,
            listen_errors,
            draining: false,
        };
        for why in applied
            .rejected
            .iter()
            .map(ToString::to_string)
            .chain(applied.listen_errors.iter().map(ToString::to_string))
        {
            tracing::error!(why, "part of the configuration does not run");
        }
        self.stand(Standing {
            snapshot: Some(Arc::new(snapshot)),
            generation: before.generation + 1,
            confirmed: now,
            since: now,
            rejections: before.rejections + (applied.rejected.len() + applied.listen_errors.len()) as u64,
            applied: applied.clone(),
        });
        applied
    }

    /// Tells data workers what leads where; what could not be bound.
    async fn route(&self, snapshot: &Snapshot) -> Vec<NotListening> {
        let handles: HashMap<_, _> = {
            let chains = self.chains();
            let handles = chains
                .iter()
                .map(|(id, member)| (id.clone(), Arc::clone(&member.control.handle)));
            handles.collect()
        };
        let errors = self
            .workers()
            .apply(Arc::new(Routing::new(snapshot, &handles, &self.tls, &self.name)))
            .await;
        let errors = errors.iter().map(|error| NotListening {
            listener: error.listener.clone(),
            why: error.to_string(),
        });
        errors.collect()
    }

    /// Tries again, now and then, to bind what could not be bound; never ends.
    pub(super) async fn keep_listening(&self) {
        loop {
            tokio::time::sleep(LISTEN_AGAIN).await;
            let _one_at_a_time = self.applying.lock().await;
            let before = self.standing();
            let Some(snapshot) = &before.snapshot else {
                continue;
            };
            if before.applied.listen_errors.is_empty() || self.is_leaving() {
                continue;
            }
            let listen_errors = self.route(snapshot).await;
            if listen_errors.is_empty() {
                tracing::info!("every listener is bound now");
            }
            if listen_errors == before.applied.listen_errors {
                continue;
            }
            let mut standing = (*before).clone();
            standing.applied.listen_errors = listen_errors;
            self.stand(standing);
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.life.phase(), Phase::Draining { .. } | Phase::Drained)
    }

    fn stand(&self, standing: Standing) {
        self.standing.send_replace(Arc::new(standing));
    }

    /// Starts what is new, tells what changed, and hands back who has to go once nothing leads there any more: with
    /// whether what is stored of it has to go, too.
    async fn start_and_configure(&self, snapshot: &Snapshot) -> Vec<(Arc<ChainControl>, bool)> {
        let mut gone = Vec::new();
        let mut changed = Vec::new();
        {
            let mut chains = self.chains();
            let mut before = std::mem::take(&mut *chains);
            for chain in &snapshot.chains {
                let chain = Arc::new(chain.clone());
                let control = match before.remove(&chain.id) {
                    Some(member) if member.chain == chain => member.control,
                    // the sessions of a chain that moves to another listener are its own affair: they leave
                    Some(member) if member.chain.listener != chain.listener => {
                        gone.push((member.control, false));
                        self.start_chain(&chain)
                    }
                    Some(member) => {
                        changed.push((Arc::clone(&member.control), Arc::clone(&chain)));
                        member.control
                    }
                    None => self.start_chain(&chain),
                };
                chains.insert(chain.id.clone(), Member { chain, control });
            }
            gone.extend(before.into_values().map(|member| (member.control, true)));
        }
        join_all(
            changed
                .iter()
                .map(|(control, chain)| control.configure(Arc::clone(chain))),
        )
        .await;
        gone
    }

    fn start_chain(&self, chain: &Arc<Chain>) -> Arc<ChainControl> {
        Arc::new(ChainControl::start(Arc::clone(chain), &self.around, &self.tasks))
    }

    /// Ends the data workers. Tasks must have ended before.
    pub(super) async fn end(self: Arc<Self>) {
        let Some(Self { around, .. }) = Arc::into_inner(self) else {
            tracing::error!("a task outlived the proxy: its workers end with the process");
            return;
        };
        if let Some(workers) = Arc::into_inner(around.workers) {
            workers.stop().await;
        }
    }

    fn chains(&self) -> MutexGuard<'_, BTreeMap<ChainId, Member>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn beat(&self) {
        self.pulse.beat(self.uptime());
    }

    /// Whether who feeds this proxy stands still.
    pub(crate) fn is_fed_no_more(&self) -> bool {
        self.pulse.has_hung(self.uptime())
    }

    /// How long it has been running.
    pub(crate) fn uptime(&self) -> Duration {
        Instant::now().duration_since(self.started.mono)
    }
}

/// What each of these chains believes, in their order; none for one that does not answer.
pub(crate) async fn reports_of(
    chains: Vec<Arc<ChainControl>>,
) -> Vec<(Arc<ChainControl>, Option<ChainReport>)> {
    let asked = chains.into_iter().map(|control| async move {
        let report = control.report().await;
        (control, report)
    });
    join_all(asked).await
}
