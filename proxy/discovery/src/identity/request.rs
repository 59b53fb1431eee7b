//! What a proxy asks to have certified. In: an identity. Out: a new key and a signing request (PKCS #10), and how the
//! other end reads it.

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKey, SanType,
};
use rustls::pki_types::{CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

use super::name::{identity_of, uri_of};
use crate::peer::PeerIdentity;

/// A request of a few hundred bytes is normal; what is longer is not parsed.
const MAX_REQUEST: usize = 16 * 1024;

/// A signing request that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Not PKCS #10, or its signature is not that of its key.
    #[error("the signing request cannot be used: {0}")]
    Broken(String),
    /// A key we do not certify.
    #[error("the signing request is for a key of an unsupported kind: use ECDSA P-256, P-384 or Ed25519")]
    Key,
    /// It does not name one proxy.
    #[error("the signing request must name one proxy, by one URI: {0}")]
    Name(String),
}

/// A signing request whose signature is right: whoever sent it has the key.
pub struct KeyRequest {
    pub(super) key: PublicKey,
    /// The identity it asks for.
    pub wanted: PeerIdentity,
}

impl KeyRequest {
    /// Reads a request and verifies its signature.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_REQUEST {
            return Err(RequestError::Broken(format!(
                "it is longer than {MAX_REQUEST} bytes"
            )));
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
            .map_err(|error| RequestError::Broken(error.to_string()))?;
        let kinds = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519];
        if !kinds.contains(&request.public_key.algorithm()) {
            return Err(RequestError::Key);
        }
        let [SanType::URI(uri)] = &request.params.subject_alt_names[..] else {
            return Err(RequestError::Name(
                "it has another number or kind of names".to_owned(),
            ));
        };
        let wanted = identity_of(uri.as_str()).map_err(|error| RequestError::Name(error.to_string()))?;
        Ok(Self {
            key: request.public_key,
            wanted,
        })
    }

    /// A new key, and the request for it as DER.
    ///
    /// # Errors
    /// An identity that cannot be named, or no randomness.
    pub fn generate(identity: &PeerIdentity) -> Result<(PrivateKeyDer<'static>, Vec<u8>), RequestError> {
        let uri = uri_of(identity).map_err(|error| RequestError::Name(error.to_string()))?;
        let broken = |error: rcgen::Error| RequestError::Broken(error.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(broken)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(broken)?)];
        let request = params.serialize_request(&key).map_err(broken)?;
        let der = request.der().to_vec();
        Ok((PrivatePkcs8KeyDer::from(key.serialize_der()).into(), der))
    }
}
