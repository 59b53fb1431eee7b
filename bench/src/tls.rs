//! The certificate that all proxies serve, and clients that know it. In: a folder. Out: the same certificate in each form
//! that a proxy reads, made anew for each run, and client configurations.
//!
//! TLS 1.3 only, with one cipher suite and one group, so that all proxies do the same arithmetic: `AES_128_GCM_SHA256`,
//! X25519, and an ECDSA signature with P-256.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::ring::kx_group::X25519;
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// The name in the certificate, and what clients ask for.
pub(crate) const NAME: &str = "bench.example";

/// Of so many signatures one is verified: that costs the client more than all that the proxy has to do, and clients that
/// are slower than the proxy cannot show what it costs. Everything else of the handshake would fail without the key.
const VERIFY_EVERY: u32 = 16;

/// What clients trust: this very certificate.
#[derive(Debug, Clone)]
pub struct Trust(Arc<Pinned>);

#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
    seen: AtomicU32,
}

/// Makes a certificate and writes it to `folder`, as proxies read it: `tls.crt` and `tls.key`, both in one file, and a
/// Secret.
pub fn issue(folder: &Path) -> io::Result<Trust> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(io::Error::other)?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::create_dir_all(folder)?;
    fs::write(folder.join("tls.crt"), &certificate)?;
    fs::write(folder.join("tls.key"), &key)?;
    fs::write(folder.join("both.pem"), format!("{certificate}{key}"))?;
    let indented = |pem: &str| {
        pem.lines()
            .fold(String::new(), |text, line| text + "    " + line + "\n")
    };
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bench-tls, namespace: default}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indented(&certificate),
        indented(&key)
    );
    fs::write(folder.join("secret.yaml"), secret)?;
    Ok(Trust::new(made.cert.der().clone()))
}

impl Trust {
    /// Trusts this certificate only.
    pub(crate) fn new(certificate: CertificateDer<'static>) -> Self {
        let provider = CryptoProvider {
            cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![X25519],
            ..ring::default_provider()
        };
        Self(Arc::new(Pinned {
            certificate,
            provider: Arc::new(provider),
            seen: AtomicU32::new(0),
        }))
    }

    /// A client; with `resume` it keeps its own tickets.
    pub(crate) fn client(&self, resume: bool) -> Result<ClientConfig, Error> {
        let pinned = Arc::clone(&self.0);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&pinned.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(pinned)
            .with_no_client_auth();
        config.resumption = if resume {
            Resumption::in_memory_sessions(4)
        } else {
            Resumption::disabled()
        };
        config.enable_secret_extraction = true;
        Ok(config)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General(
                "another certificate than the one that was issued".to_owned(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 was not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self
            .seen
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(VERIFY_EVERY)
        {
            let algorithms = &self.provider.signature_verification_algorithms;
            return verify_tls13_signature(message, certificate, signed, algorithms);
        }
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
