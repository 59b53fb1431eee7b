//! The http monitor: one GET over HTTP/1.1; the status must be one of those expected.

use std::net::SocketAddr;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use switchyard_snapshot::Monitor;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Fault, Target};

/// Asks over a connection that is already there.
pub(super) async fn probe<S>(
    stream: S,
    target: &Target,
    address: SocketAddr,
    monitor: &Monitor,
) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Monitor::Http {
        path, host, expect, ..
    } = monitor
    else {
        return Err(Fault::Ours("not an http monitor".to_owned()));
    };
    let host = host.clone().unwrap_or_else(|| match &target.host {
        Some(name) => format!("{name}:{}", target.address.port()),
        None => address.to_string(),
    });
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("switchyard/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Fault::Ours(format!("cannot ask for {path:?}: {error}")))?;
    let status = exchange(stream, request).await?;
    if expect.contains(&status.as_u16()) {
        Ok(())
    } else {
        Err(Fault::Endpoint(format!("status {}", status.as_u16())))
    }
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<StatusCode, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| fault(&error))?;
    let mut connection = std::pin::pin!(connection);
    let mut response = std::pin::pin!(sender.send_request(request));
    tokio::select! {
        biased;
        response = &mut response => Ok(response.map_err(|error| fault(&error))?.status()),
        // the connection may end in the same breath as its last response
        ended = &mut connection => match response.await {
            Ok(response) => Ok(response.status()),
            Err(error) => Err(fault(&ended.err().unwrap_or(error))),
        },
    }
}

fn fault(error: &hyper::Error) -> Fault {
    let source = std::error::Error::source(error);
    if let Some(io) = source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
        return Fault::io(io);
    }
    if error.is_incomplete_message() || error.is_canceled() {
        return Fault::endpoint("connection closed early");
    }
    if error.is_parse() {
        return Fault::endpoint("what came back is not HTTP/1.1");
    }
    Fault::Endpoint(error.to_string())
}
