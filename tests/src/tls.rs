//! Certificates made by openssl when a test runs, none is kept; and clients that look at those they are shown.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};

use crate::tool;

/// A self-signed certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate; clients trust it by this file.
    pub file: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes one for these DNS names in `directory`.
    ///
    /// # Panics
    /// When openssl does not.
    pub fn make(directory: &Path, names: &[&str]) -> Self {
        let file = directory.join(format!("{}.pem", names[0]));
        let key = directory.join(format!("{}.key", names[0]));
        let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let mut openssl = Command::new("openssl");
        openssl
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ])
            .args(["-nodes", "-days", "2", "-subj", "/CN=switchyard-test", "-addext"])
            .arg(format!("subjectAltName={}", names.join(",")))
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&file);
        tool::output(&mut openssl);
        Self { file, key }
    }

    /// openssl's name and version, in its own words.
    ///
    /// # Panics
    /// When openssl does not tell.
    pub fn version() -> String {
        tool::output(Command::new("openssl").arg("version"))
            .trim()
            .to_owned()
    }
}

/// What clients trust that want to see certificates, not to judge them: every one whose key the server has. Remembers the
/// last one.
#[derive(Debug)]
pub struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    shown: Mutex<Option<CertificateDer<'static>>>,
}

impl Default for AnyCertificate {
    fn default() -> Self {
        Self {
            provider: Arc::new(ring::default_provider()),
            shown: Mutex::default(),
        }
    }
}

impl AnyCertificate {
    /// A client that trusts so, and keeps tickets.
    ///
    /// # Panics
    /// When the provider lacks what TLS needs.
    pub fn client(self: &Arc<Self>) -> ClientConfig {
        self.client_of_any(rustls::DEFAULT_VERSIONS)
    }

    /// As [`AnyCertificate::client`], and it speaks this version only.
    ///
    /// # Panics
    /// As [`AnyCertificate::client`].
    pub fn client_of(self: &Arc<Self>, version: &'static SupportedProtocolVersion) -> ClientConfig {
        self.client_of_any(&[version])
    }

    fn client_of_any(self: &Arc<Self>, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .expect("the provider has what TLS needs")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(self) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth()
    }

    /// The certificate that was shown last.
    pub fn shown(&self) -> Option<CertificateDer<'static>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Some(certificate.clone().into_owned());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
