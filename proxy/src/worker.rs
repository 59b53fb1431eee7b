//! Data workers: threads that accept, connect and relay. In: a [`Routing`] whenever the configuration changes, orders to
//! close sessions. Out: relayed connections, what is open, what was counted.
//!
//! Each worker is one thread with a single-threaded runtime and its own `SO_REUSEPORT` listening sockets; a connection
//! never leaves the worker that accepted it, and no worker waits for another. [`Workers`] is their remote control; it
//! is called from the control runtime.

pub(crate) mod alarms;
pub(crate) mod command;
mod ports;
pub(crate) mod thread;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use switchyard_snapshot::ChainId;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

use crate::access_log::AccessLog;
use crate::clock::unix_ms;
use crate::counters::{Book, Occupancy, Totals};
use crate::endpoint::EndpointId;
use crate::followers::Followers;
use crate::listener::gate::Gate;
use crate::proxy_protocol::relayed::Seen;
use crate::route::Routing;
use crate::session::end::{CloseReason, End};
use crate::session::{Idle, SessionInfo};

use command::{Command, Count};
use ports::Ports;

pub use ports::ListenError;

/// Orders that may wait for one worker; more make the caller wait.
const COMMAND_QUEUE: usize = 64;
/// How long sessions that are still open when [`Workers::stop`] is called may take to read what we sent them.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// A session younger than this is not moved yet.
const NEW: Duration = Duration::from_secs(1);

/// How data workers are set up; fixed for the life of the process.
#[derive(Debug)]
pub struct WorkerConfig {
    /// How many threads.
    pub count: NonZeroUsize,
    /// Where listeners without `addresses` listen; none: on all addresses.
    pub bind: Option<IpAddr>,
    /// Descriptors that this process may have open (what [`crate::socket::raise_descriptor_limit`] returned). Data
    /// workers leave a quarter of them, 400 at most, to everybody else.
    pub descriptors: u64,
    /// Where a line per connection goes; none: nowhere.
    pub access_log: Option<AccessLog>,
}

/// What all workers share. No lock in it is touched on the way of a connection.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) book: Mutex<Book>,
    pub(crate) descriptors: Arc<Gate>,
    /// How many of them there are for connections.
    pub(crate) descriptor_limit: u32,
    pub(crate) access_log: Option<AccessLog>,
    /// Relay headers that have been here.
    pub(crate) seen: Seen,
    /// Clients that were redirected natively.
    pub(crate) followers: Followers,
}

/// The data workers of this process.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<Handle>,
    ports: AsyncMutex<Ports>,
}

#[derive(Debug)]
struct Handle {
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts the threads; they listen nowhere until [`Workers::apply`].
    ///
    /// # Errors
    /// The system refuses a thread, or what a runtime needs.
    pub fn start(config: WorkerConfig) -> io::Result<Self> {
        let WorkerConfig {
            count,
            bind,
            descriptors,
            access_log,
        } = config;
        let reserve = (descriptors / 4).min(400);
        let shared = Arc::new(Shared {
            book: Mutex::default(),
            descriptors: Arc::default(),
            descriptor_limit: u32::try_from(descriptors - reserve).unwrap_or(u32::MAX),
            access_log,
            seen: Seen::new(unix_ms()),
            followers: Followers::default(),
        });
        let mut threads = Vec::with_capacity(count.get());
        for index in 0..count.get() {
            let (commands, orders) = mpsc::channel(COMMAND_QUEUE);
            let thread = thread::start(index, Arc::clone(&shared), orders)?;
            threads.push(Handle { commands, thread });
        }
        Ok(Self {
            shared,
            threads,
            ports: AsyncMutex::new(Ports::new(bind)),
        })
    }

    /// Makes `routing` what holds for every connection from now on. Sockets whose address stays are never touched,
    /// whatever else changed; new addresses are bound; listeners that are gone serve whoever is on the way in, for
    /// a tenth of a second, and then close. Sessions are not touched: those of a removed chain go on until they are closed by
    /// [`Workers::close_sessions`].
    ///
    /// Returns what could not be bound. Everything else is in force all the same; calling again with the same routing
    /// tries again what failed.
    pub async fn apply(&self, routing: Arc<Routing>) -> Vec<ListenError> {
        let mut ports = self.ports.lock().await;
        let in_the_way = ports.in_the_way(&routing);
        if !in_the_way.is_empty() {
            self.ask(|reply| Command::StopListening {
                doors: in_the_way.clone(),
                reply,
            })
            .await;
        }
        let (changes, errors) = ports.plan(&routing, self.threads.len());
        let mut done = Vec::with_capacity(self.threads.len());
        for (handle, change) in self.threads.iter().zip(changes) {
            let (tell, told) = oneshot::channel();
            let routing = Arc::clone(&routing);
            if handle
                .commands
                .send(Command::Apply {
                    routing,
                    change,
                    tell,
                })
                .await
                .is_ok()
            {
                done.push(told);
            }
        }
        for told in done {
            let _ = told.await;
        }
        self.book().tidy();
        errors
    }

    /// Where listeners listen now: name and bound address.
    pub async fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.ports.lock().await.bound(false)
    }

    /// Where guests arrive now: the listener's name and the bound address.
    pub async fn direct_addresses(&self) -> Vec<(String, SocketAddr)> {
        self.ports.lock().await.bound(true)
    }

    /// Closes up to `at_most` sessions of `chain` on one of `endpoints`, with FIN and the idlest first; how many. What is
    /// still being connected is not among them, so ask again until the answer is 0.
    pub async fn close_sessions(
        &self,
        chain: &ChainId,
        endpoints: &HashSet<EndpointId>,
        at_most: usize,
        why: CloseReason,
    ) -> usize {
        self.close_begun_before(Instant::now(), chain, endpoints, at_most, why)
            .await
    }

    /// As [`Workers::close_sessions`], but leaves those alone that began less than a second ago: whoever has just
    /// connected would be closed before the first answer, though the server lives.
    pub async fn move_sessions(
        &self,
        chain: &ChainId,
        endpoints: &HashSet<EndpointId>,
        at_most: usize,
        why: CloseReason,
    ) -> usize {
        let now = Instant::now();
        let old = now.checked_sub(NEW).unwrap_or(now);
        self.close_begun_before(old, chain, endpoints, at_most, why).await
    }

    async fn close_begun_before(
        &self,
        begun_before: Instant,
        chain: &ChainId,
        endpoints: &HashSet<EndpointId>,
        at_most: usize,
        why: CloseReason,
    ) -> usize {
        if at_most == 0 || endpoints.is_empty() {
            return 0;
        }
        let endpoints = Arc::new(endpoints.clone());
        let answers = self
            .ask(|reply| Command::Idlest {
                chain: chain.clone(),
                endpoints: Arc::clone(&endpoints),
                begun_before,
                at_most,
                reply,
            })
            .await;
        self.close_idlest(answers, at_most, why).await
    }

    /// Closes up to `most` sessions of guests of `chain`, with FIN and the idlest first; how many. Only those that began
    /// longer ago than `older_than` and belong to one of `homes`, the chains that may have them back; those that have not
    /// told where they belong are among them. Of HTTP connections those whose client can be told are told with their next
    /// request, the others end once nothing is under way.
    pub async fn return_guests(
        &self,
        chain: &ChainId,
        most: u32,
        older_than: Duration,
        homes: &HashSet<ChainId>,
        why: CloseReason,
    ) -> u32 {
        let now = Instant::now();
        // Nobody is older than the machine.
        let Some(begun_before) = now.checked_sub(older_than) else {
            return 0;
        };
        if most == 0 || homes.is_empty() {
            return 0;
        }
        let at_most = most as usize;
        let homes = Arc::new(homes.clone());
        let answers = self
            .ask(|reply| Command::IdlestGuests {
                chain: chain.clone(),
                homes: Arc::clone(&homes),
                begun_before,
                at_most,
                reply,
            })
            .await;
        let closed = self.close_idlest(answers, at_most, why).await;
        u32::try_from(closed).unwrap_or(u32::MAX)
    }

    async fn close_idlest(&self, answers: Vec<Vec<Idle>>, at_most: usize, why: CloseReason) -> usize {
        let mut idlest: Vec<Idle> = answers.into_iter().flatten().collect();
        idlest.sort_unstable();
        idlest.truncate(at_most);
        let ids: Arc<HashSet<u64>> = Arc::new(idlest.into_iter().map(|idle| idle.id).collect());
        self.ask(|reply| Command::Close {
            ids: Arc::clone(&ids),
            end: End::Moved(why),
            reply,
        })
        .await
        .into_iter()
        .sum()
    }

    /// How many sessions of `chain` are open on one of `endpoints`, those that are closing not counted.
    pub async fn count_sessions(&self, chain: &ChainId, endpoints: &HashSet<EndpointId>) -> usize {
        let endpoints = Arc::new(endpoints.clone());
        let (begun_before, at_most) = (Instant::now(), usize::MAX);
        self.ask(|reply| Command::Idlest {
            chain: chain.clone(),
            endpoints: Arc::clone(&endpoints),
            begun_before,
            at_most,
            reply,
        })
        .await
        .iter()
        .map(Vec::len)
        .sum()
    }

    /// Up to `at_most` open sessions.
    pub async fn sessions(&self, at_most: usize) -> Vec<SessionInfo> {
        let mut sessions: Vec<SessionInfo> = self
            .ask(|reply| Command::Sessions { at_most, reply })
            .await
            .into_iter()
            .flatten()
            .collect();
        sessions.truncate(at_most);
        sessions
    }

    /// How many guests are here: by the chain that serves them and, within that, the one they came for, where that is
    /// known. HTTP connections are among them once they have asked for something.
    pub async fn guests(&self) -> BTreeMap<ChainId, BTreeMap<Option<ChainId>, u64>> {
        let mut guests: BTreeMap<ChainId, BTreeMap<Option<ChainId>, u64>> = BTreeMap::new();
        let here = self.ask(|reply| Command::Guests { reply }).await;
        for ((chain, home), count) in here.into_iter().flatten() {
            *guests.entry(chain).or_default().entry(home).or_default() += count;
        }
        guests
    }

    /// What was counted so far.
    pub fn counters(&self) -> Totals {
        let mut totals = self.book().totals();
        totals.log_lines_dropped = self.shared.access_log.as_ref().map_or(0, AccessLog::dropped);
        totals
    }

    /// Who is connected now. Much cheaper than [`Workers::counters`].
    pub fn occupancy(&self) -> Occupancy {
        self.book().occupancy()
    }

    /// Closes every listening socket, after serving whoever is on the way in, for a tenth of a second.
    pub async fn stop_accepting(&self) {
        let mut ports = self.ports.lock().await;
        let doors = ports.clear();
        self.ask(|reply| Command::StopListening {
            doors: doors.clone(),
            reply,
        })
        .await;
    }

    /// Tells clients that speak HTTP, in their protocol, that this proxy serves no more than what is under way; with `at_once`,
    /// not even that. How many were ended.
    pub async fn leave(&self, at_once: bool) -> usize {
        self.ask(|reply| Command::Leave { at_once, reply })
            .await
            .into_iter()
            .sum()
    }

    /// Waits until nobody is connected any more, until `deadline` at the longest; how many still are. Call
    /// [`Workers::stop_accepting`] first.
    pub async fn drain(&self, deadline: Instant) -> usize {
        let idle = self.ask(|reply| Command::WhenEmpty { reply });
        if tokio::time::timeout_at(deadline.into(), idle).await.is_ok() {
            return 0;
        }
        self.ask(|reply| Command::Count { reply })
            .await
            .into_iter()
            .map(|Count { connections }| connections)
            .sum()
    }

    /// Closes what is still open, with FIN, and ends the threads, a second later at the most.
    pub async fn stop(self) {
        self.stop_accepting().await;
        self.leave(true).await;
        self.ask(|reply| Command::CloseAll {
            why: CloseReason::Draining,
            reply,
        })
        .await;
        self.drain(Instant::now() + STOP_GRACE).await;
        let Self { threads, .. } = self;
        for Handle { commands, thread } in threads {
            drop(commands);
            // A worker ends as soon as its orders do; joining it does not hold up the control runtime's other tasks.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    /// The same question to every worker; their answers, in order.
    async fn ask<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Command) -> Vec<T> {
        let mut pending = Vec::with_capacity(self.threads.len());
        for handle in &self.threads {
            let (reply, answer) = oneshot::channel();
            if handle.commands.send(question(reply)).await.is_ok() {
                pending.push(answer);
            }
        }
        let mut answers = Vec::with_capacity(pending.len());
        for answer in pending {
            answers.extend(answer.await);
        }
        answers
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
