//! HTTP/1.1 requests at a fixed rate over connections that stay open, whatever becomes of the earlier ones (open loop): each
//! is a GET, sent once. In: an address and a rate. Out: for every single request, when it was begun, how long it took, and
//! what came back.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use super::End;
use crate::lab::Host;

/// Time for one request.
const DEADLINE: Duration = Duration::from_secs(10);

/// What requests do.
#[derive(Clone, Debug)]
pub struct RequestPlan {
    /// Where to.
    pub to: SocketAddr,
    /// Whom to ask for.
    pub host: String,
    /// Requests per second, of all clients.
    pub per_second: u32,
    /// Clients, each with one connection and one request at a time.
    pub clients: u32,
}

/// What became of one request.
#[derive(Clone, Debug)]
pub struct Answered {
    /// When it was to be sent.
    pub due: Instant,
    /// When it was over.
    pub over: Instant,
    /// Status and body, or how it failed.
    pub what: Result<(u16, String), End>,
}

/// Running clients.
pub struct Requests {
    host: Host,
    seen: Arc<Mutex<Vec<Answered>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Requests {
    /// Starts clients on `host`.
    pub fn start(host: &Host, plan: RequestPlan) -> Self {
        let seen: Arc<Mutex<Vec<Answered>>> = Arc::default();
        let (stop, stopped) = watch::channel(false);
        let all = Arc::clone(&seen);
        let task = host.spawn(async move {
            let mut clients = JoinSet::new();
            for number in 0..plan.clients {
                clients.spawn(client(plan.clone(), number, Arc::clone(&all), stopped.clone()));
            }
            while clients.join_next().await.is_some() {}
        });
        Self {
            host: host.clone(),
            seen,
            stop,
            task,
        }
    }

    /// How many are over.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Lets those under way end, and tells about all.
    ///
    /// # Panics
    /// When they do not end by their deadlines.
    pub fn stop(self) -> AnsweredAll {
        self.stop.send_replace(true);
        let task = self.task;
        self.host
            .block_on(async move { timeout(2 * DEADLINE, task).await })
            .expect("clients end by their deadlines")
            .expect("clients do not panic");
        let mut all = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        all.sort_by_key(|one| one.due);
        AnsweredAll(all)
    }
}

/// What became of all requests, by the time they were to be sent.
#[derive(Clone, Debug)]
pub struct AnsweredAll(pub Vec<Answered>);

impl AnsweredAll {
    /// Those that were not answered with 200.
    pub fn failed(&self) -> Vec<&Answered> {
        let failed = |one: &&Answered| !matches!(one.what, Ok((200, _)));
        self.0.iter().filter(failed).collect()
    }

    /// How many each body was the answer to.
    pub fn by_body(&self) -> BTreeMap<&str, usize> {
        let mut count = BTreeMap::new();
        for one in &self.0 {
            if let Ok((200, body)) = &one.what {
                *count.entry(body.as_str()).or_insert(0) += 1;
            }
        }
        count
    }
}

impl fmt::Display for AnsweredAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self
            .0
            .iter()
            .map(|one| one.over - one.due)
            .max()
            .unwrap_or_default();
        let span = match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) => last.due - first.due,
            _ => Duration::ZERO,
        };
        write!(
            f,
            "{} requests in {span:.1?}, {} failed, the longest took {longest:.1?}, by {:?}",
            self.0.len(),
            self.failed().len(),
            self.by_body()
        )
    }
}

async fn client(
    plan: RequestPlan,
    number: u32,
    seen: Arc<Mutex<Vec<Answered>>>,
    mut stopped: watch::Receiver<bool>,
) {
    let period = Duration::from_secs(1) * plan.clients / plan.per_second;
    // Spread over the period.
    let mut schedule = interval_at((Instant::now() + period * number / plan.clients).into(), period);
    schedule.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut connection = None;
    loop {
        let due = tokio::select! {
            due = schedule.tick() => due.into_std(),
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        let what = match timeout(DEADLINE, ask(&plan, &mut connection)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(end)) => Err(end),
            Err(_) => Err(End::Timeout),
        };
        if what.is_err() {
            connection = None;
        }
        let answered = Answered {
            due,
            over: Instant::now(),
            what,
        };
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
    }
}

async fn ask(plan: &RequestPlan, connection: &mut Option<TcpStream>) -> Result<(u16, String), End> {
    let mut stream = if let Some(stream) = connection.take() {
        stream
    } else {
        let stream = TcpStream::connect(plan.to).await?;
        stream.set_nodelay(true)?;
        stream
    };
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", plan.host);
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let (status, close, body) = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(End::Fin);
        }
        if let Some(reply) = whole(&bytes) {
            break reply?;
        }
    };
    if !close {
        *connection = Some(stream);
    }
    Ok((status, body))
}

/// Status, whether the connection closes, and the body; none: it is not complete.
fn whole(bytes: &[u8]) -> Option<Result<(u16, bool, String), End>> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let odd = || Some(Err(End::Other(format!("an odd response: {head:?}"))));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let (Some(status), lines) = (status, lines) else {
        return odd();
    };
    let (mut length, mut close) = (None, false);
    for line in lines {
        let line = line.to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse::<usize>().ok();
        }
        close |= line.starts_with("connection:") && line.contains("close");
    }
    let Some(length) = length else { return odd() };
    (body.len() >= length).then(|| Ok((status, close, body[..length].trim().to_owned())))
}
