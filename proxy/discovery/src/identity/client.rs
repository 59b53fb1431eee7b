//! The connecting end. In: the files of a pod (CA bundle, token) and who the proxy is. Out: a connector whose connections
//! are always opened with the newest certificate, and a task that keeps it fresh.
//!
//! ```text
//!  token file ─┐
//!              ├─► run ── exchange ──► Held { key, chain, bundle } ──► connector ──► tonic channel
//!  Held ───────┘   (2/3 of its life)         in memory only
//! ```
//!
//! A valid certificate is renewed by itself; the token is needed for the first one, and again once a renewal is refused, the
//! certificate has expired, or the operator does not know its CA any more. So an outage of the API server, whose tokens run out,
//! locks nobody out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Endpoint;

use super::bundle::{Bundle, BundleError};
use super::certificate::Credential;
use super::proto::ExchangeRequest;
use super::proto::identity_client::IdentityClient;
use super::request::{KeyRequest, RequestError};
use crate::causes::with_causes;
use crate::peer::PeerIdentity;

mod connector;
mod refused;
mod schedule;

use connector::Trust;
pub use connector::{Connector, ConnectorError, EXCHANGE_TIMEOUT};
use schedule::{Failure, Means, Schedule};

/// Who the proxy is, and where to find what it needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who it is.
    pub identity: PeerIdentity,
    /// Where certificates are issued: `host:port`.
    pub operator: String,
    /// The name in the server's certificate; none: the host of the address that is connected to.
    pub server_name: Option<String>,
    /// PEM of the authorities to trust; read again for each connection.
    pub bundle_file: PathBuf,
    /// The pod's projected token; read again for each exchange.
    pub token_file: PathBuf,
}

/// What the proxy holds: key and certificate, and whom to trust beside the file. Never on disk.
#[derive(Clone)]
struct Held {
    credential: Credential,
    obtained: Timestamp,
    bundle: Bundle,
}

/// How fresh the certificate is, for pages and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Until when the certificate holds; none: there is none yet.
    pub until: Option<Timestamp>,
    /// Exchanges that succeeded.
    pub renewed: u64,
    /// Exchanges that failed, since the last that did not.
    pub failures: u32,
    /// Why the last one failed, in words.
    pub error: Option<String>,
}

/// A certificate kept fresh. Clones share it.
#[derive(Clone)]
pub struct Client {
    settings: Arc<Settings>,
    held: watch::Sender<Option<Arc<Held>>>,
    freshness: watch::Sender<Freshness>,
    /// A connection was opened with the certificate, and the other end did not want it.
    refused: Arc<Notify>,
}

/// Why there is no new certificate.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// Nothing to prove the pod with.
    #[error("the token file {} cannot be used: {reason}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// In words.
        reason: String,
    },
    /// No key or no name.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The operator cannot be reached.
    #[error("{address} cannot be reached for a certificate: {reason}")]
    Connect {
        /// `host:port`.
        address: String,
        /// In words.
        reason: String,
    },
    /// The operator says no.
    #[error("the operator refuses a certificate: {reason}")]
    Refused {
        /// In words.
        reason: String,
    },
    /// What came back cannot be used.
    #[error("the operator's answer cannot be used: {0}")]
    Answer(String),
}

impl From<BundleError> for ExchangeError {
    fn from(error: BundleError) -> Self {
        Self::Answer(error.to_string())
    }
}

impl Client {
    /// Without a certificate yet; [`Client::run`] gets it.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            held: watch::Sender::new(None),
            freshness: watch::Sender::new(Freshness::default()),
            refused: Arc::default(),
        }
    }

    /// For tonic's `connect_with_connector`: each connection is opened with the certificate of that moment, and fails as
    /// long as there is none.
    pub fn connector(&self) -> Connector {
        Connector::new(
            self.settings.clone(),
            Trust::Newest(self.held.subscribe()),
            self.refused.clone(),
        )
    }

    /// Returns once there is a certificate that is valid.
    pub async fn ready(&self) {
        let mut held = self.held.subscribe();
        // The sender lives as long as `self`.
        let _alive = held
            .wait_for(|held| {
                held.as_ref()
                    .is_some_and(|held| held.credential.validity.covers(Timestamp::now()))
            })
            .await;
    }

    /// How fresh the certificate is.
    pub fn freshness(&self) -> watch::Receiver<Freshness> {
        self.freshness.subscribe()
    }

    /// Keeps the certificate fresh until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut schedule = Schedule::new(fastrand::Rng::new());
        loop {
            let held = self.held.borrow().clone();
            let life = held
                .as_ref()
                .map(|held| (held.obtained, held.credential.validity.until));
            let wait = schedule.wait(Timestamp::now(), life);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.refused.notified() => schedule.doubted(Timestamp::now()),
                () = stop.cancelled() => return,
            }
            let Some(means) = schedule.due(Timestamp::now(), life) else {
                continue;
            };
            let Some(outcome) = stop.run_until_cancelled(self.exchange(means, held)).await else {
                return;
            };
            self.note(&mut schedule, means, outcome);
        }
    }

    fn note(&self, schedule: &mut Schedule, means: Means, outcome: Result<Held, ExchangeError>) {
        match outcome {
            Ok(held) => {
                let until = held.credential.validity.until;
                tracing::info!(%until, ?means, "the client certificate is renewed");
                schedule.succeeded();
                self.held.send_replace(Some(Arc::new(held)));
                self.freshness.send_modify(|freshness| {
                    *freshness = Freshness {
                        until: Some(until),
                        renewed: freshness.renewed + 1,
                        ..Freshness::default()
                    };
                });
            }
            Err(error) => {
                tracing::warn!(%error, ?means, "the client certificate is not renewed; trying again");
                let how = match error {
                    ExchangeError::Refused { .. } => Failure::Refused,
                    ExchangeError::Connect { .. } => Failure::Unheard,
                    _ => Failure::Wrong,
                };
                schedule.failed(Timestamp::now(), means, how);
                self.freshness.send_modify(|freshness| {
                    freshness.failures += 1;
                    freshness.error = Some(error.to_string());
                });
            }
        }
    }

    /// One exchange: a new key each time.
    async fn exchange(&self, means: Means, held: Option<Arc<Held>>) -> Result<Held, ExchangeError> {
        let settings = &self.settings;
        let (token, trust) = match means {
            Means::Token => (read_token(&settings.token_file).await?, Trust::Token(held)),
            Means::Certificate => (String::new(), Trust::Newest(self.held.subscribe())),
        };
        let (key, csr) = KeyRequest::generate(&settings.identity)?;
        let obtained = Timestamp::now();
        let unreachable = |error: &dyn std::error::Error| ExchangeError::Connect {
            address: settings.operator.clone(),
            reason: with_causes(error),
        };
        // The connector does TLS itself; tonic would insist on its own for https.
        let channel = Endpoint::from_shared(format!("http://{}", settings.operator))
            .map_err(|error| unreachable(&error))?
            .timeout(EXCHANGE_TIMEOUT)
            .connect_with_connector(Connector::new(settings.clone(), trust, self.refused.clone()))
            .await
            .map_err(|error| unreachable(&error))?;
        let answer = IdentityClient::new(channel)
            .exchange(ExchangeRequest { token, csr })
            .await
            .map_err(|status| match status.code() {
                Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => {
                    ExchangeError::Refused {
                        reason: status.message().to_owned(),
                    }
                }
                _ => unreachable(&status),
            })?
            .into_inner();
        let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
        let bundle = Bundle::from_der(answer.bundle.into_iter().map(CertificateDer::from));
        bundle.roots()?;
        Ok(Held {
            credential: Credential::new(chain, &key).map_err(ExchangeError::Answer)?,
            obtained,
            bundle,
        })
    }
}

async fn read_token(path: &Path) -> Result<String, ExchangeError> {
    let refuse = |reason: String| ExchangeError::Token {
        path: path.to_owned(),
        reason,
    };
    let token = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| refuse(error.to_string()))?;
    match token.trim() {
        "" => Err(refuse("it is empty".to_owned())),
        token => Ok(token.to_owned()),
    }
}
