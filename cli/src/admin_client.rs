//! Asks a proxy's admin endpoint. In: `HOST:PORT` and a path. Out: status and body, or what went wrong in words.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
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

/// GET, within five seconds.
pub async fn get(admin: &str, path: &str) -> io::Result<Answer> {
    let say = |error: io::Error| io::Error::new(error.kind(), format!("GET http://{admin}{path}: {error}"));
    match timeout(TIMEOUT, exchange(admin, path)).await {
        Ok(answer) => answer.map_err(say),
        Err(_) => Err(say(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {TIMEOUT:?}"),
        ))),
    }
}

async fn exchange(admin: &str, path: &str) -> io::Result<Answer> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let request = Request::get(path)
        .header(hyper::header::HOST, admin)
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
