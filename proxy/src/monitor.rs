//! How endpoints are watched. In: the endpoints a chain wants probed. Out: a result per probe; what results in a row
//! mean is [`track`]'s business.

mod grpc;
mod http;
pub mod prober;
mod tcp;
mod tls;
pub mod track;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use switchyard_snapshot::{Monitor, format_duration};
use tokio::net::TcpStream;

/// Why a probe did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The endpoint is to blame; in words: `connection refused`, `status 503`.
    Endpoint(String),
    /// This machine is: no descriptors, no ports, no memory. Says nothing about the endpoint.
    Ours(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(why) | Self::Ours(why) => f.write_str(why),
        }
    }
}

impl Fault {
    fn endpoint(why: impl Into<String>) -> Self {
        Self::Endpoint(why.into())
    }

    /// What a failed system call tells, and about whom.
    fn io(error: &io::Error) -> Self {
        let ours = [
            nix::libc::EMFILE,
            nix::libc::ENFILE,
            nix::libc::ENOBUFS,
            nix::libc::ENOMEM,
            nix::libc::EADDRNOTAVAIL,
            nix::libc::EACCES,
            nix::libc::EPERM,
        ];
        if error.raw_os_error().is_some_and(|code| ours.contains(&code)) {
            return Self::Ours(error.to_string());
        }
        Self::Endpoint(match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
            io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
            io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
            io::ErrorKind::UnexpectedEof => "connection closed early".to_owned(),
            io::ErrorKind::TimedOut => "no answer".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// What is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The endpoint's own address; a monitor may name another port.
    pub address: SocketAddr,
    /// What the backend is called, for Host headers and SNI; none: its address.
    pub host: Option<String>,
}

impl Target {
    fn address(&self, port: Option<u16>) -> SocketAddr {
        SocketAddr::new(self.address.ip(), port.unwrap_or(self.address.port()))
    }
}

/// Probes once; `limit` is for all of it, connect included.
pub async fn probe(target: &Target, monitor: &Monitor, limit: Duration) -> Result<(), Fault> {
    let work = async {
        match monitor {
            Monitor::Tcp { port, send, expect } => {
                tcp::probe(target.address(*port), send.as_deref(), expect.as_deref()).await
            }
            Monitor::Http { port, tls, .. } if *tls => {
                let address = target.address(*port);
                let stream = tls::connect(address, target.host.as_deref()).await?;
                http::probe(stream, target, address, monitor).await
            }
            Monitor::Http { port, .. } => {
                let address = target.address(*port);
                http::probe(connect(address).await?, target, address, monitor).await
            }
            Monitor::Tls { port } => {
                let address = target.address(*port);
                tls::connect(address, target.host.as_deref()).await.map(drop)
            }
            Monitor::Grpc { port, service } => {
                let address = target.address(*port);
                grpc::probe(connect(address).await?, address, service).await
            }
        }
    };
    within(limit, work).await
}

/// Connects to the endpoint's own port, and no more.
pub async fn knock(address: SocketAddr, limit: Duration) -> Result<(), Fault> {
    within(limit, async { connect(address).await.map(drop) }).await
}

async fn within(limit: Duration, work: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Fault::Endpoint(format!(
            "no answer within {}",
            format_duration(limit)
        ))),
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Fault> {
    TcpStream::connect(address)
        .await
        .map_err(|error| Fault::io(&error))
}

/// What came back, as a line that fits into a reason.
fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 60;
    let text: String = String::from_utf8_lossy(bytes).chars().take(LONGEST + 1).collect();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests;
