//! Asks a proxy's admin endpoint. In: `HOST:PORT` and a path. Out: status and body, or what went wrong in words.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes: a proxy with ten thousand endpoints stays below it.
const BODY_LIMIT: usize = 16 << 20;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// The whole body.
    pub body: String,
}

/// What an admin endpoint answers to a request without a body, within five seconds.
pub async fn ask(method: Method, admin: &str, path: &str) -> io::Result<Answer> {
    let words = format!("{method} http://{admin}{path}");
    let say = |error: io::Error| io::Error::new(error.kind(), format!("{words}: {error}"));
    let stream = match timeout(TIMEOUT, TcpStream::connect(admin)).await {
        Ok(stream) => stream.map_err(say)?,
        Err(_) => return Err(say(no_answer())),
    };
    exchange(method, admin, path, stream).await.map_err(say)
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {TIMEOUT:?}"))
}

/// What comes back on a connection that leads to an admin endpoint, within five seconds.
pub async fn exchange(
    method: Method,
    host: &str,
    path: &str,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<Answer> {
    let exchanged = timeout(TIMEOUT, exchanged(method, host, path, stream)).await;
    exchanged.unwrap_or_else(|_| Err(no_answer()))
}

async fn exchanged(
    method: Method,
    host: &str,
    path: &str,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<Answer> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, host)
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let answer = async move {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), BODY_LIMIT)
            .collect()
            .await
            .map_err(io::Error::other)?;
        Ok(Answer {
            status,
            body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        })
    };
    // The connection is driven by this very future: it ends with it.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(io::Error::other(error)),
        },
    }
}
