//! A certificate in words. In: a chain as PEM. Out: for whom its first certificate is, and for how long.

use std::net::IpAddr;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// What clients see of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// DNS names and IP addresses that it is for, in its order; else its common name.
    pub names: Vec<String>,
    /// The first second of its life.
    pub from: Timestamp,
    /// The last second of its life.
    pub until: Timestamp,
}

/// Reads the first certificate; none: there is none.
pub fn about(chain: &str) -> Option<About> {
    let certificate = CertificateDer::from_pem_slice(chain.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&certificate).ok()?;
    let validity = certificate.validity();
    let time = |seconds| Timestamp::from_second(seconds).ok();
    Some(About {
        names: names(&certificate),
        from: time(validity.not_before.timestamp())?,
        until: time(validity.not_after.timestamp())?,
    })
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        let common = certificate.subject().iter_common_name();
        names.extend(common.filter_map(|name| name.as_str().ok()).map(str::to_owned));
    }
    names
}

fn address(bytes: &[u8]) -> Option<String> {
    let address = if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        IpAddr::from(v4)
    } else {
        IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)
    };
    Some(address.to_string())
}
