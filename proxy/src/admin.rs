//! The admin endpoints of one proxy. In: HTTP/1.1 requests, from loopback unless the user means otherwise. Out: what the
//! proxy believes, as JSON; metrics; a drain on request.

mod pages;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::Running;
pub(crate) use pages::Page;

/// Where admin endpoints listen unless they are told otherwise, on loopback.
pub const DEFAULT_PORT: u16 = 17000;

/// Requests served at once; more wait to be accepted.
const CONNECTIONS: usize = 64;

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one connection may last, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(1);

/// Accepting again after it failed.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A bound admin address that nobody serves yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    pages: &'static [Page],
}

impl Admin {
    /// Binds; these pages will be served there.
    ///
    /// # Errors
    /// The address is taken, or not ours.
    pub(crate) async fn bind(address: SocketAddr, pages: &'static [Page]) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            pages,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `ended`; requests under way are cut off then.
    pub(crate) async fn serve(self, running: Arc<Running>, ended: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = ended.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, self.pages, Arc::clone(&running)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept an admin connection");
                        tokio::time::sleep(BACK_OFF).await;
                    }
                },
            }
        }
        connections.shutdown().await;
    }
}

async fn connection(stream: TcpStream, pages: &'static [Page], running: Arc<Running>) {
    let service = service_fn(move |request| {
        let running = Arc::clone(&running);
        async move { Ok::<_, Infallible>(answer(&request, pages, &running).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // whatever goes wrong here is the client's affair
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
}

async fn answer(request: &Request<Incoming>, pages: &[Page], running: &Running) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let Some(page) = pages.iter().find(|page| page.path() == path) else {
        let paths: Vec<String> = pages
            .iter()
            .map(|p| format!("{} {}", p.method(), p.path()))
            .collect();
        return respond(
            StatusCode::NOT_FOUND,
            &json!({"error": format!("no {path} here"), "paths": paths}),
        );
    };
    let asked = if request.method() == Method::HEAD {
        &Method::GET
    } else {
        request.method()
    };
    if asked != page.method() {
        let error = format!("{path} takes {}, not {}", page.method(), request.method());
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": error}));
        if let Ok(allow) = page.method().as_str().parse() {
            response.headers_mut().insert(ALLOW, allow);
        }
        return response;
    }
    page.answer(running, request.uri().query()).await
}

/// A JSON page.
fn respond(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut text = serde_json::to_string_pretty(body).unwrap_or_else(|error| error.to_string());
    text.push('\n');
    respond_as(status, "application/json", text)
}

fn respond_as(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}
