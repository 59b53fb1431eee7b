//! One JSON line per connection. In: records from data workers. Out: lines on a writer of its own thread; a worker
//! never waits for it: what does not fit into the queue is dropped and counted.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use jiff::Timestamp;
use serde::Serialize;

use crate::session::end::Fault;

/// How many lines may wait for the writer.
const QUEUE: usize = 4096;

/// What a line says of how another proxy was reached.
pub(crate) const RELAY: &str = "relay";

/// What a line says. Absent fields were not known when the connection ended.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When the connection was accepted.
    pub start: Timestamp,
    /// How long it lasted.
    pub duration_ms: u64,
    /// The client (behind a PROXY header: as the header says).
    pub client: SocketAddr,
    /// Name of the listener.
    pub listener: String,
    /// `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Name of the backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Address of the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// `relay`: the endpoint is another proxy, which serves the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<&'static str>,
    /// The client is here because another chain's proxy sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<Guest>,
    /// SNI or Host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The client's TLS, where it ended here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The request, where the listener speaks HTTP: then there is a line for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Bytes from the client to the backend.
    pub bytes_up: u64,
    /// Bytes from the backend to the client.
    pub bytes_down: u64,
    /// Attempts to connect.
    pub attempts: u32,
    /// From the first attempt to the established connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    /// How it ended.
    pub end: &'static str,
    /// Whose doing that was.
    pub fault: Fault,
    /// What exactly was wrong, where `end` does not say it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A client that another chain's proxy sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Guest {
    /// The chain it came for, `namespace/name`, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// It comes through that proxy; otherwise it was told to come here.
    pub relayed: bool,
}

/// One HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`, as the client speaks it.
    pub version: &'static str,
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// What the client was answered; none: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `X-Request-Id`, the client's or ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// From the request to the beginning of the endpoint's response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_ms: Option<u64>,
}

/// A client's TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: &'static str,
    /// The name that the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// What was agreed to be spoken inside (RFC 7301).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// A session of before went on.
    pub resumed: bool,
}

/// Where data workers put their records. Clones share one queue.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// A log that writes to `to`, and the thread that does it: it ends when the last clone is gone and everything is
    /// written, or with the first error of the writer.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(to: impl Write + Send + 'static) -> io::Result<(Self, JoinHandle<io::Result<()>>)> {
        let (queue, lines) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write(&lines, to))?;
        Ok((
            Self {
                queue,
                dropped: Arc::default(),
            },
            writer,
        ))
    }

    /// Queues one line; never waits.
    pub(crate) fn write(&self, record: &Record) {
        let queued = serde_json::to_vec(record).is_ok_and(|mut line| {
            line.push(b'\n');
            self.queue.try_send(line).is_ok()
        });
        if !queued {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines lost so far, because the writer was slower than the connections, or failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn write(lines: &Receiver<Vec<u8>>, to: impl Write) -> io::Result<()> {
    let mut to = io::BufWriter::with_capacity(64 * 1024, to);
    while let Ok(line) = lines.recv() {
        to.write_all(&line)?;
        // Flushed whenever nothing more waits: a quiet log is complete, a busy one is cheap.
        while let Ok(line) = lines.try_recv() {
            to.write_all(&line)?;
        }
        to.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn record() -> Record {
        Record {
            start: Timestamp::UNIX_EPOCH,
            duration_ms: 12,
            client: "192.0.2.1:5000".parse().unwrap(),
            listener: "sync".into(),
            chain: Some("edge/msuite".into()),
            backend: None,
            endpoint: None,
            via: None,
            guest: None,
            name: Some("møller.example".into()),
            tls: None,
            http: None,
            bytes_up: 1,
            bytes_down: 2,
            attempts: 1,
            connect_ms: None,
            end: "refused:noEndpoint",
            fault: Fault::Backend,
            why: None,
        }
    }

    /// A writer that hands on what it gets once it is told to go.
    struct Gate {
        open: mpsc::Receiver<()>,
        out: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open.recv().ok();
            self.out.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn writes_a_line_of_json_and_drops_what_the_writer_cannot_take() {
        let (open, gate) = mpsc::channel();
        let (out, written) = mpsc::channel();
        let (log, writer) = AccessLog::start(Gate { open: gate, out }).unwrap();
        // One line may be in the writer's hands, one batch in its buffer; the queue holds the rest.
        for _ in 0..3 * QUEUE {
            log.write(&record());
        }
        assert!(
            log.dropped() > 0,
            "a writer that stands still must not hold a worker"
        );
        drop(open);
        let dropped = log.dropped();
        drop(log);
        writer.join().unwrap().unwrap();
        let bytes: Vec<u8> = written.iter().flatten().collect();
        let lines: Vec<serde_json::Value> = bytes
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice(l).unwrap())
            .collect();
        assert_eq!(lines.len() as u64 + dropped, 3 * QUEUE as u64);
        assert_eq!(lines[0]["end"], "refused:noEndpoint");
        assert_eq!(lines[0]["fault"], "backend");
        assert_eq!(lines[0]["name"], "møller.example");
        assert!(lines[0].get("endpoint").is_none());
    }
}
