//! The tls monitor, and TLS for the http monitor: a handshake.
//!
//! The certificate is not verified, on purpose: a probe asks whether the endpoint lives and speaks TLS. Who it is, is
//! the clients' question, who verify it end to end; a proxy that passes TLS through holds none of the authorities they
//! trust, and an expired certificate must not look like a dead server.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Fault, connect as connect_tcp};

/// The handshake, with `host` as SNI if it is a name.
pub(super) async fn connect(address: SocketAddr, host: Option<&str>) -> Result<TlsStream<TcpStream>, Fault> {
    let config = CONFIG.as_ref().map_err(|why| Fault::Ours(why.clone()))?;
    let name = host
        .map(|host| host.trim_end_matches('.').to_owned())
        .and_then(|host| ServerName::try_from(host).ok())
        .unwrap_or_else(|| ServerName::IpAddress(address.ip().into()));
    let stream = connect_tcp(address).await?;
    let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
    handshake.await.map_err(|error| fault(&error))
}

static CONFIG: LazyLock<Result<Arc<ClientConfig>, String>> = LazyLock::new(|| {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?;
    let config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
});

fn fault(error: &std::io::Error) -> Fault {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(error) => Fault::Endpoint(format!("TLS handshake failed: {error}")),
        None => Fault::io(error),
    }
}

/// Takes any certificate for good.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
