//! The edge to hickory. In: a question. Out: records and their TTL, or why there are none.
//!
//! hickory brings the wire: UDP with retransmission, TCP when an answer is truncated, EDNS, CNAME chains that lead out
//! of a zone. What it does with several nameservers (all at once, and the first error wins) does not suit a steady
//! watcher, so each nameserver has a hickory resolver of its own and the choice between them is made here: one query
//! to the one that answered last; to the next if it fails, or keeps us waiting.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::{DnsError, NetError};
use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::{Hosts, TokioResolver, lookup};
use tokio::sync::Semaphore;

use super::search::forms;
use super::system::{Fingerprint, SystemFiles};
use super::{FailureKind, Question, Record, RecordKind};

/// For one query to one nameserver, retransmissions included.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// A nameserver that has not answered after this long gets a competitor.
const HEDGE: Duration = Duration::from_millis(400);

/// Questions under way at once, for each set of nameservers: a thousand names that begin together do not become a
/// thousand datagrams at once.
const IN_FLIGHT: usize = 64;

/// The system's files are looked at this often at most.
const LOOK_AT_FILES: Duration = Duration::from_millis(500);

/// More CNAMEs in a row are a loop.
const LONGEST_CHAIN: usize = 16;

/// Records came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Sorted, without repeats, never empty.
    pub(super) records: Vec<Record>,
    /// The smallest of the chain.
    pub(super) ttl: Duration,
}

/// No records came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) kind: FailureKind,
    pub(super) text: String,
}

impl Denied {
    fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// The name, or such records of it, do not exist: an answer all the same.
    fn is_about_the_name(&self) -> bool {
        matches!(self.kind, FailureKind::NxDomain | FailureKind::Empty)
    }
}

/// All sets of nameservers in use.
#[derive(Debug)]
pub(super) struct Upstreams {
    files: SystemFiles,
    system: Mutex<System>,
    given: Mutex<HashMap<Vec<SocketAddr>, Arc<Upstream>>>,
}

#[derive(Debug)]
struct System {
    upstream: Result<Arc<Upstream>, String>,
    fingerprint: [Option<Fingerprint>; 2],
    looked: Option<Instant>,
}

impl Upstreams {
    pub(super) fn new(files: SystemFiles) -> Self {
        Self {
            files,
            system: Mutex::new(System {
                upstream: Err("not read yet".to_owned()),
                fingerprint: [None, None],
                looked: None,
            }),
            given: Mutex::default(),
        }
    }

    /// Asks. `form` remembers which absolute name the question's name turned out to stand for, so that the search
    /// list is gone through once and not at every refresh.
    pub(super) async fn ask(&self, question: &Question, form: &mut Option<Name>) -> Result<Found, Denied> {
        let upstream = self
            .of(&question.nameservers)
            .map_err(|why| Denied::new(FailureKind::Unreachable, why))?;
        upstream.ask(question, form).await
    }

    fn of(&self, nameservers: &[SocketAddr]) -> Result<Arc<Upstream>, String> {
        if nameservers.is_empty() {
            return self.system();
        }
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upstream) = given.get(nameservers) {
            return Ok(Arc::clone(upstream));
        }
        let upstream = Arc::new(Upstream::new(nameservers, Vec::new(), Arc::default())?);
        given.insert(nameservers.to_vec(), Arc::clone(&upstream));
        Ok(upstream)
    }

    /// Nobody asks these nameservers any more.
    pub(super) fn forget(&self, nameservers: &[SocketAddr]) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.remove(nameservers);
    }

    /// The system's nameservers, as its files say now; the last good ones while they say nothing usable.
    fn system(&self) -> Result<Arc<Upstream>, String> {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        if system.looked.is_some_and(|at| at.elapsed() < LOOK_AT_FILES) {
            return system.upstream.clone();
        }
        let fingerprint = self.files.fingerprint();
        if system.looked.is_none() || fingerprint != system.fingerprint {
            let read = self.files.read().and_then(|conf| {
                let upstream = Upstream::new(&conf.nameservers, conf.search, conf.hosts)?;
                tracing::info!(nameservers = ?conf.nameservers, "system resolver configuration read");
                Ok(Arc::new(upstream))
            });
            match read {
                Ok(upstream) => system.upstream = Ok(upstream),
                Err(why) if system.upstream.is_ok() => {
                    tracing::warn!(why, "system resolver configuration kept as it was");
                }
                Err(why) => system.upstream = Err(why),
            }
            system.fingerprint = fingerprint;
        }
        system.looked = Some(Instant::now());
        system.upstream.clone()
    }
}

/// One set of nameservers that know the same names.
#[derive(Debug)]
pub(super) struct Upstream {
    servers: Vec<Server>,
    /// Index of the one that answered last.
    preferred: AtomicUsize,
    search: Vec<Name>,
    hosts: Arc<Hosts>,
    in_flight: Semaphore,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    client: TokioResolver,
}

impl Upstream {
    pub(super) fn new(
        nameservers: &[SocketAddr],
        search: Vec<Name>,
        hosts: Arc<Hosts>,
    ) -> Result<Self, String> {
        let servers = nameservers
            .iter()
            .map(|&address| {
                client(address)
                    .map(|client| Server { address, client })
                    .map_err(|e| format!("cannot set up a resolver for {address}: {e}"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            servers,
            preferred: AtomicUsize::new(0),
            search,
            hosts,
            in_flight: Semaphore::new(IN_FLIGHT),
        })
    }

    pub(super) async fn ask(&self, question: &Question, form: &mut Option<Name>) -> Result<Found, Denied> {
        let forms =
            forms(&question.name, &self.search).map_err(|why| Denied::new(FailureKind::NxDomain, why))?;
        let remembered = form.take().filter(|form| forms.contains(form));
        if let Some(name) = &remembered {
            let outcome = self.ask_absolute(name, question.kind).await;
            if !matches!(&outcome, Err(denied) if denied.kind == FailureKind::NxDomain) {
                *form = remembered;
                return outcome;
            }
        }
        let mut denied = Denied::new(
            FailureKind::NxDomain,
            format!("{:?} stands for no name", question.name),
        );
        for name in forms {
            let outcome = self.ask_absolute(&name, question.kind).await;
            match outcome {
                Err(no) if no.kind == FailureKind::NxDomain => denied = no,
                // a name without such records exists (RFC 2308 §2.2): the search ends there
                other => {
                    if !matches!(&other, Err(no) if !no.is_about_the_name()) {
                        *form = Some(name);
                    }
                    return other;
                }
            }
        }
        Err(denied)
    }

    async fn ask_absolute(&self, name: &Name, kind: RecordKind) -> Result<Found, Denied> {
        let query = Query::query(name.clone(), record_type(kind));
        if let Some(lookup) = self.hosts.lookup_static_host(&query) {
            return found(&lookup, name, kind)
                .ok_or_else(|| Denied::new(FailureKind::Empty, "the hosts file names no such address"));
        }
        let Ok(_permit) = self.in_flight.acquire().await else {
            return Err(Denied::new(FailureKind::Unreachable, "the resolver has stopped"));
        };
        self.race(name, kind).await
    }

    /// One nameserver after the other, the next as soon as one fails or is late; the first that speaks about the name
    /// wins.
    async fn race(&self, name: &Name, kind: RecordKind) -> Result<Found, Denied> {
        let first = self.preferred.load(Ordering::Relaxed);
        let count = self.servers.len();
        let mut order = (0..count).map(|i| (first + i) % count);
        let mut pending = FuturesUnordered::new();
        let mut failed: Option<Denied> = None;
        loop {
            let hedge = match order.next() {
                Some(index) => {
                    pending.push(async move { (index, self.servers[index].ask(name, kind).await) });
                    true
                }
                None => false,
            };
            let late = tokio::time::sleep(HEDGE);
            tokio::select! {
                done = pending.next() => match done {
                    Some((_, Err(denied))) if !denied.is_about_the_name() => {
                        // a server that answers nonsense tells more than one that does not answer
                        let keep = failed.take().filter(|f| f.kind == FailureKind::Server);
                        failed = Some(keep.unwrap_or(denied));
                    }
                    Some((index, spoken)) => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return spoken;
                    }
                    None => {
                        let none = || Denied::new(FailureKind::Unreachable, "there are no nameservers");
                        return Err(failed.unwrap_or_else(none));
                    }
                },
                () = late, if hedge => {}
            }
        }
    }
}

fn client(address: SocketAddr) -> Result<TokioResolver, NetError> {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = QUERY_TIMEOUT;
    // of the whole query; datagrams are sent again within the timeout
    options.attempts = 0;
    options.max_active_requests = IN_FLIGHT;
    builder.build()
}

impl Server {
    async fn ask(&self, name: &Name, kind: RecordKind) -> Result<Found, Denied> {
        let lookup = self.client.lookup(name.clone(), record_type(kind));
        // hickory's own timeout is per transport: UDP, then TCP
        match tokio::time::timeout(QUERY_TIMEOUT, lookup).await {
            Ok(Ok(lookup)) => found(&lookup, name, kind).ok_or_else(|| self.empty(name, kind)),
            Ok(Err(error)) => Err(self.denied(name, kind, &error)),
            Err(_) => Err(self.denied(name, kind, &NetError::Timeout)),
        }
    }

    fn empty(&self, name: &Name, kind: RecordKind) -> Denied {
        let text = format!("{} has no {} records for {name}", self.address, record_type(kind));
        Denied::new(FailureKind::Empty, text)
    }

    fn denied(&self, name: &Name, kind: RecordKind, error: &NetError) -> Denied {
        let server = self.address;
        match error {
            NetError::Dns(DnsError::NoRecordsFound(no)) => match no.response_code {
                ResponseCode::NXDomain => Denied::new(
                    FailureKind::NxDomain,
                    format!("{server} says {name} does not exist"),
                ),
                // a referral (RFC 1034 §4.3.1) says where to ask, not what is so
                ResponseCode::NoError if no.ns.is_some() && no.soa.is_none() => Denied::new(
                    FailureKind::Server,
                    format!("{server} refers {name} to other servers: it is no resolver"),
                ),
                ResponseCode::NoError => self.empty(name, kind),
                code => Denied::new(FailureKind::Server, format!("{server} answered {code}")),
            },
            NetError::Dns(DnsError::ResponseCode(code)) => {
                Denied::new(FailureKind::Server, format!("{server} answered {code}"))
            }
            NetError::Timeout => Denied::new(
                FailureKind::Unreachable,
                format!("{server} did not answer within {}s", QUERY_TIMEOUT.as_secs()),
            ),
            NetError::Io(_) | NetError::NoConnections | NetError::Busy => {
                Denied::new(FailureKind::Unreachable, format!("cannot ask {server}: {error}"))
            }
            other => Denied::new(FailureKind::Server, format!("{server}: {other}")),
        }
    }
}

fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Srv => RecordType::SRV,
    }
}

/// The records at the end of the CNAME chain that begins at `name`, and the smallest TTL on the way.
fn found(lookup: &lookup::Lookup, name: &Name, kind: RecordKind) -> Option<Found> {
    let mut owner = name;
    let mut ttl = u32::MAX;
    for _ in 0..LONGEST_CHAIN {
        let alias = lookup.answers().iter().find_map(|record| match &record.data {
            RData::CNAME(target) if &record.name == owner => Some((record.ttl, &target.0)),
            _ => None,
        });
        let Some((seconds, target)) = alias else { break };
        ttl = ttl.min(seconds);
        owner = target;
    }
    let mut records = Vec::new();
    for answer in lookup.answers().iter().filter(|answer| &answer.name == owner) {
        let record = match (&answer.data, kind) {
            (RData::A(address), RecordKind::A) => Record::Address(address.0.into()),
            (RData::AAAA(address), RecordKind::Aaaa) => Record::Address(address.0.into()),
            // "." as target: decidedly not available here (RFC 2782)
            (RData::SRV(srv), RecordKind::Srv) if !srv.target.is_root() => Record::Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: absolute(&srv.target),
            },
            _ => continue,
        };
        ttl = ttl.min(answer.ttl);
        records.push(record);
    }
    records.sort();
    records.dedup();
    let ttl = Duration::from_secs(u64::from(ttl));
    (!records.is_empty()).then_some(Found { records, ttl })
}

/// In lower case and with its dot, so that no search list is applied to it.
fn absolute(name: &Name) -> String {
    let mut name = name.to_lowercase();
    name.set_fqdn(true);
    name.to_ascii()
}
