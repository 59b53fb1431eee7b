//! TLS that clients open. In: a socket and the `ClientHello` that was read from it. Out: the stream of what is inside.

use std::io;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::server::{Acceptor, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use switchyard_snapshot::{ListenerTls, TlsVersion};
use tokio::net::TcpStream;

use tokio_rustls::StartHandshake;

use crate::session::end::Refusal;
use crate::wire::{Ahead, Wire};

use super::certificates::Certificates;
use super::tickets::{Keys, Tickets};
use super::{pem, provider, words};

/// What one listener needs to open connections.
#[derive(Debug)]
pub(crate) struct Server {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

/// A handshake that failed. The client has been told, as far as it listens.
#[derive(Debug)]
pub(crate) struct Unopened {
    pub(crate) why: Refusal,
    pub(crate) text: String,
    pub(crate) tcp: TcpStream,
}

impl Server {
    /// `listener` is its name: tickets are good there only.
    ///
    /// # Errors
    /// A certificate, its key or the CAs cannot be used; which, and why.
    pub(super) fn new(listener: &str, tls: &ListenerTls, keys: Keys) -> Result<Self, String> {
        let certificates = Arc::new(Certificates::new(&tls.certificates)?);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(tls.min_version))
            .map_err(|error| format!("no TLS version can be spoken: {error}"))?;
        let builder = match &tls.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let because = |why: String| format!("the CAs for client certificates: {why}");
                let roots = pem::authorities(ca).map_err(because)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                builder
                    .with_client_cert_verifier(verifier.build().map_err(|error| because(error.to_string()))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::<Certificates>::clone(&certificates));
        config.alpn_protocols = tls.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.ticketer = Arc::new(Tickets::new(keys, context(listener, tls)));
        // Sessions are in tickets: nothing is kept here, and no lock is taken.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            config: Arc::new(config),
            certificates,
        })
    }

    /// Whether a client that connects to `host`, a DNS name or an IP address, accepts what it is shown.
    pub(crate) fn covers(&self, host: &str) -> bool {
        self.certificates.cover(host)
    }

    /// Completes the handshake that begins with `said`.
    ///
    /// # Errors
    /// The handshake fails; whose fault that is and why.
    pub(crate) async fn open(&self, tcp: TcpStream, said: &[u8]) -> Result<Wire, Box<Unopened>> {
        let accepted = match hear(said) {
            Ok(accepted) => accepted,
            Err((text, alert)) => {
                // Few bytes into an empty buffer: whoever takes less is not told.
                let _ = tcp.try_write(&alert);
                return Err(Box::new(self.unopened(text, tcp)));
            }
        };
        let handshake =
            StartHandshake::from_parts(accepted, Ahead::new(tcp)).into_stream(Arc::clone(&self.config));
        match handshake.into_fallible().await {
            Ok(stream) => Ok(Wire::Tls(Box::new(stream.into()))),
            Err((error, tcp)) => Err(Box::new(self.unopened(words::of_client(&error), tcp.into_tcp()))),
        }
    }

    fn unopened(&self, text: String, tcp: TcpStream) -> Unopened {
        let (why, text) = if self.certificates.is_empty() {
            let text = "this listener has no certificate: look for the Secrets that it names".to_owned();
            (Refusal::NoCertificate, text)
        } else {
            (Refusal::TlsHandshake, text)
        };
        Unopened { why, text, tcp }
    }
}

/// What rustls makes of a complete `ClientHello`; otherwise why not, and the alert for the client.
fn hear(said: &[u8]) -> Result<rustls::server::Accepted, (String, Vec<u8>)> {
    let mut acceptor = Acceptor::default();
    let mut rest = said;
    // All of it, not only the hello: what follows it is the connection's, too.
    while !rest.is_empty() {
        match acceptor.read_tls(&mut rest) {
            Ok(1..) => {}
            _ => return Err(("a ClientHello that is too long".to_owned(), Vec::new())),
        }
    }
    match acceptor.accept() {
        Ok(Some(accepted)) => Ok(accepted),
        Ok(None) => Err(("a ClientHello that ends in the middle".to_owned(), Vec::new())),
        Err((error, mut alert)) => {
            let mut bytes = Vec::new();
            // A vector takes everything.
            let _ = alert.write_all(&mut bytes);
            let error = io::Error::new(io::ErrorKind::InvalidData, error);
            Err((words::of_client(&error), bytes))
        }
    }
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match min {
        TlsVersion::V1_2 => &ALL,
        TlsVersion::V1_3 => &ALL[..1],
    }
}

/// A resumed session is let in without certificates: it must have begun at this listener, under these CAs.
fn context(listener: &str, tls: &ListenerTls) -> super::tickets::Context {
    let authority = digest(&SHA256, tls.client_ca.as_deref().unwrap_or_default().as_bytes());
    let what = [listener.as_bytes(), &[0], authority.as_ref()].concat();
    let mut context = super::tickets::Context::default();
    context.copy_from_slice(digest(&SHA256, &what).as_ref());
    context
}
