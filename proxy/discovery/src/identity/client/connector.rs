//! Opens connections. In: an address, what is held at that moment. Out: TLS streams for tonic.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tower::Service;

use super::refused::Refusable;
use super::{Held, Settings};
use crate::identity::authority::provider;
use crate::identity::bundle::{Bundle, BundleError};
use crate::identity::server::ALPN;

/// One exchange, from the first packet to the answer.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// For each of: connecting, and the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectorError {
    /// Nothing to prove who we are with.
    #[error("there is no client certificate yet")]
    NoCertificate,
    /// Nobody to trust.
    #[error("the CA bundle {} cannot be read: {error}", path.display())]
    BundleFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Nobody to trust.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// No host or no port.
    #[error("{0:?} is no address of the form host:port")]
    Address(String),
    /// rustls refused the configuration.
    #[error("TLS cannot be configured: {0}")]
    Config(String),
    /// TCP failed.
    #[error("{address}: cannot connect: {error}")]
    Connect {
        /// `host:port`.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// TLS failed: the other end is not who it should be, or does not want us.
    #[error("{address}: TLS handshake failed: {error}")]
    Handshake {
        /// `host:port`.
        address: String,
        /// Why.
        error: io::Error,
    },
}

/// Which certificate to present.
#[derive(Clone)]
pub(super) enum Trust {
    /// None, the token proves the pod; of what is held only the bundle counts.
    Token(Option<Arc<Held>>),
    /// The newest, at the moment of connecting.
    Newest(watch::Receiver<Option<Arc<Held>>>),
}

/// Opens TLS connections, for tonic's `connect_with_connector` (with an `http` URI: tonic would insist on TLS of its own
/// for `https`).
#[derive(Clone)]
pub struct Connector {
    settings: Arc<Settings>,
    trust: Trust,
    /// Notified when the other end does not take the certificate.
    refused: Arc<Notify>,
}

impl Connector {
    pub(super) fn new(settings: Arc<Settings>, trust: Trust, refused: Arc<Notify>) -> Self {
        Self {
            settings,
            trust,
            refused,
        }
    }

    async fn config(&self) -> Result<ClientConfig, ConnectorError> {
        let held = match &self.trust {
            Trust::Token(held) => held.clone(),
            Trust::Newest(held) => held.borrow().clone(),
        };
        let bundle = self.bundle(held.as_deref()).await?;
        let fail = |error: &dyn std::fmt::Display| ConnectorError::Config(error.to_string());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(bundle.roots()?), provider())
            .build()
            .map_err(|error| fail(&error))?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| fail(&error))?
            .with_webpki_verifier(verifier);
        let mut config = match (&self.trust, held) {
            (Trust::Token(_), _) => builder.with_no_client_auth(),
            (Trust::Newest(_), Some(held)) => {
                let key = held.credential.key.clone();
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
            (Trust::Newest(_), None) => return Err(ConnectorError::NoCertificate),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would show the certificate of the one before.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// The file, and what came with the certificate: the file of a pod is updated late, and not at all while the API server
    /// is gone. A file that cannot be used matters only as long as there is nothing else.
    async fn bundle(&self, held: Option<&Held>) -> Result<Bundle, ConnectorError> {
        let path = &self.settings.bundle_file;
        let file = match tokio::fs::read(path).await {
            Ok(pem) => Bundle::from_pem(&pem).map_err(ConnectorError::from),
            Err(error) => Err(ConnectorError::BundleFile {
                path: path.clone(),
                error,
            }),
        };
        match (file, held) {
            (Ok(file), Some(held)) => Ok(file.union(&held.bundle)),
            (Ok(file), None) => Ok(file),
            (Err(error), Some(held)) => {
                tracing::warn!(%error, "going on with the CA bundle that came with the certificate");
                Ok(held.bundle.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<Refusable>, ConnectorError> {
        let config = self.config().await?;
        let malformed = || ConnectorError::Address(uri.to_string());
        let (host, port) = (
            uri.host().ok_or_else(malformed)?,
            uri.port_u16().ok_or_else(malformed)?,
        );
        // An IPv6 address stands in brackets in a URI, and nowhere else.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = self.settings.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|_| malformed())?;
        let address = format!("{host}:{port}");
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port)));
        let stream = connecting
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|error| ConnectorError::Connect {
                address: address.clone(),
                error,
            })?;
        let connector = TlsConnector::from(Arc::new(config));
        tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map(|stream| TokioIo::new(Refusable::new(stream, self.refused)))
            .map_err(|error| ConnectorError::Handshake { address, error })
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Refusable>;
    type Error = ConnectorError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
