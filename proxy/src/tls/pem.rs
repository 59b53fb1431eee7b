//! PEM text. In: what a Secret holds. Out: certificates, keys and CAs, or what is wrong with them in words that show no
//! key.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use switchyard_snapshot::Certificate;

use super::provider;

/// A certificate with its key.
///
/// # Errors
/// One of them is missing or unreadable, the key is of a kind that is not supported, or it belongs to another certificate.
pub(super) fn certified(certificate: &Certificate) -> Result<CertifiedKey, String> {
    let because = |why: String| format!("certificate {:?}: {why}", certificate.name);
    let chain = certificates(&certificate.chain).map_err(because)?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.reveal().as_bytes())
        .map_err(|_| because("its key is no private key in PEM (PKCS#8, PKCS#1 or SEC1)".to_owned()))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        because(match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                "its key belongs to another certificate".to_owned()
            }
            Error::InvalidCertificate(_) => "it cannot be read as X.509".to_owned(),
            // What a key parser says may quote what it read.
            _ => "its key cannot be used: it must be RSA (2048 to 8192 bits), ECDSA on P-256, P-384 or P-521, or Ed25519"
                .to_owned(),
        })
    })
}

/// CAs.
///
/// # Errors
/// There is none, or one cannot be read.
pub(super) fn authorities(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots
            .add(certificate)
            .map_err(|error| format!("a CA certificate cannot be used: {error}"))?;
    }
    Ok(roots)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if all.is_empty() => Err("it holds no certificate in PEM".to_owned()),
        Ok(all) => Ok(all),
        Err(error) => Err(format!("its PEM cannot be read: {error}")),
    }
}
