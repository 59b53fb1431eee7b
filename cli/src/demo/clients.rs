//! Clients that never stop, and what they saw. In: where to connect. Out: for any stretch of time, how many requests
//! were served by whom, how many failed, and how long any client was without service: measured here, outside the proxy.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// A client that waits longer than this for an answer calls it a failure.
const PATIENCE: Duration = Duration::from_secs(10);
const VISIT_EVERY: Duration = Duration::from_millis(40);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new connection for every request.
    Visitor,
    /// One connection for as long as it lasts, then another at once.
    Session,
}

#[derive(Debug)]
struct Request {
    client: usize,
    started: Instant,
    ended: Instant,
    served_by: Result<String, String>,
    /// The first request of a connection: only these can fail for want of a backend.
    fresh: bool,
}

/// Clients of one access point.
pub struct Clients {
    seen: Arc<Mutex<Vec<Request>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Clients {
    /// Starts `visitors` and `sessions`; they go on until [`Clients::stop`].
    pub fn start(access_point: SocketAddr, visitors: usize, sessions: usize) -> Self {
        let mut clients = Self {
            seen: Arc::default(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        for client in 0..visitors + sessions {
            let kind = if client < visitors {
                Kind::Visitor
            } else {
                Kind::Session
            };
            let life = live(client, kind, access_point, Arc::clone(&clients.seen));
            let stop = clients.stop.clone();
            clients.tasks.spawn(async move {
                stop.run_until_cancelled_owned(life).await;
            });
        }
        clients
    }

    /// What the clients saw in requests that ended after `mark`.
    pub fn since(&self, mark: Instant) -> Summary {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Summary::of(seen.iter().filter(|request| request.ended >= mark), mark)
    }

    /// Who served the newest connection.
    pub fn newest_server(&self) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .rev()
            .find_map(|r| r.fresh.then(|| r.served_by.clone().ok()).flatten())
    }

    /// Ends them all.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// New connections that one server answered; moments are counted from the mark.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// How many.
    pub count: usize,
    /// When the first one began.
    pub first: Duration,
    /// When the last one began.
    pub last: Duration,
}

impl Served {
    fn with(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

/// What clients saw in a stretch of time.
#[derive(Debug, Default)]
pub struct Summary {
    /// Requests, failed ones included.
    pub requests: usize,
    /// Requests on new connections that nobody answered.
    pub failed: usize,
    /// Connections that ended under a session: at a kill there is no saving them; each comes back at once.
    pub cut: usize,
    /// Of any client: from the start of the first request that went wrong (or took long) to the next byte of service.
    pub longest_without: Duration,
    /// New connections by server.
    pub by_server: BTreeMap<String, Served>,
    /// The first failure, in the client's words.
    pub first_error: Option<String>,
}

impl Summary {
    fn of<'a>(requests: impl Iterator<Item = &'a Request>, mark: Instant) -> Self {
        let mut summary = Self::default();
        let mut down_since: BTreeMap<usize, Instant> = BTreeMap::new();
        let mut last_end = mark;
        for request in requests {
            summary.requests += 1;
            last_end = last_end.max(request.ended);
            let since = *down_since.entry(request.client).or_insert(request.started);
            match &request.served_by {
                Ok(name) => {
                    summary.longest_without = summary.longest_without.max(request.ended - since);
                    down_since.remove(&request.client);
                    if request.fresh {
                        let began = request.started.saturating_duration_since(mark);
                        summary.served(
                            name.clone(),
                            Served {
                                count: 1,
                                first: began,
                                last: began,
                            },
                        );
                    }
                }
                Err(why) if request.fresh => {
                    summary.failed += 1;
                    summary.first_error.get_or_insert_with(|| why.clone());
                }
                Err(_) => summary.cut += 1,
            }
        }
        for since in down_since.values() {
            summary.longest_without = summary.longest_without.max(last_end - *since);
        }
        summary
    }

    /// Takes another group's clients in.
    pub fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.cut += other.cut;
        self.longest_without = self.longest_without.max(other.longest_without);
        self.first_error = self.first_error.take().or(other.first_error);
        for (name, served) in other.by_server {
            self.served(name, served);
        }
    }

    fn served(&mut self, by: String, served: Served) {
        self.by_server
            .entry(by)
            .and_modify(|mine| *mine = mine.with(served))
            .or_insert(served);
    }
}

async fn live(client: usize, kind: Kind, access_point: SocketAddr, seen: Arc<Mutex<Vec<Request>>>) {
    let mut open = None;
    loop {
        let started = Instant::now();
        let fresh = open.is_none();
        let answer = timeout(PATIENCE, ask(&mut open, access_point)).await;
        let served_by = match answer {
            Ok(Ok(name)) => Ok(name),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        };
        let failed_fresh = fresh && served_by.is_err();
        let failed = served_by.is_err();
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(Request {
            client,
            started,
            ended: Instant::now(),
            served_by,
            fresh,
        });
        if kind == Kind::Visitor || failed {
            open = None;
        }
        let pause = match kind {
            Kind::Session if failed && !failed_fresh => continue,
            Kind::Session => ASK_EVERY,
            Kind::Visitor => VISIT_EVERY,
        };
        sleep_until((started + pause).into()).await;
    }
}

async fn ask(open: &mut Option<BufReader<TcpStream>>, to: SocketAddr) -> io::Result<String> {
    let stream = if let Some(stream) = open {
        stream
    } else {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        open.insert(BufReader::new(stream))
    };
    stream.get_mut().write_all(b"who?\n").await?;
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "closed without an answer",
        ));
    }
    Ok(line.trim_end().to_owned())
}
