//! Clients that measure from outside. In: an address and a rate or a number
//! of sessions. Out: for every single connection, when it was begun, when it
//! was connected, when the first byte of a backend that says its name came
//! back, and how it ended. A client connects once and never tries again.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use crate::greeting::Greeting;

pub mod frames;
mod load;
mod reply;
mod requests;
mod sessions;
mod summary;
mod wire;

pub use load::{Load, LoadPlan};
pub use reply::Reply;
pub use requests::{Answered, AnsweredAll, RequestPlan, Requests};
pub use sessions::{Session, SessionPlan, Sessions};
pub use summary::Outcomes;
pub use wire::Wire;

/// Who speaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialog {
    /// The client sends a line, the backend answers.
    Ask,
    /// The client says nothing until the backend has greeted.
    Listen,
}

/// What became of one connection.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// When `connect` was called.
    pub begun: Instant,
    /// How much later that was than the plan's schedule.
    pub late: Duration,
    /// Time until it was connected.
    pub connected: Option<Duration>,
    /// Time until a backend's first byte came, and who it was. `None`: failed.
    pub served: Option<(Duration, Greeting)>,
    /// How it ended.
    pub end: End,
    /// Time until it had ended.
    pub lasted: Duration,
}

impl Outcome {
    /// When a backend's first byte came.
    pub fn first_byte(&self) -> Option<Instant> {
        self.served.as_ref().map(|(after, _)| self.begun + *after)
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client was served, said FIN and got FIN back.
    Finished,
    /// The other side said FIN first.
    Fin,
    /// Reset by the other side.
    Reset,
    /// Nobody listened.
    Refused,
    /// The client's deadline passed.
    Timeout,
    /// Anything else, in words.
    Other(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Fin => "FIN",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Other(words) => words,
        })
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::UnexpectedEof => Self::Fin,
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// An open connection to a backend, read line by line.
struct Conversation {
    stream: BufReader<TcpStream>,
}

impl Conversation {
    async fn connect(to: SocketAddr, deadline: Instant) -> Result<Self, End> {
        let stream = within(deadline, TcpStream::connect(to)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// The backend's next greeting, after asking for it where `dialog` says
    /// so, and when its first byte came.
    async fn greeting(&mut self, dialog: Dialog, deadline: Instant) -> Result<(Instant, Greeting), End> {
        if dialog == Dialog::Ask {
            within(deadline, self.stream.write_all(b"who are you?\n")).await?;
        }
        let first = within(deadline, self.stream.fill_buf()).await?;
        if first.is_empty() {
            return Err(End::Fin);
        }
        let at = Instant::now();
        let mut line = String::new();
        within(deadline, self.stream.read_line(&mut line)).await?;
        match serde_json::from_str(&line) {
            Ok(greeting) => Ok((at, greeting)),
            Err(_) if line.ends_with('\n') => Err(End::Other(format!("no backend's greeting: {line:?}"))),
            Err(_) => Err(End::Fin),
        }
    }

    /// Waits for the other side to end the connection.
    async fn end(&mut self, deadline: Instant) -> End {
        match within(deadline, self.stream.fill_buf()).await {
            Ok([]) => End::Fin,
            Ok(bytes) => End::Other(format!("{} bytes nobody asked for", bytes.len())),
            Err(end) => end,
        }
    }

    /// Says FIN and awaits the other side's.
    async fn finish(&mut self, deadline: Instant) -> End {
        if let Err(end) = within(deadline, self.stream.shutdown()).await {
            return end;
        }
        match self.end(deadline).await {
            End::Fin => End::Finished,
            other => other,
        }
    }
}

async fn within<T>(deadline: Instant, step: impl Future<Output = io::Result<T>>) -> Result<T, End> {
    match timeout_at(deadline.into(), step).await {
        Ok(result) => result.map_err(End::from),
        Err(_) => Err(End::Timeout),
    }
}
