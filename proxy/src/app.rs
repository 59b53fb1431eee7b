//! One proxy of one pool, wired. In: a [`ProxyConfig`] and one [`Snapshot`] after the other. Out: bound listeners, an
//! admin address, and clients that are relayed; [`Proxy::failed`] says if a part of it died.

mod cut_off;
mod neighbourhood;
mod pulse;
mod remotes;
mod running;
mod source;

pub use neighbourhood::{Hood, SaidBoard};
pub use running::Standing;
pub(crate) use running::{Running, reports_of};
pub use source::Source;

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use switchyard_snapshot::{Invalid, Report, Snapshot};
use tokio::sync::watch;

use crate::access_log::AccessLog;
use crate::admin::{Admin, Page};
use crate::report;
use crate::resolve::Resolver;
use crate::tasks::Tasks;

/// What a proxy is told once, when it starts; the rest stands in snapshots.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Its name, as people see it: `dmz-a-0`.
    pub name: String,
    /// Where listeners without addresses of their own are bound; none: on all local addresses.
    pub bind: Option<IpAddr>,
    /// Where other proxies, and guests, reach this one; none: where its gossip seems to come from.
    pub advertise: Option<IpAddr>,
    /// Where the admin endpoints listen. Loopback unless you mean it: they tell everything, and drain on request.
    pub admin: SocketAddr,
    /// Where the health and metrics endpoints listen besides, for whoever may not see the rest; none: nowhere.
    pub health: Option<SocketAddr>,
    /// Data workers, one thread each.
    pub workers: NonZeroUsize,
    /// Where epochs are kept, so that a restart goes on where we are; none: nothing is kept.
    pub state_dir: Option<PathBuf>,
    /// Descriptors it may have open: a share of what [`crate::socket::raise_descriptor_limit`] returned, where several
    /// proxies share one process.
    pub descriptors: u64,
    /// Where a line per connection goes; none: nowhere. Clones of one log may serve several proxies; its writer ends
    /// once all of them are gone.
    pub access_log: Option<AccessLog>,
    /// Shared by all proxies of the process.
    pub resolver: Resolver,
}

/// Where a proxy listens, once it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Listener name and address, sorted.
    pub listeners: Vec<(String, SocketAddr)>,
    /// The admin endpoints.
    pub admin: SocketAddr,
    /// The health and metrics endpoints, if there are any besides.
    pub health: Option<SocketAddr>,
}

/// What became of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries that break a rule: not running, and why.
    pub rejected: Vec<Invalid>,
    /// Listeners that could not be bound, in words: `listener sync: 127.0.0.1:8443: address in use`. What was bound
    /// before goes on.
    pub listen_errors: Vec<NotListening>,
    /// The proxy drains: nothing of the snapshot was applied.
    pub draining: bool,
}

/// A listener that does not listen where it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotListening {
    /// Its name.
    pub listener: String,
    /// In words, and what to do.
    pub why: String,
}

impl fmt::Display for NotListening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Applied {
    /// Nothing was refused.
    pub fn is_clean(&self) -> bool {
        self.rejected.is_empty() && self.listen_errors.is_empty() && !self.draining
    }
}

/// Why a proxy did not start. Nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's port is taken, or the address is not ours.
    #[error("cannot listen: {}", .0.join("; "))]
    Listen(Vec<String>),
    /// The admin address is taken, or not ours.
    #[error("cannot listen for admin requests on {address}: {source}")]
    Admin {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Threads, or the state directory.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried: `create /var/lib/switchyard`.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// How long a proxy may look for its backends until it counts as ready all the same.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// How long it waits for a first word of others, which may know of a newer tier.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    running: Arc<Running>,
    tasks: Tasks,
    bound: Bound,
}

impl Proxy {
    /// Binds every listener and the admin address, starts workers and chains. Returns once all is bound; whether it
    /// is ready to serve says [`Proxy::ready`]. Entries of the snapshot that break a rule do not run, see
    /// [`Proxy::applied`].
    ///
    /// # Errors
    /// Whatever keeps it from doing so; then nothing of it runs.
    pub async fn start(config: ProxyConfig, snapshot: Snapshot) -> Result<Self, StartError> {
        let mut proxy = Self::launch(config).await?;
        let errors = proxy.apply(snapshot).await.listen_errors;
        if !errors.is_empty() {
            proxy.stop().await;
            return Err(StartError::Listen(
                errors.iter().map(ToString::to_string).collect(),
            ));
        }
        proxy.bound.listeners = proxy.listeners().await;
        Ok(proxy)
    }

    /// Binds the admin address and starts workers, without a snapshot yet: it listens to no client, and is not ready,
    /// until the first one is applied. A listener that cannot be bound then is tried again, see [`Proxy::applied`].
    ///
    /// # Errors
    /// Whatever keeps it from doing so; then nothing of it runs.
    pub async fn launch(config: ProxyConfig) -> Result<Self, StartError> {
        let admin = bind(config.admin, Page::ALL).await?;
        let health = match config.health {
            Some(address) => Some(bind(address, Page::HEALTH).await?),
            None => None,
        };
        let tasks = Tasks::new();
        let place = neighbourhood::Place {
            name: config.name.clone(),
            bind: config.bind,
            advertise: config.advertise,
        };
        let running = Arc::new(Running::start(config, tasks.clone())?);
        tasks.spawn(
            "neighbourhood",
            neighbourhood::keep(Arc::clone(&running), place, tasks.clone(), tasks.cancelled()),
        );
        let bound = Bound {
            listeners: Vec::new(),
            admin: admin.address(),
            health: health.as_ref().map(Admin::address),
        };
        tasks.spawn("admin", admin.serve(Arc::clone(&running), tasks.cancelled()));
        if let Some(health) = health {
            tasks.spawn("health", health.serve(Arc::clone(&running), tasks.cancelled()));
        }
        let remotes = remotes::keep(Arc::clone(&running), tasks.cancelled());
        tasks.spawn("remote chains", remotes);
        let waiter = Arc::clone(&running);
        let cancelled = tasks.cancelled();
        tasks.spawn("readiness", async move {
            let informed = async {
                waiter.configured().await;
                let heard = tokio::time::timeout(HEARD_WITHIN, waiter.heard());
                let informed = tokio::time::timeout(READY_WITHIN, waiter.informed());
                let _ = tokio::join!(heard, informed);
            };
            tokio::select! {
                () = informed => waiter.life().ready(),
                () = cancelled.cancelled() => {}
            }
        });
        let listening = Arc::clone(&running);
        let cancelled = tasks.cancelled();
        tasks.spawn("listener retry", async move {
            tokio::select! {
                () = listening.keep_listening() => {}
                () = cancelled.cancelled() => {}
            }
        });
        Ok(Self {
            running,
            tasks,
            bound,
        })
    }

    /// Where it listened when it started; a later snapshot may have changed that, see [`Proxy::listeners`].
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Listener name and address, as they are now.
    pub async fn listeners(&self) -> Vec<(String, SocketAddr)> {
        self.running.workers().addresses().await
    }

    /// Makes the running state that of `snapshot`. What did not change is not touched; a bad entry rejects itself
    /// only. Returns once the change has taken effect for new connections.
    pub async fn apply(&self, snapshot: Snapshot) -> Applied {
        self.running.apply(snapshot).await
    }

    /// What became of the newest snapshot.
    pub fn applied(&self) -> Applied {
        self.running.standing().applied.clone()
    }

    /// Changes when [`Proxy::applied`] may have: with each snapshot, and when a listener that could not be bound is.
    pub fn changes(&self) -> watch::Receiver<Arc<Standing>> {
        self.running.changes()
    }

    /// Says where snapshots come from, for people who look at the admin pages.
    pub fn tell_source(&self, source: Source) {
        self.running.tell_source(source);
    }

    /// Takes nobody new any more, or does not run any more.
    pub fn is_leaving(&self) -> bool {
        self.running.is_leaving()
    }

    /// Keeps `reports` at the newest state of this proxy: at once when it changes, at most once a second, and every 30 s
    /// in any case. Never ends.
    pub async fn keep_reporting(&self, reports: &watch::Sender<Option<Arc<Report>>>) {
        report::keep(&self.running, reports).await;
    }

    /// Waits until each chain knows where it stands (an answer or failure for each name, a result of each probe); 5 s
    /// at most.
    pub async fn ready(&self) {
        self.running.life().started().await;
    }

    /// Drains: accepts nobody new, waits until all sessions have left or the pool's drain timeout is over, then
    /// closes the rest. Asked a second time while it drains, it closes the rest at once. Returns when all are gone.
    pub async fn drain(&self) {
        self.running.drain();
        self.drained().await;
    }

    /// Waits for the end of a drain that somebody asked for (`POST /drain`, or [`Proxy::drain`]).
    pub async fn drained(&self) {
        self.running.life().drained().await;
    }

    /// Says, over and over and for ever, that who feeds this proxy goes on; to be polled by the task that does. Once begun, `/livez`
    /// notices when it stands still.
    pub async fn beat(&self) -> Infallible {
        loop {
            self.running.beat();
            tokio::time::sleep(pulse::EVERY).await;
        }
    }

    /// Waits for a part that dies, and says which in words. The process should end then.
    pub async fn failed(&self) -> String {
        tokio::select! {
            task = self.tasks.died() => task,
            task = self.running.resolver().died() => task,
        }
    }

    /// Ends everything at once and waits for it. The resolver goes on: it is shared.
    pub async fn stop(self) {
        self.tasks.stop().await;
        self.running.end().await;
    }
}

async fn bind(address: SocketAddr, pages: &'static [Page]) -> Result<Admin, StartError> {
    let bound = Admin::bind(address, pages).await;
    bound.map_err(|source| StartError::Admin { address, source })
}

#[cfg(test)]
mod tests;
