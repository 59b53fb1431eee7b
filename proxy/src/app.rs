//! One proxy of one pool, wired. In: a [`ProxyConfig`] and one [`Snapshot`] after the other. Out: bound listeners, an
//! admin address, and clients that are relayed; [`Proxy::failed`] says if a part of it died.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use switchyard_snapshot::{Invalid, Snapshot};

use crate::resolve::Resolver;

/// What a proxy is told once, when it starts; the rest stands in snapshots.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Its name, as people see it: `dmz-a-0`.
    pub name: String,
    /// Where listeners without addresses of their own are bound; none: on all local addresses.
    pub bind: Option<IpAddr>,
    /// The address others shall use for this proxy; none: the bound one.
    pub advertise: Option<IpAddr>,
    /// Where the admin endpoints listen. Loopback unless you mean it: they tell everything, and drain on request.
    pub admin: SocketAddr,
    /// Data workers, one thread each.
    pub workers: NonZeroUsize,
    /// Where epochs are kept, so that a restart goes on where we are; none: nothing is kept.
    pub state_dir: Option<PathBuf>,
    /// Where the access log goes; none: nowhere.
    pub access_log: Option<PathBuf>,
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
}

/// What became of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries that break a rule: not running, and why.
    pub rejected: Vec<Invalid>,
    /// Listeners that could not be bound, in words: `listener sync: 127.0.0.1:8443: address in use`. What was bound
    /// before goes on.
    pub listen_errors: Vec<String>,
}

impl Applied {
    /// Nothing was refused.
    pub fn is_clean(&self) -> bool {
        self.rejected.is_empty() && self.listen_errors.is_empty()
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
    /// Threads, the state directory or the access log.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried: `create /var/lib/switchyard`.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    config: ProxyConfig,
    running: Mutex<Arc<Snapshot>>,
    applied: Mutex<Arc<Applied>>,
}

impl Proxy {
    /// Binds every listener and the admin address, starts workers and chains. Returns once all is bound; whether it
    /// is ready to serve says [`Proxy::ready`]. Entries of the snapshot that break a rule do not run, see
    /// [`Proxy::applied`].
    pub async fn start(config: ProxyConfig, snapshot: Snapshot) -> Result<Self, StartError> {
        let (snapshot, rejected) = snapshot.validate();
        let applied = Applied {
            rejected,
            listen_errors: Vec::new(),
        };
        Ok(Self {
            config,
            running: Mutex::new(Arc::new(snapshot)),
            applied: Mutex::new(Arc::new(applied)),
        })
    }

    /// Where it listens.
    pub fn bound(&self) -> Bound {
        Bound {
            listeners: Vec::new(),
            admin: self.config.admin,
        }
    }

    /// Makes the running state that of `snapshot`. What did not change is not touched; a bad entry rejects itself
    /// only. Returns once the change has taken effect for new connections.
    pub async fn apply(&self, snapshot: Snapshot) -> Applied {
        let (snapshot, rejected) = snapshot.validate();
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
        let applied = Applied {
            rejected,
            listen_errors: Vec::new(),
        };
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(applied.clone());
        applied
    }

    /// What became of the newest snapshot.
    pub fn applied(&self) -> Arc<Applied> {
        Arc::clone(&self.applied.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until listeners are bound and each chain knows where it stands (a DNS answer or failure, and a probe
    /// result, for each of its backends); 5 s at most.
    pub async fn ready(&self) {}

    /// Drains: accepts nobody new, waits until all sessions have left or the pool's drain timeout is over, then
    /// closes the rest. Asked a second time while it drains, it closes the rest at once. Returns when all are gone.
    pub async fn drain(&self) {}

    /// Waits for the end of a drain that somebody asked for (`POST /drain`, or [`Proxy::drain`]).
    pub async fn drained(&self) {}

    /// Waits for a part that dies, and says which in words. The process should end then.
    pub async fn failed(&self) -> String {
        self.config.resolver.died().await
    }

    /// Ends everything at once and waits for it.
    pub async fn stop(self) {}
}
