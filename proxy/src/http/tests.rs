//! Real sockets on loopback: raw clients, servers that write down what they were asked, a real worker between them.

mod http1;
mod http2;
mod redirects;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use switchyard_snapshot::{Listener, Protocol};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::testing::rig::{self, Control, apply, listener, routing, within};
use crate::worker::Workers;

use server::Site;

/// A worker with one HTTP listener, whose default chain leads to `sites`.
struct Front {
    workers: Workers,
    control: Control,
    at: SocketAddr,
}

impl Front {
    async fn new(sites: &[&Site]) -> Self {
        Self::with(sites, |_| {}).await
    }

    async fn with(sites: &[&Site], change: impl FnOnce(&mut Listener)) -> Self {
        let addresses: Vec<SocketAddr> = sites.iter().map(|site| site.address).collect();
        Self::of(Control::simple("web", &addresses), change).await
    }

    async fn of(control: Control, change: impl FnOnce(&mut Listener)) -> Self {
        let mut listener = listener("main", Protocol::Http);
        listener.idle_timeout = Duration::from_secs(5);
        listener.handshake_timeout = Duration::from_secs(1);
        change(&mut listener);
        let workers = rig::workers(1);
        let at = apply(&workers, routing(vec![(listener, vec![&control])])).await["main"];
        Self { workers, control, at }
    }

    async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.at).await.unwrap())
    }
}

/// A client that writes bytes and reads messages.
struct Raw<S = TcpStream>(S);

/// A response: its head in lower case, and its body as it came.
#[derive(Debug)]
struct Told {
    head: String,
    body: Vec<u8>,
}

impl Told {
    fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    fn has(&self, line: &str) -> bool {
        self.head.lines().any(|known| known == line)
    }

    /// The value of a header field, in lower case.
    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next head.
    async fn head(&mut self) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let byte = within(self.0.read_u8()).await;
            bytes.push(
                byte.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&bytes))),
            );
        }
        String::from_utf8(bytes).unwrap().to_lowercase()
    }

    /// The next response, whose body has a length or is chunked.
    async fn hear(&mut self) -> Told {
        let head = self.head().await;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = Vec::new();
        if let Some(length) = length {
            body = vec![0; length.parse().unwrap()];
            within(self.0.read_exact(&mut body)).await.unwrap();
        } else if head.contains("transfer-encoding: chunked") {
            while !body.ends_with(b"\r\n\r\n") {
                body.push(within(self.0.read_u8()).await.unwrap());
            }
        }
        Told { head, body }
    }

    async fn ask(&mut self, text: &str) -> Told {
        self.say(text).await;
        self.hear().await
    }

    /// Reads to the end of the stream.
    async fn end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        within(self.0.read_to_end(&mut rest)).await.unwrap();
        rest
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: web.example\r\n\r\n")
}
