//! TLS towards backends. In: a connected socket, what the chain's configuration says of the backend. Out: the stream of
//! what is inside, from a server that has proven its name.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use switchyard_snapshot::{Backend, BackendTls, HttpVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::listener::ChainLocal;
use crate::session::end::ConnectError;
use crate::wire::{Ahead, Wire};

use super::{pem, provider, words};

/// What a connection to a backend is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// A client's bytes as they are.
    Opaque,
    /// Requests of ours.
    Http,
}

impl Inside {
    /// The protocol that is asked for (RFC 7301), if any.
    fn alpn(self, version: HttpVersion) -> Option<&'static [u8]> {
        match (version, self) {
            (HttpVersion::Http2, _) => Some(b"h2"),
            (HttpVersion::Http1, Self::Http) => Some(b"http/1.1"),
            (HttpVersion::Http1, Self::Opaque) => None,
        }
    }
}

/// Opens TLS on a connection to `backend` of `chain`, if its configuration asks for it. Give it a time limit. Nothing but a
/// PROXY header may have been sent before.
///
/// # Errors
/// The handshake fails, or the server is not who it should be: what kind of failed attempt that is, and why.
pub(crate) async fn secure(
    chain: &ChainLocal,
    backend: &str,
    inside: Inside,
    tcp: TcpStream,
) -> Result<Wire, (ConnectError, String)> {
    let fault = |text: String| (ConnectError::Tls, text);
    let client = {
        let view = chain.handle.view();
        let Some(backend) = view.chain.backends.iter().find(|known| known.name == backend) else {
            return Err(fault(format!(
                "backend {backend:?} is gone from the configuration"
            )));
        };
        let Some(tls) = &backend.tls else {
            return Ok(Wire::Plain(tcp));
        };
        chain
            .tls
            .client(&view.chain.backends, backend, tls, inside)
            .map_err(fault)?
    };
    client.open(tcp).await.map_err(fault)
}

/// How the backends of one chain are spoken to, on one worker. Made when first needed: what cannot be made was refused with
/// the configuration.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    known: RefCell<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    backend: String,
    tls: BackendTls,
    alpn: Option<&'static [u8]>,
    client: Rc<Client>,
}

impl Clients {
    fn client(
        &self,
        backends: &[Backend],
        backend: &Backend,
        tls: &BackendTls,
        inside: Inside,
    ) -> Result<Rc<Client>, String> {
        let alpn = inside.alpn(backend.http);
        let known = &mut *self.known.borrow_mut();
        let found = known
            .iter()
            .find(|known| known.backend == backend.name && known.alpn == alpn && known.tls == *tls);
        if let Some(found) = found {
            return Ok(Rc::clone(&found.client));
        }
        let client = Rc::new(Client::new(tls, alpn)?);
        // What this one replaces, and whose backend is gone.
        known.retain(|known| {
            let is_current =
                |backend: &Backend| backend.name == known.backend && backend.tls.as_ref() == Some(&known.tls);
            backends.iter().any(is_current)
        });
        known.push(Known {
            backend: backend.name.clone(),
            tls: tls.clone(),
            alpn,
            client: Rc::clone(&client),
        });
        Ok(client)
    }
}

/// How one backend is spoken to.
#[derive(Debug)]
pub(super) struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Client {
    /// # Errors
    /// The name, the CAs or the certificate cannot be used; which, and why.
    pub(super) fn new(tls: &BackendTls, alpn: Option<&[u8]>) -> Result<Self, String> {
        let name = ServerName::try_from(tls.server_name.clone()).map_err(|_| {
            format!(
                "serverName {:?} is neither a DNS name nor an IP address",
                tls.server_name
            )
        })?;
        let roots = match &tls.ca {
            Some(ca) => pem::authorities(ca).map_err(|why| format!("the CAs for the backend: {why}"))?,
            None => RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            },
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| format!("no TLS version can be spoken: {error}"))?
            .with_root_certificates(roots);
        let mut config = match &tls.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let key = pem::certified(certificate)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
        };
        config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    async fn open(&self, tcp: TcpStream) -> Result<Wire, String> {
        // The last message of a handshake must not wait for the answer to the one before (RFC 9293 §3.7.4). It only fails on
        // a socket that is broken, which the handshake will say too.
        let _ = tcp.set_nodelay(true);
        let connector = TlsConnector::from(Arc::clone(&self.config));
        match connector.connect(self.name.clone(), Ahead::new(tcp)).await {
            Ok(stream) => Ok(Wire::Tls(Box::new(stream.into()))),
            Err(error) => Err(words::of_backend(&error, &self.name.to_str())),
        }
    }
}
