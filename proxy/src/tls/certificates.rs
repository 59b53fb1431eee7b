//! Which certificate a client is shown. In: certificates, a `ClientHello`. Out: one of them: of the name that is asked for,
//! exactly before by wildcard, else the first; of a kind that the client can verify.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SignatureAlgorithm};
use switchyard_snapshot::Certificate;

use super::pem;

/// The certificates of a listener.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// As configured.
    all: Vec<Arc<CertifiedKey>>,
    /// Of one name: those that are cheap to sign with first, else as configured.
    exact: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// Keyed by what follows `*.`, which stands for exactly one label (RFC 6125 §6.4.3).
    wildcard: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    /// # Errors
    /// One of them cannot be used; which, and why.
    pub(super) fn new(certificates: &[Certificate]) -> Result<Self, String> {
        let mut known = Self::default();
        for certificate in certificates {
            let key = Arc::new(pem::certified(certificate)?);
            let names = key
                .end_entity_cert()
                .ok()
                .and_then(|der| webpki::EndEntityCert::try_from(der).ok());
            let Some(names) = names else {
                return Err(format!(
                    "certificate {:?}: it cannot be read as X.509 version 3",
                    certificate.name
                ));
            };
            for name in names.valid_dns_names() {
                let name = name.to_lowercase();
                let same = match name.strip_prefix("*.") {
                    Some(below) => known.wildcard.entry(below.into()),
                    None => known.exact.entry(name.into()),
                };
                same.or_default().push(Arc::clone(&key));
            }
            known.all.push(key);
        }
        for same in known.exact.values_mut().chain(known.wildcard.values_mut()) {
            same.sort_by_key(|key| is_rsa(key));
        }
        Ok(known)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether one of them is of the name `host`; of an address, which no client asks for by SNI (RFC 6066 §3), the first.
    pub(super) fn cover(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let Ok(ip) = host.parse::<IpAddr>() else {
            let host = host.to_lowercase();
            return self.named(&host).next().is_some();
        };
        let first = self.all.first().and_then(|key| key.end_entity_cert().ok());
        let name = ServerName::IpAddress(ip.into());
        first
            .and_then(|der| webpki::EndEntityCert::try_from(der).ok())
            .is_some_and(|first| first.verify_is_valid_for_subject_name(&name).is_ok())
    }

    /// Those of a name in lower case.
    fn named(&self, name: &str) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let below = name.split_once('.').map_or("", |(_, below)| below);
        let exact = self.exact.get(name).into_iter().flatten();
        let wildcard = self.wildcard.get(below).into_iter().flatten();
        exact.chain(wildcard)
    }

    fn choose(&self, hello: &ClientHello<'_>) -> Option<&Arc<CertifiedKey>> {
        let suits = |keys: &'_ &Arc<CertifiedKey>| suits(hello, keys);
        let named = |name: &str| self.named(name).find(suits);
        // rustls hands names on in lower case.
        hello
            .server_name()
            .and_then(|name| named(name.strip_suffix('.').unwrap_or(name)))
            .or_else(|| self.all.iter().find(suits))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(&hello).cloned()
    }
}

/// Whether the client can verify signatures of this key: it says so by signature schemes, and before TLS 1.3 by cipher
/// suites too (RFC 5246 §7.4.2).
fn suits(hello: &ClientHello<'_>, key: &CertifiedKey) -> bool {
    use CipherSuite as Suite;
    let suites = hello.cipher_suites();
    let by_suite = suites.iter().any(|suite| match suite {
        Suite::TLS13_AES_128_GCM_SHA256
        | Suite::TLS13_AES_256_GCM_SHA384
        | Suite::TLS13_CHACHA20_POLY1305_SHA256 => true,
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        | Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        | Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => is_rsa(key),
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => !is_rsa(key),
        _ => false,
    });
    by_suite && key.key.choose_scheme(hello.signature_schemes()).is_some()
}

fn is_rsa(key: &CertifiedKey) -> bool {
    key.key.algorithm() == SignatureAlgorithm::RSA
}
