//! A certificate authority. In: its certificate and key as PEM, a clock. Out: leaf certificates for servers and proxies.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::bundle::{Bundle, pem_of};
use super::certificate::{Credential, Validity};
use super::name::uri_of;
use super::request::KeyRequest;
use crate::peer::PeerIdentity;

mod key;

use key::CaKey;

/// No leaf lives longer, whatever is configured. An authority that stopped signing this long ago has no valid leaves.
pub const MAX_LEAF_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// Certificates hold from a little before they are made: the clocks of two machines differ.
const BACKDATE: Duration = Duration::from_mins(5);

/// Of the life of an authority at most this part lies before its making: its age, by which it is replaced, is read off its
/// certificate.
const BACKDATED_PART: u32 = 10;

/// An authority that cannot be used, or cannot sign.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthorityError {
    /// The certificate or its key cannot be read.
    #[error("the CA cannot be read: {0}")]
    Unreadable(String),
    /// It is a server's or client's certificate.
    #[error("the certificate is not one of a CA (basic constraints say so): issue it with isCA: true")]
    NotAnAuthority,
    /// The key belongs to something else.
    #[error("the key is not the key of the CA's certificate")]
    OtherKey,
    /// Its key is of a kind that we cannot sign with.
    #[error("the CA's key is of an unsupported kind: use RSA, ECDSA P-256, P-384 or Ed25519")]
    KeyKind,
    /// What it signs does not verify.
    #[error("what the CA signs does not verify: {0}")]
    Useless(String),
    /// It does not hold now.
    #[error("the CA is valid from {} until {}, not now", .0.from, .0.until)]
    NotValid(Validity),
    /// No certificate came out.
    #[error("cannot sign: {0}")]
    Sign(String),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Sign(error.to_string())
    }
}

/// An authority as it is kept. It holds the key.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorityPem {
    /// The certificate that signs; others after it are passed over.
    pub certificate: String,
    /// PKCS #8, PKCS #1 or SEC 1.
    pub key: String,
}

/// An authority, ready to sign.
///
/// The signing certificate itself is what others have to trust ([`Authority::certificate`]), also when another authority
/// stands above it: that one may sign for strangers.
pub struct Authority {
    issuer: Issuer<'static, CaKey>,
    certificate: CertificateDer<'static>,
    validity: Validity,
}

impl Authority {
    /// A new one, valid from now for `lifetime`.
    ///
    /// # Errors
    /// No randomness.
    pub fn create(now: Timestamp, lifetime: Duration) -> Result<AuthorityPem, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // Different names for different keys: a verifier that meets two authorities of one name tries both, slowly.
        params.distinguished_name.push(
            DnType::CommonName,
            format!("Switchyard CA {}", now.strftime("%Y-%m-%dT%H:%M:%SZ")),
        );
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let backdate = BACKDATE.min(lifetime / BACKDATED_PART);
        let from = now.saturating_sub(backdate).unwrap_or(Timestamp::MIN);
        set_validity(&mut params, (from, now), lifetime, None);
        let certificate = params.self_signed(&key)?;
        Ok(AuthorityPem {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Reads one, and tries whether what it signs verifies.
    ///
    /// # Errors
    /// See [`AuthorityError`]; an expired one is read without error.
    pub fn from_pem(pem: &AuthorityPem) -> Result<Self, AuthorityError> {
        let unreadable = |error: rustls::pki_types::pem::Error| AuthorityError::Unreadable(error.to_string());
        let certificate = CertificateDer::from_pem_slice(pem.certificate.as_bytes()).map_err(unreadable)?;
        let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).map_err(unreadable)?;
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|error| AuthorityError::Unreadable(error.to_string()))?;
        if !parsed.is_ca() {
            return Err(AuthorityError::NotAnAuthority);
        }
        let key = CaKey::new(&key, parsed.public_key())?;
        let validity = Validity::of(&certificate).map_err(AuthorityError::Unreadable)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| AuthorityError::Unreadable(error.to_string()))?;
        let authority = Self {
            issuer,
            certificate,
            validity,
        };
        authority.try_out()?;
        Ok(authority)
    }

    /// Whom others have to trust.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The same as PEM.
    pub fn certificate_pem(&self) -> String {
        pem_of(&self.certificate)
    }

    /// When its certificate holds.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// A certificate for clients that prove to be `identity`, for at most `lifetime`. Whether they are is the caller's to know.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn issue_client(
        &self,
        request: &KeyRequest,
        identity: &PeerIdentity,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let uri = uri_of(identity).map_err(|error| AuthorityError::Sign(error.to_string()))?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &request.key, now, lifetime)
    }

    /// A key and certificate for a server under `names` (DNS names, or IP addresses as text), for at most `lifetime`.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn issue_server(
        &self,
        names: &[String],
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Credential, AuthorityError> {
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = self.sign(params, &key, now, lifetime)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Credential::new(vec![certificate], &key).map_err(AuthorityError::Sign)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        if !self.validity.covers(now) {
            return Err(AuthorityError::NotValid(self.validity));
        }
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let from = now.saturating_sub(BACKDATE).unwrap_or(Timestamp::MIN);
        set_validity(
            &mut params,
            (from, now),
            lifetime.min(MAX_LEAF_LIFETIME),
            Some(self.validity.until),
        );
        Ok(params.signed_by(key, &self.issuer)?.der().clone())
    }

    /// The libraries that write and that verify certificates do not agree on every name a CA can have, and a CA may be
    /// constrained: better found here than at every connection.
    fn try_out(&self) -> Result<(), AuthorityError> {
        const NAME: &str = "switchyard.internal";
        let at = self.validity.until;
        let useless = |error: &dyn std::fmt::Display| AuthorityError::Useless(error.to_string());
        let leaf = self.issue_server(&[NAME.to_owned()], at, Duration::ZERO)?;
        let roots = Bundle::from_der([self.certificate.clone()])
            .roots()
            .map_err(|error| useless(&error))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| useless(&error))?;
        let name = ServerName::try_from(NAME).map_err(|error| useless(&error))?;
        let [certificate, ..] = &leaf.key.cert[..] else {
            return Err(useless(&"no certificate came out"));
        };
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at.as_second().max(0).unsigned_abs()));
        verifier
            .verify_server_cert(certificate, &[], &name, &[], at)
            .map_err(|error| useless(&error))?;
        Ok(())
    }
}

/// The one crypto provider of the process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn set_validity(
    params: &mut CertificateParams,
    (from, now): (Timestamp, Timestamp),
    lifetime: Duration,
    limit: Option<Timestamp>,
) {
    let until = now.saturating_add(lifetime).unwrap_or(Timestamp::MAX);
    let until = limit.map_or(until, |limit| until.min(limit));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |at: Timestamp| Duration::from_secs(at.as_second().max(0).unsigned_abs());
    params.not_before = epoch + seconds(from);
    params.not_after = epoch + seconds(until);
}
