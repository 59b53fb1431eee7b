//! Whom to trust. In: certificates of authorities, as PEM or DER. Out: one set of them, as PEM, DER or rustls roots.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

/// Authorities to trust: sorted, without duplicates, so that equal sets are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle(Vec<CertificateDer<'static>>);

/// A bundle that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BundleError {
    /// The text is no PEM.
    #[error("the CA bundle is not PEM: {0}")]
    Pem(String),
    /// Nobody to trust.
    #[error("the CA bundle holds no certificate")]
    Empty,
    /// A certificate that cannot be parsed.
    #[error("the CA bundle holds a certificate that cannot be used: {0}")]
    Certificate(String),
}

impl Bundle {
    /// From DER.
    pub fn from_der(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        let mut certificates: Vec<_> = certificates.into_iter().collect();
        certificates.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        certificates.dedup();
        Self(certificates)
    }

    /// From PEM; what is not a certificate in it is passed over.
    ///
    /// # Errors
    /// Broken PEM, no certificate at all, or one that is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, BundleError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| BundleError::Pem(error.to_string()))?;
        let bundle = Self::from_der(certificates);
        bundle.roots()?;
        Ok(bundle)
    }

    /// As PEM (RFC 7468).
    pub fn to_pem(&self) -> String {
        self.0.iter().map(pem_of).collect()
    }

    /// Both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::from_der(self.0.iter().chain(&other.0).cloned())
    }

    /// Each authority, as DER.
    pub fn iter(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter()
    }

    /// It trusts this authority.
    pub fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        self.0.iter().any(|one| one == certificate)
    }

    /// For rustls.
    ///
    /// # Errors
    /// No certificate at all, or one that is none.
    pub fn roots(&self) -> Result<RootCertStore, BundleError> {
        if self.0.is_empty() {
            return Err(BundleError::Empty);
        }
        let mut roots = RootCertStore::empty();
        for certificate in &self.0 {
            roots
                .add(certificate.clone())
                .map_err(|error| BundleError::Certificate(error.to_string()))?;
        }
        Ok(roots)
    }
}

/// One certificate as PEM, in lines of 64 characters (RFC 7468 §2).
pub(super) fn pem_of(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
