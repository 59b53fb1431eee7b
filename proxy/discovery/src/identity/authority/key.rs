//! The key of an authority. In: PKCS #8, PKCS #1 or SEC 1, as our own authorities and cert-manager write them. Out: signatures.

use std::sync::Arc;

use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData,
    SignatureAlgorithm,
};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::AuthorityError;

/// What rcgen signs with. Its own key type reads PKCS #8 only; rustls' reads all three.
pub(super) struct CaKey {
    key: Arc<dyn SigningKey>,
    public: Vec<u8>,
    scheme: SignatureScheme,
    algorithm: &'static SignatureAlgorithm,
}

impl CaKey {
    pub(super) fn new(
        key: &PrivateKeyDer<'_>,
        certified: &SubjectPublicKeyInfo<'_>,
    ) -> Result<Self, AuthorityError> {
        let kinds = [
            (SignatureScheme::ECDSA_NISTP256_SHA256, &PKCS_ECDSA_P256_SHA256),
            (SignatureScheme::ECDSA_NISTP384_SHA384, &PKCS_ECDSA_P384_SHA384),
            (SignatureScheme::ED25519, &PKCS_ED25519),
            (SignatureScheme::RSA_PKCS1_SHA256, &PKCS_RSA_SHA256),
        ];
        let key = any_supported_type(key).map_err(|_| AuthorityError::KeyKind)?;
        let (scheme, algorithm) = kinds
            .into_iter()
            .find(|(scheme, _)| key.choose_scheme(&[*scheme]).is_some())
            .ok_or(AuthorityError::KeyKind)?;
        if key.public_key().is_none_or(|public| *public != *certified.raw) {
            return Err(AuthorityError::OtherKey);
        }
        Ok(Self {
            key,
            public: certified.subject_public_key.data.to_vec(),
            scheme,
            algorithm,
        })
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signer = self
            .key
            .choose_scheme(&[self.scheme])
            .ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?;
        signer.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
