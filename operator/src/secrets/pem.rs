//! PEM (RFC 7468) in Secrets. In: a Secret's data. Out: certificates and keys written anew, so that nothing else that stands
//! beside them goes on (a key in the certificate's file would travel as if it were public); or why they cannot be used.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::InconsistentKeys;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use switchyard_snapshot::Private;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::Flaw;

/// The certificate, and those that signed it.
const CERTIFICATE: &str = "tls.crt";
/// Its key.
const KEY: &str = "tls.key";
/// Those who must have signed.
const AUTHORITIES: &str = "ca.crt";
/// Characters of a line, as RFC 7468 §2 wants them.
const LINE: usize = 64;

type Data = BTreeMap<String, Vec<u8>>;

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub chain: String,
    pub key: Private,
}

/// `tls.crt` and `tls.key`, which belong together.
pub fn pair(data: &Data) -> Result<Pair, Flaw> {
    let chain = certificates(
        data,
        CERTIFICATE,
        "the certificate, followed by those that signed it",
    )?;
    let key = key(data)?;
    let written = Pair {
        chain: chain
            .iter()
            .map(|certificate| written("CERTIFICATE", certificate))
            .collect(),
        key: Private::new(written_key(&key)),
    };
    match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
        Ok(_) => Ok(written),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(format!(
            "holds a key in {KEY} that does not belong to the certificate in {CERTIFICATE}: put the two of one certificate there"
        )),
        Err(rustls::Error::InvalidCertificate(_)) => Err(format!(
            "holds a certificate in {CERTIFICATE} that cannot be used: it must be of X.509 version 3"
        )),
        Err(_) => Err(format!(
            "holds a key in {KEY} that cannot be used: make one of RSA with 2048 bits or more, ECDSA on P-256 or P-384, or Ed25519"
        )),
    }
}

/// `ca.crt`: at least one certificate.
pub fn authorities(data: &Data) -> Result<String, Flaw> {
    let found = certificates(
        data,
        AUTHORITIES,
        "the certificate of the CA, or those of several",
    )?;
    Ok(found
        .iter()
        .map(|certificate| written("CERTIFICATE", certificate))
        .collect())
}

fn certificates(data: &Data, field: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    let Some(text) = data.get(field) else {
        return Err(format!("has no {field}: put {what} there, as PEM"));
    };
    let found: Result<Vec<CertificateDer<'static>>, PemError> =
        CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|_| format!("holds broken PEM in {field}: put {what} there, as PEM"))?;
    if found.is_empty() {
        return Err(format!(
            "holds no certificate in {field}: put {what} there, as PEM (BEGIN CERTIFICATE)"
        ));
    }
    for certificate in &found {
        if !matches!(X509Certificate::from_der(certificate), Ok((rest, _)) if rest.is_empty()) {
            return Err(format!(
                "holds PEM in {field} that is no certificate (X.509): put {what} there"
            ));
        }
    }
    Ok(found)
}

fn key(data: &Data) -> Result<PrivateKeyDer<'static>, Flaw> {
    const WHAT: &str =
        "the certificate's private key there, as PEM that is not encrypted (PKCS#8, PKCS#1 or SEC1)";
    let Some(text) = data.get(KEY) else {
        return Err(format!("has no {KEY}: put {WHAT}"));
    };
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        PemError::NoItemsFound => format!("holds no key that can be read in {KEY}: put {WHAT}"),
        _ => format!("holds broken PEM in {KEY}: put {WHAT}"),
    })
}

fn written_key(key: &PrivateKeyDer<'_>) -> String {
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    written(label, key.secret_der())
}

fn written(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // base64 is ASCII: every index is a character's boundary
        let (line, more) = rest.split_at(rest.len().min(LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END ");
    pem.push_str(label);
    pem.push_str("-----\n");
    pem
}
