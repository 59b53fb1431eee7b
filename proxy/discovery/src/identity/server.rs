//! The accepting end. In: a credential, whom to trust, a listener. Out: connections of which it is known who is at the other end.
//!
//! One port serves both who has a certificate already and who comes to exchange a token for the first one: a client
//! certificate is asked for, an invalid one ends the handshake, none is let through. [`require_identity`] stands before
//! every service that needs one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Request, Status};

use super::authority::provider;
use super::bundle::{Bundle, BundleError};
use super::certificate::{Claim, Credential};
use crate::peer::PeerIdentity;

mod incoming;

pub use incoming::{Connection, Incoming};

/// The only protocol: HTTP/2, for gRPC.
pub(super) const ALPN: &[u8] = b"h2";

/// No configuration for TLS.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TlsError {
    /// Whom to trust is not usable.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// rustls refused it.
    #[error("TLS cannot be configured: {0}")]
    Config(String),
}

/// What each new connection is accepted with. Replaced as a whole; connections that stand are not touched.
#[derive(Clone)]
pub struct ServerTls {
    config: watch::Receiver<Arc<ServerConfig>>,
    counters: Arc<Counters>,
}

/// Replaces what new connections are accepted with.
pub struct ServerTlsWriter(watch::Sender<Arc<ServerConfig>>);

/// What happened at the door since the start.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) accept_errors: AtomicU64,
}

impl Counters {
    /// Handshakes completed.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Handshakes that failed: invalid certificates, strangers' protocols, timeouts.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Connections that could not even be accepted.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }
}

impl ServerTls {
    /// Serves with `credential`, lets in clients of `clients`.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(credential: &Credential, clients: &Bundle) -> Result<(ServerTlsWriter, Self), TlsError> {
        let (writer, config) = watch::channel(server_config(credential, clients)?);
        let tls = Self {
            config,
            counters: Arc::default(),
        };
        Ok((ServerTlsWriter(writer), tls))
    }

    /// Accepts connections, for tonic's `serve_with_incoming`. The stream never ends.
    pub fn incoming(&self, listener: TcpListener) -> Incoming {
        Incoming::new(self.clone(), listener)
    }

    /// What happened at the door.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }
}

impl ServerTlsWriter {
    /// New connections are accepted with this from now on.
    ///
    /// # Errors
    /// See [`TlsError`]; what was there stays.
    pub fn replace(&self, credential: &Credential, clients: &Bundle) -> Result<(), TlsError> {
        self.0.send_replace(server_config(credential, clients)?);
        Ok(())
    }
}

fn server_config(credential: &Credential, clients: &Bundle) -> Result<Arc<ServerConfig>, TlsError> {
    let config = |error: &dyn std::fmt::Display| TlsError::Config(error.to_string());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()?), provider())
        .allow_unauthenticated()
        // Clients have one certificate at most: they need no hint which to choose.
        .clear_root_hint_subjects()
        .build()
        .map_err(|error| config(&error))?;
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| config(&error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(credential.key.clone())));
    server.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session is not asked for its certificate again: an expired one would live on in it.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Arc::new(server))
}

/// The other end of a connection, in the extensions of each of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it connected from.
    pub address: SocketAddr,
    /// Whom its certificate names.
    pub claim: Claim,
}

impl Peer {
    /// Who is at the other end. A connection may outlive its certificate; whoever begins something on it may not.
    ///
    /// # Errors
    /// In words: there is no certificate, one that names no proxy, or one that has expired meanwhile.
    pub fn identity(&self, now: Timestamp) -> Result<&PeerIdentity, String> {
        match &self.claim {
            Claim::Nobody => Err(
                "no client certificate: exchange the pod's token for one first, and connect with it"
                    .to_owned(),
            ),
            Claim::Stranger(reason) => Err(format!("the client certificate names no proxy: {reason}")),
            Claim::Proxy { identity, validity } if now <= validity.until => Ok(identity),
            Claim::Proxy { identity, validity } => Err(format!(
                "the client certificate of {identity} expired at {}: renew it and connect anew",
                validity.until
            )),
        }
    }
}

/// An interceptor: lets only requests through whose connection has a valid client certificate, and puts its
/// [`PeerIdentity`] into their extensions.
///
/// # Errors
/// `UNAUTHENTICATED`, with the reason in words.
#[allow(clippy::result_large_err, reason = "tonic's interceptors return its status")]
pub fn require_identity(mut request: Request<()>) -> Result<Request<()>, Status> {
    let Some(peer) = request.extensions().get::<Peer>() else {
        return Err(Status::unauthenticated(
            "this service is served to TLS connections only",
        ));
    };
    let identity = peer
        .identity(Timestamp::now())
        .map_err(Status::unauthenticated)?
        .clone();
    request.extensions_mut().insert(identity);
    Ok(request)
}
