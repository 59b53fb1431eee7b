//! The proxies that this process runs. In: what the files say. Out: running proxies; what is equal is left alone.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};
use switchyard_proxy::access_log::AccessLog;
use switchyard_proxy::admin;
use switchyard_proxy::app::{Applied, Bound, Proxy, ProxyConfig, StartError};
use switchyard_proxy::resolve::Resolver;
use switchyard_proxy::socket::raise_descriptor_limit;
use switchyard_snapshot::{GossipKey, PoolId, Private, Snapshot};
use tokio::task::JoinSet;

use super::RunArgs;
use crate::check::Loaded;

/// Pools and replicas have a byte each in 127.0.p.r; 0 and 255 are left out.
const MOST: u32 = 254;

/// Why proxies could not be started.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The arguments and the files do not fit each other.
    #[error("{0}")]
    Usage(String),
    /// The system refused something.
    #[error("{name}: {source}")]
    Start {
        /// Which proxy.
        name: String,
        /// What it was refused.
        source: StartError,
    },
    /// The process could not get what it needs.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A running proxy could not take all of a change.
    #[error("{}", .0.join("; "))]
    Apply(Vec<String>),
}

impl FleetError {
    /// 2 for the user's input, 1 for the system.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Start { .. } | Self::System { .. } | Self::Apply(_) => 1,
        }
    }
}

/// One replica of one pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    pool: PoolId,
    replica: u32,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pool.name, self.replica)
    }
}

/// What the proxy is called among others.
fn name(args: &RunArgs, member: &Member) -> String {
    let address = args.advertise.or(args.bind).filter(|ip| !ip.is_unspecified());
    match (&args.name, address) {
        (Some(name), _) => name.clone(),
        // Several machines run the same command with the same files: only addresses tell them apart.
        (None, Some(ip)) => format!("{}-{ip}", member.pool.name),
        (None, None) => member.to_string(),
    }
}

/// Every proxy of this process.
pub struct Fleet {
    resolver: Resolver,
    running: BTreeMap<Member, Running>,
    /// Which number a pool has got, for as long as the process lives: a pool that goes must not move the others.
    numbers: BTreeMap<PoolId, u32>,
    leaving: JoinSet<()>,
    /// What the process may open; proxies that start together get equal shares.
    descriptors: u64,
    access_log: Option<OpenLog>,
    /// For proxies of this process, where the files name no key.
    gossip_key: GossipKey,
}

struct OpenLog {
    log: AccessLog,
    writer: std::thread::JoinHandle<io::Result<()>>,
}

struct Running {
    proxy: Proxy,
    snapshot: Snapshot,
}

impl Fleet {
    /// Starts what the files ask for; if one proxy cannot start, none stays.
    pub async fn start(args: &RunArgs, loaded: &Loaded) -> Result<Self, FleetError> {
        let mut fleet = Self {
            resolver: Resolver::start(),
            running: BTreeMap::new(),
            numbers: BTreeMap::new(),
            leaving: JoinSet::new(),
            descriptors: raise_descriptor_limit().map_err(|source| FleetError::System {
                doing: "raise the limit of descriptors".to_owned(),
                source,
            })?,
            access_log: args.access_log.as_deref().map(open_log).transpose()?,
            gossip_key: random_key()?,
        };
        match fleet.apply(args, loaded).await {
            Ok(_) => Ok(fleet),
            Err(error) => {
                fleet.stop().await;
                Err(error)
            }
        }
    }

    /// Makes what runs equal to what the files ask for; says what was done, one entry per proxy touched.
    pub async fn apply(&mut self, args: &RunArgs, loaded: &Loaded) -> Result<Vec<String>, FleetError> {
        let wanted = self.wanted(args, loaded)?;
        let mut done = Vec::new();
        let gone: Vec<Member> = self
            .running
            .keys()
            .filter(|member| !wanted.contains_key(*member))
            .cloned()
            .collect();
        for member in gone {
            if let Some(running) = self.running.remove(&member) {
                done.push(format!("{member} leaves"));
                self.leaving.spawn(async move {
                    running.proxy.drain().await;
                    running.proxy.stop().await;
                });
            }
        }
        while self.leaving.try_join_next().is_some() {}
        let sharing = wanted.len().max(1) as u64;
        let mut refused = Vec::new();
        for (member, snapshot) in wanted {
            match self.running.get_mut(&member) {
                Some(running) if running.snapshot == snapshot => {}
                Some(running) => {
                    let applied = running.proxy.apply(snapshot.clone()).await;
                    running.snapshot = snapshot;
                    refused.extend(complaints(&member, &applied));
                    done.push(format!("{member} changed"));
                }
                None => {
                    let proxy = self.start_one(args, &member, snapshot.clone(), sharing).await?;
                    announce(&member, proxy.bound());
                    self.running.insert(member.clone(), Running { proxy, snapshot });
                    done.push(format!("{member} started"));
                }
            }
        }
        if refused.is_empty() {
            Ok(done)
        } else {
            Err(FleetError::Apply(refused))
        }
    }

    /// Returns once a part of a proxy has died, with what it was.
    pub async fn failed(&self) -> String {
        let proxies = self.running.iter().map(|(member, running)| {
            Box::pin(async move { format!("{member}: {}", running.proxy.failed().await) })
        });
        let proxies: Vec<_> = proxies.collect();
        if proxies.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(proxies).await.0
    }

    /// No new connections; returns once the sessions are gone, or their time is over.
    pub async fn drain(&self) {
        futures::future::join_all(self.running.values().map(|running| running.proxy.drain())).await;
    }

    /// Closes what is left.
    pub async fn stop(mut self) {
        futures::future::join_all(self.running.into_values().map(|running| running.proxy.stop())).await;
        self.leaving.shutdown().await;
        if let Some(OpenLog { log, writer }) = self.access_log {
            drop(log);
            match tokio::task::spawn_blocking(|| writer.join()).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::error!(%error, "the access log is not complete"),
                Ok(Err(_)) | Err(_) => tracing::error!("the access log's writer died"),
            }
        }
    }

    fn wanted(&mut self, args: &RunArgs, loaded: &Loaded) -> Result<BTreeMap<Member, Snapshot>, FleetError> {
        let mut wanted = BTreeMap::new();
        if args.all {
            for (pool, replicas) in loaded.pools() {
                let number = self.number(&pool)?;
                if replicas > MOST {
                    return Err(FleetError::Usage(format!(
                        "pool {pool}: {replicas} replicas; 127.0.{number}.1 to 127.0.{number}.{MOST} hold {MOST}"
                    )));
                }
                for replica in 1..=replicas {
                    let member = Member {
                        pool: pool.clone(),
                        replica,
                    };
                    wanted.insert(member, loaded.snapshot(&pool));
                }
            }
        } else {
            let pool = the_pool(args, loaded)?;
            let snapshot = loaded.snapshot(&pool);
            wanted.insert(Member { pool, replica: 1 }, snapshot);
        }
        let address = |(member, snapshot): (&Member, &Snapshot)| {
            let ip = self.address(member)?;
            let gossip = snapshot.pool.gossip.as_ref()?;
            Some(SocketAddr::new(ip, gossip.port).to_string())
        };
        let here: Vec<String> = wanted.iter().filter_map(address).collect();
        for snapshot in wanted.values_mut() {
            self.gossip(args, &here, snapshot)?;
        }
        Ok(wanted)
    }

    /// Who talks to whom: with `--all`, the proxies of this process under a key that only it has; alone, whoever the files and the
    /// arguments name.
    fn gossip(&self, args: &RunArgs, here: &[String], snapshot: &mut Snapshot) -> Result<(), FleetError> {
        let Some(gossip) = &mut snapshot.pool.gossip else {
            return Ok(());
        };
        gossip.seeds.extend(args.seeds.iter().chain(here).cloned());
        if gossip.keys.is_empty() {
            if !args.seeds.is_empty() {
                return Err(FleetError::Usage(format!(
                    "--seed needs a key that the proxies share: name a Secret in peers.keyRef of pool {}/{}",
                    snapshot.pool.namespace, snapshot.pool.name
                )));
            }
            gossip.keys.push(self.gossip_key.clone());
        }
        if !args.all && gossip.seeds.is_empty() && snapshot.chains.iter().all(|chain| chain.group.is_none()) {
            // There is nobody whom it could talk to.
            snapshot.pool.gossip = None;
            snapshot.peers.clear();
        }
        Ok(())
    }

    fn number(&mut self, pool: &PoolId) -> Result<u32, FleetError> {
        let next = self.numbers.values().max().map_or(1, |last| last + 1);
        if next > MOST && !self.numbers.contains_key(pool) {
            return Err(FleetError::Usage(format!(
                "pool {pool} is one too many: --all runs at most {MOST}"
            )));
        }
        Ok(*self.numbers.entry(pool.clone()).or_insert(next))
    }

    /// Its own address on loopback, with `--all`.
    fn address(&self, member: &Member) -> Option<IpAddr> {
        let number = self.numbers.get(&member.pool)?;
        // Both are at most MOST.
        Some(IpAddr::V4(Ipv4Addr::new(
            127,
            0,
            *number as u8,
            member.replica as u8,
        )))
    }

    async fn start_one(
        &self,
        args: &RunArgs,
        member: &Member,
        snapshot: Snapshot,
        sharing: u64,
    ) -> Result<Proxy, FleetError> {
        let own = self.address(member);
        let admin_ip = own.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let advertise = own.or(args.advertise).or(args.bind);
        let config = ProxyConfig {
            name: name(args, member),
            advertise: advertise.filter(|ip| !ip.is_unspecified()),
            bind: own.or(args.bind),
            admin: args
                .admin
                .unwrap_or(SocketAddr::new(admin_ip, admin::DEFAULT_PORT)),
            health: None,
            workers: args
                .workers
                .unwrap_or_else(|| if args.all { NonZeroUsize::MIN } else { cpus() }),
            state_dir: args
                .state_dir
                .as_ref()
                .map(|folder| folder.join(member.to_string())),
            descriptors: self.descriptors / sharing,
            access_log: self.access_log.as_ref().map(|log| log.log.clone()),
            resolver: self.resolver.clone(),
        };
        Proxy::start(config, snapshot)
            .await
            .map_err(|source| FleetError::Start {
                name: member.to_string(),
                source,
            })
    }
}

fn the_pool(args: &RunArgs, loaded: &Loaded) -> Result<PoolId, FleetError> {
    let pools: Vec<PoolId> = loaded.pools().into_iter().map(|(pool, _)| pool).collect();
    let names = || {
        pools
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let fits = |pool: &PoolId| {
        args.pool
            .as_ref()
            .is_none_or(|name| *name == pool.name || *name == pool.to_string())
    };
    match (
        pools
            .iter()
            .filter(|pool| fits(pool))
            .collect::<Vec<_>>()
            .as_slice(),
        &args.pool,
    ) {
        ([pool], _) => Ok((*pool).clone()),
        ([], _) if pools.is_empty() => Err(FleetError::Usage("the files hold no ProxyPool".to_owned())),
        ([], Some(name)) => Err(FleetError::Usage(format!(
            "no pool is named {name:?}; the files hold {}",
            names()
        ))),
        _ => Err(FleetError::Usage(format!(
            "the files hold several pools ({}): name one with --pool [NAMESPACE/]NAME, or run them --all",
            names()
        ))),
    }
}

fn random_key() -> Result<GossipKey, FleetError> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| FleetError::System {
            doing: "make a key for gossip".to_owned(),
            source: io::Error::other("the system gives no random bytes"),
        })?;
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // writing to a string cannot fail
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(GossipKey {
        key: Private::new(hex),
    })
}

fn cpus() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn complaints(member: &Member, applied: &Applied) -> Vec<String> {
    let rejected = applied.rejected.iter().map(ToString::to_string);
    rejected
        .chain(applied.listen_errors.iter().map(ToString::to_string))
        .map(|why| format!("{member}: {why}"))
        .collect()
}

fn open_log(path: &Path) -> Result<OpenLog, FleetError> {
    let failed = |source| FleetError::System {
        doing: format!("write the access log {}", path.display()),
        source,
    };
    let started = if path == Path::new("-") {
        AccessLog::start(io::stdout())
    } else {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed)?;
        AccessLog::start(file)
    };
    started
        .map(|(log, writer)| OpenLog { log, writer })
        .map_err(failed)
}

fn announce(member: &Member, bound: &Bound) {
    for (listener, address) in &bound.listeners {
        println!("{member}: listener {listener} on {address}");
    }
    println!("{member}: admin on http://{}", bound.admin);
}
