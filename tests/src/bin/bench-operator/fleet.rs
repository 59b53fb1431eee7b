//! Proxies, all in this process: the library that `switchyard-proxy run` is made of, each with a worker, listeners, probes,
//! a token and a certificate of its own. In: settings of identities. Out: when which proxy ran which generation of which
//! chain, and when it connected.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use switchyard_discovery::client::Me;
use switchyard_discovery::identity::client::{Client, Settings};
use switchyard_discovery::release::Release;
use switchyard_proxy::app::{Proxy, ProxyConfig, Standing};
use switchyard_proxy::resolve::Resolver;
use switchyard_proxy::socket::raise_descriptor_limit;
use switchyard_proxy::stream::{PATIENCE, StreamConfig, follow};
use switchyard_tests::eventually::eventually;
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::{Service, service_fn};

use crate::ground::{Ground, SOON, Sizes, address, chain_number};

/// Running proxies; they end when it is dropped.
pub struct Fleet {
    log: Arc<Log>,
    stop: CancellationToken,
    members: Vec<thread::JoinHandle<()>>,
    /// Its threads are not those of whoever measures.
    _runtime: Runtime,
}

/// What the proxies have done.
#[derive(Default)]
struct Log {
    /// By proxy: its newest connection.
    connected: Mutex<HashMap<usize, Instant>>,
    /// By chain: who ran which generation from when, in order for each proxy.
    ran: Mutex<HashMap<usize, Vec<Ran>>>,
}

/// A proxy began to run a generation of a chain.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    proxy: usize,
    generation: i64,
    at: Instant,
}

impl Fleet {
    /// Starts all of them, and awaits that each runs all chains of its pool.
    pub fn start(ground: &Ground, sizes: Sizes) -> Self {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("proxies")
            .enable_all()
            .build()
            .expect("a runtime");
        let descriptors = raise_descriptor_limit().expect("a limit of descriptors");
        let share = descriptors / sizes.proxies as u64;
        let resolver = runtime.block_on(async { Resolver::start() });
        let (log, stop) = (Arc::new(Log::default()), CancellationToken::new());
        let mut members = Vec::with_capacity(sizes.proxies);
        for number in 0..sizes.proxies {
            let settings = ground.pod(number, number % sizes.pools);
            let config = ProxyConfig {
                advertise: None,
                name: settings.identity.pod.clone(),
                bind: Some(address(number).into()),
                admin: "127.0.0.1:0".parse().expect("an address"),
                health: None,
                workers: NonZeroUsize::MIN,
                state_dir: Some(ground.directory(&format!("chains-{number}"))),
                descriptors: share,
                access_log: None,
                resolver: resolver.clone(),
            };
            let (handle, log) = (runtime.handle().clone(), Arc::clone(&log));
            let stop = stop.clone();
            // what follows the operator stays on one thread, as in the program
            members.push(thread::spawn(move || {
                handle.block_on(member(number, config, settings, &log, &stop));
            }));
        }
        let fleet = Self {
            log,
            stop,
            members,
            _runtime: runtime,
        };
        let wanted = sizes.chains * sizes.members();
        eventually("every proxy runs every chain of its pool", SOON, || {
            let run: usize = fleet.log.ran().values().map(Vec::len).sum();
            if run >= wanted {
                Ok(())
            } else {
                Err(format!("{run} of {wanted}"))
            }
        });
        fleet
    }

    /// Forgets what ran when.
    pub fn forget(&self) {
        self.log.ran().clear();
    }

    /// When each of `members` proxies ran this generation of a chain, or a newer one; none: not all do.
    pub fn in_effect(&self, chain: usize, generation: i64, members: usize) -> Option<Vec<Instant>> {
        let ran = self.log.ran();
        let first = first_of_each(ran.get(&chain)?, generation);
        (first.len() == members).then(|| first.into_values().collect())
    }

    /// When the last of all proxies connected; none: one has not since then.
    pub fn all_connected(&self, since: Instant, proxies: usize) -> Option<Instant> {
        let connected = self.log.connected();
        let newest = connected.values().filter(|at| **at > since);
        let newest: Vec<&Instant> = newest.collect();
        (newest.len() == proxies).then(|| **newest.iter().max().expect("there are proxies"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
        for member in self.members.drain(..) {
            let _ = member.join(); // its panic has been told by its own message
        }
    }
}

fn first_of_each(ran: &[Ran], generation: i64) -> HashMap<usize, Instant> {
    let mut first = HashMap::new();
    for ran in ran.iter().filter(|ran| ran.generation >= generation) {
        first.entry(ran.proxy).or_insert(ran.at);
    }
    first
}

impl Log {
    fn connected(&self) -> MutexGuard<'_, HashMap<usize, Instant>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ran(&self) -> MutexGuard<'_, HashMap<usize, Vec<Ran>>> {
        self.ran.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn member(
    number: usize,
    config: ProxyConfig,
    settings: Settings,
    log: &Arc<Log>,
    stop: &CancellationToken,
) {
    let proxy = Proxy::launch(config).await.expect("it starts");
    let stream = StreamConfig {
        operator: settings.operator.clone(),
        me: Me {
            identity: settings.identity.clone(),
            release: Release::ours(),
        },
        folder: None,
        patience: PATIENCE,
    };
    let identity = Client::new(settings);
    let connector = {
        let (identity, log) = (identity.clone(), Arc::clone(log));
        service_fn(move |uri| {
            let (identity, log) = (identity.clone(), Arc::clone(&log));
            async move {
                identity.ready().await;
                let connected = identity.connector().call(uri).await;
                if connected.is_ok() {
                    log.connected().insert(number, Instant::now());
                }
                connected
            }
        })
    };
    tokio::select! {
        () = identity.run(stop.clone()) => {}
        ended = follow(&proxy, stream, connector) => ended.expect("it keeps no copy"),
        () = observe(number, proxy.changes(), log) => {}
        why = proxy.failed() => panic!("proxy {number}: {why}"),
    }
    proxy.stop().await;
}

/// Notes the moment in which a snapshot has taken effect.
async fn observe(number: usize, mut changes: watch::Receiver<Arc<Standing>>, log: &Log) {
    let mut known: HashMap<usize, i64> = HashMap::new();
    while changes.changed().await.is_ok() {
        let at = Instant::now();
        let standing = Arc::clone(&changes.borrow_and_update());
        let Some(snapshot) = &standing.snapshot else {
            continue;
        };
        let mut ran = log.ran();
        for chain in &snapshot.chains {
            let id = chain_number(&chain.id.name);
            if known.insert(id, chain.generation) != Some(chain.generation) {
                ran.entry(id).or_default().push(Ran {
                    proxy: number,
                    generation: chain.generation,
                    at,
                });
            }
        }
    }
}

/// How long a change may take until the measurement is given up.
pub const GIVE_UP: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_took_effect_with_what_came_after_it() {
        let start = Instant::now();
        let ran = |proxy, generation, millis| Ran {
            proxy,
            generation,
            at: start + Duration::from_millis(millis),
        };
        let log = [
            ran(1, 1, 0),
            ran(2, 1, 1),
            ran(1, 2, 5),
            ran(2, 3, 7),
            ran(1, 3, 9),
        ];
        let first = first_of_each(&log, 2);
        assert_eq!(first[&1], start + Duration::from_millis(5));
        assert_eq!(first[&2], start + Duration::from_millis(7));
        assert!(first_of_each(&log, 4).is_empty());
    }
}
