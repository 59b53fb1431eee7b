//! The HTTPS edge. In: a port, the operator's certificate as it changes, what is known of pools. Out: answers to the API server,
//! and one word in metrics for each.
//!
//! Whoever reaches the port may ask: API servers show no certificate, and an answer holds nothing that is not in the question
//! but what pods of the namespace get anyway. So everything is bounded: connections, bytes, time. One request per connection: of one
//! that is kept open the API server would learn too late that it is closed, and the pod would be made without a proxy.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use switchyard_discovery::identity::Credential;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::review::{Answer, Outcome, Review};
use super::{Known, Metrics, PATH};
use crate::admin::BindError;
use crate::identity::Identity;

/// Questions that are looked at together; more wait to be accepted.
const CONNECTIONS: usize = 128;

/// Bytes of a question. The API server takes objects of 3 MiB (`--max-request-bytes` of kube-apiserver), and wraps one in a few
/// hundred bytes.
const BODY: usize = 3 * 1024 * 1024 + 64 * 1024;

/// How long a connection may last, from its first byte to its last. The API server never waits longer than 30 s.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long questions that are under way may take when the process ends.
const END_WITHIN: Duration = Duration::from_secs(3);

/// Accepting again after it failed.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A bound port that nobody serves yet.
#[derive(Debug)]
pub struct Door(TcpListener);

/// What is served.
#[derive(Clone)]
pub struct Served {
    /// What answers are made of.
    pub known: Known,
    /// Where the certificate comes from, once there is one.
    pub identified: watch::Receiver<Option<Arc<Identity>>>,
    /// Where is counted.
    pub metrics: Metrics,
}

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate is of no use.
    #[error("the webhook's certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
}

impl Door {
    /// Binds.
    ///
    /// # Errors
    /// The address is taken, or not ours.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let listener = TcpListener::bind(address).await;
        listener.map(Self).map_err(|source| BindError { address, source })
    }

    /// Serves until `ended`; questions that are under way are answered.
    ///
    /// # Errors
    /// The operator's own certificate cannot be used.
    pub async fn serve(self, served: Served, ended: CancellationToken) -> Result<(), Error> {
        let mut identified = served.identified.clone();
        let identity = identified.wait_for(Option::is_some);
        let identity = match ended.run_until_cancelled(identity).await {
            Some(Ok(identity)) => identity.clone(),
            // the process ends
            Some(Err(_)) | None => None,
        };
        let Some(identity) = identity else {
            return Ok(());
        };
        let mut credential = identity.credential();
        let mut config = config(&credential.borrow_and_update())?;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = ended.cancelled() => break,
                Some(_) = connections.join_next() => {}
                Ok(()) = credential.changed() => config = self::config(&credential.borrow_and_update())?,
                accepted = self.0.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, address)) => {
                        connections.spawn(connection(stream, address, config.clone(), served.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the webhook cannot accept a connection");
                        tokio::time::sleep(BACK_OFF).await;
                    }
                },
            }
        }
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(END_WITHIN, all).await.is_err() {
            connections.shutdown().await;
        }
        Ok(())
    }
}

fn config(credential: &Credential) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(credential.key.clone())));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn connection(stream: TcpStream, address: SocketAddr, config: Arc<ServerConfig>, served: Served) {
    let metrics = served.metrics.clone();
    let whole = async {
        let stream = match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                metrics.handshake_failed();
                // strangers can cause as many as they like
                tracing::debug!(%address, %error, "TLS handshake of the webhook failed");
                return;
            }
        };
        let service = service_fn(|request| {
            let served = &served;
            async move { Ok::<_, Infallible>(respond(request, served).await) }
        });
        let done = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(CONNECTION_TIMEOUT)
            .keep_alive(false)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = done {
            tracing::debug!(%address, %error, "a question was cut off");
        }
    };
    if tokio::time::timeout(CONNECTION_TIMEOUT, whole).await.is_err() {
        served.metrics.refused("timeout");
        tracing::debug!(%address, "a question took longer than 10s and was dropped");
    }
}

async fn respond(request: Request<Incoming>, served: &Served) -> Response<Full<Bytes>> {
    match question(request, served).await {
        Ok(body) => response(StatusCode::OK, "application/json", body),
        Err(Refused { status, reason, why }) => {
            served.metrics.refused(reason);
            tracing::warn!(reason, why, "a request to the webhook is refused");
            response(status, "text/plain; charset=utf-8", format!("{why}\n"))
        }
    }
}

/// Why there is no answer.
struct Refused {
    status: StatusCode,
    /// In one word.
    reason: &'static str,
    /// In words.
    why: String,
}

impl Refused {
    fn new(status: StatusCode, reason: &'static str, why: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            why: why.into(),
        }
    }
}

async fn question(request: Request<Incoming>, served: &Served) -> Result<String, Refused> {
    let path = request.uri().path();
    if path != PATH {
        let why = format!("no {path:?} here: pods are sent to {PATH}");
        return Err(Refused::new(StatusCode::NOT_FOUND, "path", why));
    }
    if request.method() != Method::POST {
        let why = format!("{PATH} takes POST, not {}", request.method());
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method", why));
    }
    // What is not known yet would be taken for not there.
    if !*served.known.synced.borrow() {
        let why = "the operator does not know the pools yet; try again";
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why));
    }
    let body = Limited::new(request.into_body(), BODY).collect().await;
    let body = body.map_err(|error| {
        let why = format!("the question cannot be read: {error}; it may have {BODY} bytes");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "body", why)
    })?;
    let began = Instant::now();
    let review = Review::parse(&body.to_bytes())
        .map_err(|why| Refused::new(StatusCode::BAD_REQUEST, "unreadable", why))?;
    let pools = served.known.view.sidecars(review.namespace());
    let Answer {
        review: answer,
        outcome,
        warnings,
    } = review.answer(&pools, &served.known.settings, &served.known.excluded);
    served.metrics.answered(outcome, began.elapsed());
    if outcome != Outcome::Unchanged || !warnings.is_empty() {
        tracing::info!(
            namespace = review.namespace(),
            ?outcome,
            ?warnings,
            "a pod asked for a proxy"
        );
    }
    Ok(answer.to_string())
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
