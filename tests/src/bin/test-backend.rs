//! A small real TCP server that says its name: on connect (server first), or
//! in answer to each line of the client (client first), or to each HTTP
//! request. Its log has one JSON object per event: `listening`, `accepted`,
//! `ended`.
#![allow(clippy::expect_used, reason = "a test server tells by ending")]

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ppp::{HeaderResult, PartialResult, v1, v2};
use serde_json::json;
use switchyard_tests::greeting::{Greeting, ProxyHeader};
use tokio::io::{self, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Bytes of a PROXY header at most: 16 + addresses + TLVs, well within this.
const LARGEST_HEADER: usize = 4096;

static LOG: OnceLock<File> = OnceLock::new();

#[derive(Parser)]
struct Arguments {
    /// The name it says.
    #[arg(long)]
    name: String,
    /// Addresses to listen on; `[::]:PORT` takes IPv4 and IPv6.
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    #[arg(long, value_enum, default_value_t = Mode::ClientFirst)]
    mode: Mode,
    /// Where its log goes; an older one is continued.
    #[arg(long)]
    log: PathBuf,
    /// Expect a PROXY protocol header, version 1 or 2; without one the
    /// connection is reset.
    #[arg(long)]
    proxy_protocol: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Says its name on connect, and in answer to each line.
    ServerFirst,
    /// Says its name in answer to each line.
    ClientFirst,
    /// Accepts and never says a word.
    Mute,
    /// Resets each connection as soon as it is accepted.
    Reset,
    /// Does what each line says: `name`; `bytes N` (sends so many); `fin`
    /// (sends FIN, reads on); `reset`; `deaf` (reads no more). When the client
    /// has said FIN it tells how many bytes it has received, then ends.
    Told,
    /// Speaks HTTP/1.1: answers each request that has no body with 200 and its name, and keeps the connection.
    Http,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: &'static Arguments = Box::leak(Box::new(Arguments::parse()));
    LOG.get_or_init(|| {
        let log = File::options().create(true).append(true).open(&arguments.log);
        log.expect("the log can be opened")
    });
    let mut listeners = Vec::new();
    for address in &arguments.listen {
        let listener = listen(*address).expect("the address can be listened on");
        log(&json!({"event": "listening", "local": address}));
        listeners.push(tokio::spawn(accept(listener, arguments)));
    }
    for listener in listeners {
        listener.await.expect("accepting does not end");
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

async fn accept(listener: TcpListener, arguments: &'static Arguments) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, arguments));
            }
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, arguments: &Arguments) {
    let Ok(mut greeting) = meet(&stream, arguments) else {
        return; // the client has left already
    };
    if arguments.mode == Mode::Reset {
        log(&json!({"event": "accepted", "greeting": greeting}));
        let _ = stream.set_zero_linger();
        return;
    }
    if arguments.proxy_protocol {
        match proxy_header(&mut stream).await {
            Ok(header) => greeting.proxy = Some(header),
            Err(error) => {
                eprintln!("{}: PROXY header: {error}", greeting.peer);
                let _ = stream.set_zero_linger();
                return;
            }
        }
    }
    log(&json!({"event": "accepted", "greeting": greeting}));
    let mut received = 0;
    let outcome = match arguments.mode {
        Mode::Told => obey(stream, &greeting, &mut received).await,
        Mode::Http => answer(stream, &greeting.name).await,
        mode => converse(stream, &greeting, mode).await,
    };
    let how = match outcome {
        Ok(()) => "fin".to_owned(),
        Err(error) => error.kind().to_string(),
    };
    log(&json!({"event": "ended", "peer": greeting.peer, "how": how, "received": received}));
}

fn meet(stream: &TcpStream, arguments: &Arguments) -> io::Result<Greeting> {
    stream.set_nodelay(true)?;
    Ok(Greeting {
        name: arguments.name.clone(),
        local: canonical(stream.local_addr()?),
        peer: canonical(stream.peer_addr()?),
        proxy: None,
    })
}

/// Until the client's FIN, which is answered with ours.
async fn converse(stream: TcpStream, greeting: &Greeting, mode: Mode) -> io::Result<()> {
    let says = format!("{}\n", json!(greeting));
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    if mode == Mode::ServerFirst {
        writer.write_all(says.as_bytes()).await?;
    }
    while lines.next_line().await?.is_some() {
        if mode != Mode::Mute {
            writer.write_all(says.as_bytes()).await?;
        }
    }
    writer.shutdown().await
}

/// Answers requests until the client's FIN.
async fn answer(stream: TcpStream, name: &str) -> io::Result<()> {
    let reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{name}",
        name.len()
    );
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        if line.is_empty() {
            writer.write_all(reply.as_bytes()).await?;
        }
    }
    writer.shutdown().await
}

/// Does what the client says, until its FIN.
async fn obey(stream: TcpStream, greeting: &Greeting, received: &mut u64) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut finished = false;
    loop {
        let mut line = String::new();
        let count = reader.read_line(&mut line).await?;
        *received += count as u64;
        if count == 0 {
            break;
        }
        let (order, number) = line.trim().split_once(' ').unwrap_or((line.trim(), "0"));
        match order {
            "name" => {
                let says = format!("{}\n", json!(greeting));
                writer.write_all(says.as_bytes()).await?;
            }
            "bytes" => send(&mut writer, number.parse().map_err(io::Error::other)?).await?,
            "fin" => {
                writer.shutdown().await?;
                finished = true;
            }
            "reset" => {
                let stream = reader.into_inner().reunite(writer).map_err(io::Error::other)?;
                return stream.set_zero_linger();
            }
            "deaf" => std::future::pending().await,
            _ => {} // only counted
        }
    }
    if !finished {
        writer
            .write_all(format!("received {received}\n").as_bytes())
            .await?;
    }
    writer.shutdown().await
}

async fn send(writer: &mut OwnedWriteHalf, mut left: usize) -> io::Result<()> {
    let block = vec![b'x'; 64 * 1024];
    while left > 0 {
        let part = left.min(block.len());
        writer.write_all(&block[..part]).await?;
        left -= part;
    }
    Ok(())
}

async fn proxy_header(stream: &mut TcpStream) -> io::Result<ProxyHeader> {
    let mut buffer = Vec::new();
    // Byte by byte, so that nothing behind the header is taken.
    while buffer.len() < LARGEST_HEADER {
        buffer.push(stream.read_u8().await?);
        if buffer.starts_with(b"P") && !buffer.ends_with(b"\n") {
            continue; // version 1 is one line
        }
        match HeaderResult::parse(&buffer) {
            HeaderResult::V2(Ok(header)) => return Ok(version_2(&header)),
            HeaderResult::V1(Ok(header)) => return Ok(version_1(&header)),
            result if result.is_incomplete() => {}
            result => return Err(io::Error::other(format!("{result:?}"))),
        }
    }
    Err(io::Error::other("too long"))
}

fn version_1(header: &v1::Header) -> ProxyHeader {
    let addresses = match &header.addresses {
        v1::Addresses::Tcp4(a) => Some((
            (a.source_address, a.source_port).into(),
            (a.destination_address, a.destination_port).into(),
        )),
        v1::Addresses::Tcp6(a) => Some((
            (a.source_address, a.source_port).into(),
            (a.destination_address, a.destination_port).into(),
        )),
        v1::Addresses::Unknown => None,
    };
    ProxyHeader {
        version: 1,
        addresses,
    }
}

fn version_2(header: &v2::Header) -> ProxyHeader {
    let addresses = match &header.addresses {
        v2::Addresses::IPv4(a) => Some((
            (a.source_address, a.source_port).into(),
            (a.destination_address, a.destination_port).into(),
        )),
        v2::Addresses::IPv6(a) => Some((
            (a.source_address, a.source_port).into(),
            (a.destination_address, a.destination_port).into(),
        )),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
    };
    ProxyHeader {
        version: 2,
        addresses,
    }
}

/// IPv4 as IPv4, also where it came in through an IPv6 socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn log(event: &serde_json::Value) {
    let line = format!("{event}\n");
    let mut log = LOG.get().expect("opened at the start");
    log.write_all(line.as_bytes()).expect("the log can be written");
}
