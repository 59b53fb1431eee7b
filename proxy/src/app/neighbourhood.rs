//! This proxy among others. In: the snapshot, what chains say of themselves, the load, whether it drains. Out: gossip that
//! runs as the snapshot says, and for every chain where it stands ([`Hood`]). Who does not gossip is told by the operator ([`Told`]).
//!
//! ```text
//!  chains ── said ──► board ─┐                    ┌─► Hood ─► chains
//!  workers ── load ──────────┼─► Said ─► gossip ──┘
//!  drain ────────────────────┘
//! ```

mod told;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use switchyard_snapshot::{ChainId, Gossip as Settings, PeerPool, PoolId, Snapshot};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::told::Told;
use super::Running;
use super::cut_off::CutOff;
use super::remotes::Alive;
use crate::counters::Occupancy;
use crate::drain::Phase;
use crate::gossip::{ChainSaid, Gossip, GossipConfig, Load, Neighbours, PeerId, Said};
use crate::redirect::Topology;
use crate::tasks::Tasks;

/// How often the load is looked at: as often as others are told of it at most.
const LOOK_AT_LOAD: Duration = Duration::from_millis(500);
/// A port that is taken is tried again after this long.
const BIND_AGAIN: Duration = Duration::from_secs(2);

/// Where this proxy stands.
#[derive(Clone, Debug, Default)]
pub struct Hood {
    /// It is not known yet whom it talks to: chains that start wait for that, for a moment.
    pub unknown: bool,
    /// Who it is and whom it talks to; none: to nobody.
    pub topology: Option<Arc<Topology>>,
    /// What the others say.
    pub neighbours: Arc<Neighbours>,
    /// Which chains beyond this cluster live.
    pub remotes: Alive,
    /// It drains.
    pub leaving: bool,
}

/// What chains say of themselves, for whoever tells others.
#[derive(Debug, Default)]
pub struct SaidBoard {
    said: Mutex<Words>,
    changed: Notify,
}

/// What is on the board.
#[derive(Clone, Debug, Default)]
struct Words {
    /// Counts changes.
    version: u64,
    chains: BTreeMap<ChainId, ChainSaid>,
}

impl SaidBoard {
    /// A chain says this now.
    pub fn say(&self, chain: &ChainId, said: ChainSaid) {
        self.change(|chains| drop(chains.insert(chain.clone(), said)));
    }

    /// A chain is gone.
    pub fn forget(&self, chain: &ChainId) {
        self.change(|chains| drop(chains.remove(chain)));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<ChainId, ChainSaid>)) {
        let mut words = self.words();
        change(&mut words.chains);
        words.version += 1;
        drop(words);
        self.changed.notify_one();
    }

    /// What is on it, unless it is as in this version.
    fn newer_than(&self, version: u64) -> Option<Words> {
        let words = self.words();
        (words.version != version).then(|| words.clone())
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this proxy is told once.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// What it is called.
    pub(super) name: String,
    /// Where gossip is bound unless the pool says otherwise.
    pub(super) bind: Option<IpAddr>,
    /// Where others reach it.
    pub(super) advertise: Option<IpAddr>,
}

/// Gossip that runs, and what it was started with.
struct Talk {
    gossip: Gossip,
    heard: watch::Receiver<Arc<Neighbours>>,
    settings: Settings,
    pools: Vec<PeerPool>,
    topology: Arc<Topology>,
    /// What it was told to say last, and of which version of the board.
    said: Said,
    version: u64,
}

impl Talk {
    /// Says what is new, if anything is: this is asked twice a second, of hundreds of chains.
    fn say(&mut self, leaving: bool, load: Load, board: &SaidBoard) {
        let words = board.newer_than(self.version);
        if words.is_none() && (self.said.leaving, self.said.load) == (leaving, load) {
            return;
        }
        if let Some(Words { version, chains }) = words {
            self.version = version;
            self.said.chains = chains;
        }
        self.said.leaving = leaving;
        self.said.load = load;
        self.gossip.say(self.said.clone());
    }
}

/// Keeps gossip as the newest snapshot says, and everybody informed; until it is cancelled.
pub(super) async fn keep(running: Arc<Running>, place: Place, tasks: Tasks, ended: CancellationToken) {
    let mut standing = running.changes();
    let mut phase = running.life().watch();
    let mut remotes = running.remotes();
    let mut talk: Option<Talk> = None;
    let mut told: Option<Told> = None;
    let mut own = Hood::default();
    let mut cut_off = CutOff::default();
    let (mut only_heard, mut look_at) = (false, Instant::now());
    loop {
        // Others are heard many times a second: what is ours has not changed by that.
        if !only_heard {
            let snapshot = standing.borrow_and_update().snapshot.clone();
            if let Some(snapshot) = &snapshot {
                talk = follow(&running, &place, snapshot, talk, &tasks).await;
                told = Told::follow(told, &place.name, snapshot, Instant::now());
            }
            own.leaving = matches!(
                *phase.borrow_and_update(),
                Phase::Draining { .. } | Phase::Drained
            );
            if let Some(talk) = &mut talk {
                let load = load(&running, snapshot.as_deref());
                talk.say(own.leaving, load, running.board());
            }
            let wanted = snapshot.as_ref().is_some_and(|s| s.pool.gossip.is_some());
            let unbound = wanted && talk.is_none();
            own.unknown = snapshot.is_none() || unbound;
            look_at = Instant::now() + if unbound { BIND_AGAIN } else { LOOK_AT_LOAD };
            look_around(&running, &mut cut_off);
        }
        own.remotes = Arc::clone(&remotes.borrow_and_update());
        tell(&running, talk.as_mut(), told.as_ref(), own.clone());
        let heard = async {
            match talk.as_mut() {
                Some(talk) => drop(talk.heard.changed().await),
                None => std::future::pending().await,
            }
        };
        only_heard = tokio::select! {
            () = ended.cancelled() => break,
            _ = standing.changed() => false,
            _ = phase.changed() => false,
            Ok(()) = remotes.changed() => true,
            () = running.board().changed.notified() => false,
            () = heard => true,
            () = tokio::time::sleep_until(look_at.into()) => false,
        };
    }
    if let Some(talk) = talk {
        talk.gossip.leave().await;
    }
}

/// Whether clients had better be led elsewhere is looked at as often as the load.
fn look_around(running: &Running, cut_off: &mut CutOff) {
    // Before that it is not ready anyway, and after it clients are led elsewhere anyway.
    if running.life().phase() == Phase::Serving {
        let serving = running.serving();
        let why = cut_off.look(&running.hood().borrow(), serving, Instant::now());
        running.tell_cut_off(why);
    }
}

/// Starts, changes or ends gossip where the snapshot says so.
async fn follow(
    running: &Running,
    place: &Place,
    snapshot: &Snapshot,
    talk: Option<Talk>,
    tasks: &Tasks,
) -> Option<Talk> {
    let wanted = snapshot.pool.gossip.as_ref();
    let talk = match (talk, wanted) {
        (Some(talk), Some(wanted)) if is_same_socket(&talk.settings, wanted) => Some(talk),
        (Some(talk), _) => {
            talk.gossip.leave().await;
            None
        }
        (None, _) => None,
    };
    let settings = wanted?;
    let Some(mut talk) = talk else {
        return start(running, place, snapshot, settings, tasks);
    };
    if talk.settings != *settings || talk.pools != snapshot.peers {
        if let Err(error) = talk
            .gossip
            .reconfigure(&settings.keys, &seeds(settings, &snapshot.peers))
        {
            tracing::error!(%error, "gossip goes on with the keys that it had");
        }
        talk.settings = settings.clone();
        talk.pools.clone_from(&snapshot.peers);
        talk.topology = Arc::new(Topology {
            pools: snapshot.peers.clone(),
            ..Topology::clone(&talk.topology)
        });
    }
    Some(talk)
}

fn is_same_socket(one: &Settings, other: &Settings) -> bool {
    (one.port, one.bind_address, &one.cluster) == (other.port, other.bind_address, &other.cluster)
}

fn start(
    running: &Running,
    place: &Place,
    snapshot: &Snapshot,
    settings: &Settings,
    tasks: &Tasks,
) -> Option<Talk> {
    let me = PeerId {
        pool: PoolId {
            namespace: snapshot.pool.namespace.clone(),
            name: snapshot.pool.name.clone(),
        },
        name: place.name.clone(),
    };
    let ip = settings
        .bind_address
        .or(place.bind)
        .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let bind = SocketAddr::new(ip, settings.port);
    let config = GossipConfig {
        id: me.clone(),
        cluster: settings.cluster.clone(),
        bind,
        advertise: place.advertise,
        keys: settings.keys.clone(),
        seeds: seeds(settings, &snapshot.peers),
        resolver: running.resolver().clone(),
    };
    match Gossip::start(config, tasks) {
        Ok(gossip) => {
            tracing::info!(address = %gossip.address(), name = %me, "gossiping");
            running.tell_gossip(gossip.counters());
            Some(Talk {
                heard: gossip.neighbours(),
                settings: settings.clone(),
                pools: snapshot.peers.clone(),
                topology: Arc::new(Topology {
                    me,
                    since: Instant::now(),
                    pools: snapshot.peers.clone(),
                    second_hand: false,
                }),
                said: Said::default(),
                version: 0,
                gossip,
            })
        }
        Err(error) => {
            tracing::error!(%error, "cannot gossip; trying again");
            None
        }
    }
}

/// Whom to begin with: those that are named, and every proxy that the snapshot lists.
fn seeds(settings: &Settings, pools: &[PeerPool]) -> Vec<String> {
    let listed = pools.iter().flat_map(|pool| {
        let proxies = pool.proxies.iter().flatten();
        proxies.map(|proxy| SocketAddr::new(proxy.ip, pool.gossip_port).to_string())
    });
    settings.seeds.iter().cloned().chain(listed).collect()
}

/// How much this proxy has, and how much more it takes.
fn load(running: &Running, snapshot: Option<&Snapshot>) -> Load {
    let Occupancy { sessions, guests } = running.workers().occupancy();
    let listeners = || snapshot.into_iter().flat_map(|snapshot| &snapshot.listeners);
    let most: u64 = listeners()
        .map(|listener| u64::from(listener.max_connections))
        .sum();
    let most_guests: u64 = listeners().map(|listener| u64::from(listener.max_guests)).sum();
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Load {
        sessions: small(sessions),
        room: small(most.saturating_sub(sessions)),
        guest_room: small(most_guests.saturating_sub(guests)),
    }
}

/// Tells chains what is known without others, and what is heard of them, if there is anything new. That others stand by their words
/// is there to be read, but wakes nobody who does not wait for it: they say so many times a second.
fn tell(running: &Running, talk: Option<&mut Talk>, told: Option<&Told>, own: Hood) {
    let hood = match (talk, told) {
        (Some(talk), _) => Hood {
            topology: Some(Arc::clone(&talk.topology)),
            neighbours: Arc::clone(&talk.heard.borrow_and_update()),
            ..own
        },
        (None, Some(told)) => Hood {
            topology: Some(Arc::clone(&told.topology)),
            neighbours: Arc::clone(&told.neighbours),
            ..own
        },
        (None, None) => own,
    };
    let mut confirmed = false;
    running.hood().send_if_modified(|known| {
        let same = (known.leaving, known.unknown) == (hood.leaving, hood.unknown)
            && known.topology == hood.topology
            && Arc::ptr_eq(&known.remotes, &hood.remotes)
            && known.neighbours.news == hood.neighbours.news;
        confirmed = !Arc::ptr_eq(&known.neighbours, &hood.neighbours);
        *known = hood;
        !same
    });
    if confirmed {
        running.confirmations().send_replace(());
    }
}
