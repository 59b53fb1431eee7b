//! What a certificate says. In: DER. Out: its validity, and whom it names.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::name::identity_of;
use crate::peer::PeerIdentity;

/// From when to when a certificate holds, both ends included (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: Timestamp,
    /// Not after.
    pub until: Timestamp,
}

impl Validity {
    /// Of a certificate.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        parsed(certificate, Self::read)
    }

    fn read(certificate: &X509Certificate<'_>) -> Result<Self, String> {
        let validity = certificate.validity();
        let time = |seconds| Timestamp::from_second(seconds).map_err(|error| error.to_string());
        Ok(Self {
            from: time(validity.not_before.timestamp())?,
            until: time(validity.not_after.timestamp())?,
        })
    }

    /// It holds at `now`.
    pub fn covers(&self, now: Timestamp) -> bool {
        self.from <= now && now <= self.until
    }
}

/// Whom the certificate of a connection names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// There is no certificate.
    Nobody,
    /// It is one of a trusted authority, but names no proxy; in words.
    Stranger(String),
    /// A proxy, as long as the certificate is valid.
    Proxy {
        /// Which one.
        identity: PeerIdentity,
        /// Until when.
        validity: Validity,
    },
}

impl Claim {
    /// What a certificate whose signature has been verified claims.
    pub fn of(certificate: Option<&CertificateDer<'_>>) -> Self {
        let Some(certificate) = certificate else {
            return Self::Nobody;
        };
        match parsed(certificate, |certificate| {
            Ok((named_by(certificate)?, Validity::read(certificate)?))
        }) {
            Ok((identity, validity)) => Self::Proxy { identity, validity },
            Err(reason) => Self::Stranger(reason),
        }
    }
}

/// The one name of the certificate. More than one could mean two different things to two readers.
fn named_by(certificate: &X509Certificate<'_>) -> Result<PeerIdentity, String> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| format!("its subject alternative names cannot be read: {error}"))?
        .ok_or("it has no subject alternative name")?;
    match names.value.general_names[..] {
        [GeneralName::URI(uri)] => identity_of(uri).map_err(|error| error.to_string()),
        _ => Err("its subject alternative name is not exactly one URI".to_owned()),
    }
}

fn parsed<T>(
    der: &CertificateDer<'_>,
    read: impl FnOnce(&X509Certificate<'_>) -> Result<T, String>,
) -> Result<T, String> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| format!("it is no X.509 certificate: {error}"))?;
    read(&certificate)
}

/// A key with its certificate, for one end of a connection.
#[derive(Clone)]
pub struct Credential {
    /// The leaf first.
    pub key: Arc<CertifiedKey>,
    /// When the leaf holds.
    pub validity: Validity,
}

impl Credential {
    /// From a chain, the leaf first, and its key.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<Self, String> {
        let leaf = chain.first().ok_or("there is no certificate")?;
        let validity = Validity::of(leaf)?;
        let key = any_supported_type(key).map_err(|error| error.to_string())?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(|error| error.to_string())?;
        Ok(Self {
            key: Arc::new(key),
            validity,
        })
    }
}
