//! A backend that records. In: a host and a port. Out: an HTTP/1.1 server that answers each request with what it was asked
//! for, and everything that it was sent, byte by byte, by connection. It reads strictly: what it cannot read with
//! certainty it records as such, and closes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::lab::Host;

/// What a recorder has been sent as one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its connection, from 0.
    pub connection: usize,
    /// Request line and header lines with their ends, without the empty line.
    pub head: Vec<u8>,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// What was wrong with it, or that it ended early; none: a whole request.
    pub broken: Option<String>,
}

/// A running recorder.
#[derive(Clone)]
pub struct Recorder {
    /// It lives as long as its machine.
    _host: Host,
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Vec<Recorded>>,
    accepted: Mutex<usize>,
}

impl Recorder {
    /// Listens on `port` of the host's first address.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn start(host: &Host, port: u16) -> Self {
        let address = host.at(port);
        let shared = Arc::new(Shared::default());
        let listening = Arc::clone(&shared);
        let listener = host.block_on(async move { TcpListener::bind(address).await.expect("a free port") });
        host.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = {
                    let mut accepted = lock(&listening.accepted);
                    *accepted += 1;
                    *accepted - 1
                };
                tokio::spawn(serve(stream, connection, Arc::clone(&listening)));
            }
        });
        Self {
            _host: host.clone(),
            address,
            shared,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has been sent since the last call.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *lock(&self.shared.requests))
    }
}

impl Recorded {
    /// Its first line.
    pub fn line(&self) -> String {
        self.lines().into_iter().next().unwrap_or_default()
    }

    /// Its head, line by line, without line ends.
    pub fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.head);
        text.split_terminator("\r\n").map(str::to_owned).collect()
    }

    /// The values of the header lines of this name.
    pub fn header(&self, name: &str) -> Vec<String> {
        let lines = self.lines();
        let named = lines.iter().skip(1).filter_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        named.collect()
    }
}

async fn serve(mut stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    let mut bytes = Vec::new();
    loop {
        let request = match read(&mut stream, &mut bytes).await {
            Ok(Some((head, body))) => Recorded {
                connection,
                head,
                body,
                broken: None,
            },
            Ok(None) => return,
            Err((head, why)) => {
                lock(&shared.requests).push(Recorded {
                    connection,
                    head,
                    body: Vec::new(),
                    broken: Some(why),
                });
                return;
            }
        };
        let line = request.line();
        let answer = answer(&line);
        lock(&shared.requests).push(request);
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Who asked for what: a client that gets another's answer notices.
fn answer(line: &str) -> String {
    let asked: Vec<&str> = line.split(' ').take(2).collect();
    let body = asked.join(" ");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    if line.starts_with("HEAD ") {
        head
    } else {
        head + &body
    }
}

type Request = (Vec<u8>, Vec<u8>);
type Broken = (Vec<u8>, String);

/// The next request; none: the connection ended where it may.
async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<Option<Request>, Broken> {
    let end = loop {
        if let Some(at) = find(bytes, b"\r\n\r\n") {
            break at;
        }
        if more(stream, bytes).await {
            continue;
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        return Err((bytes.clone(), "it ends within the head".to_owned()));
    };
    let head = bytes[..end + 2].to_vec();
    bytes.drain(..end + 4);
    let fail = |why: &str| (head.clone(), why.to_owned());

    let request = Recorded {
        connection: 0,
        head: head.clone(),
        body: Vec::new(),
        broken: None,
    };
    let lengths = request.header("content-length");
    let codings = request.header("transfer-encoding");
    let body = match (&lengths[..], &codings[..]) {
        ([], []) => Vec::new(),
        ([length], []) => {
            let length: usize = length.parse().map_err(|_| fail("its length is no number"))?;
            exactly(stream, bytes, length)
                .await
                .ok_or_else(|| fail("it ends within the body"))?
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => {
            chunks(stream, bytes).await.map_err(&fail)?
        }
        _ => return Err(fail("its length is ambiguous")),
    };
    Ok(Some((head, body)))
}

async fn chunks(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let mut body = Vec::new();
    loop {
        let size = line(stream, bytes).await.ok_or("it ends within a chunk's size")?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| "a chunk's size is no number")?;
        if size == 0 {
            break;
        }
        body.extend(
            exactly(stream, bytes, size)
                .await
                .ok_or("it ends within a chunk")?,
        );
        let end = exactly(stream, bytes, 2).await.ok_or("it ends after a chunk")?;
        if end != b"\r\n" {
            return Err("a chunk is longer than its size");
        }
    }
    while !line(stream, bytes)
        .await
        .ok_or("it ends within the trailers")?
        .is_empty()
    {}
    Ok(body)
}

async fn line(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = find(bytes, b"\r\n") {
            let line = String::from_utf8_lossy(&bytes[..at]).into_owned();
            bytes.drain(..at + 2);
            return Some(line);
        }
        if !more(stream, bytes).await {
            return None;
        }
    }
}

async fn exactly(stream: &mut TcpStream, bytes: &mut Vec<u8>, count: usize) -> Option<Vec<u8>> {
    while bytes.len() < count {
        if !more(stream, bytes).await {
            return None;
        }
    }
    Some(bytes.drain(..count).collect())
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    matches!(stream.read_buf(bytes).await, Ok(1..))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|part| part == what)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
