//! The authorities that are kept. In: a Secret's data, or nothing; plans. Out: the data to write, who signs, whom to trust.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use switchyard_discovery::identity::{Authority, AuthorityError, AuthorityPem, Bundle, Validity};
use thiserror::Error;

use super::ca::{Lifetimes, Plan, Source, Term, plan, signer};

/// Kept authorities that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RingError {
    /// The JSON is not ours.
    #[error("its authorities cannot be read: {0}")]
    Json(String),
    /// One of them is broken.
    #[error("authority {index} of it cannot be used: {error}")]
    Authority {
        /// Counted from 0.
        index: usize,
        /// In words.
        error: String,
    },
}

/// As it is written. It holds keys.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    /// Oldest first.
    authorities: Vec<WrittenAuthority>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenAuthority {
    certificate: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    signs_from: Timestamp,
}

/// One authority.
#[derive(Clone)]
struct Kept {
    certificate: CertificateDer<'static>,
    pem: String,
    validity: Validity,
    signs_from: Timestamp,
    signing: Option<Signing>,
}

/// An authority that can sign.
#[derive(Clone)]
struct Signing {
    key: String,
    authority: Arc<Authority>,
}

/// The authorities that are kept, oldest first.
#[derive(Clone, Default)]
pub(super) struct Ring(Vec<Kept>);

impl Ring {
    /// Reads what was written.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, RingError> {
        // serde's message would quote the value, which can be a key.
        let written: Written = serde_json::from_slice(json).map_err(|error| {
            RingError::Json(format!(
                "{:?} at line {}, column {}",
                error.classify(),
                error.line(),
                error.column()
            ))
        })?;
        let kept = written
            .authorities
            .into_iter()
            .enumerate()
            .map(|(index, written)| {
                Kept::new(written).map_err(|error| RingError::Authority { index, error })
            });
        Ok(Self(kept.collect::<Result<_, _>>()?))
    }

    /// What to write.
    pub(super) fn to_json(&self) -> Result<Vec<u8>, RingError> {
        let authorities = self.0.iter().map(|kept| WrittenAuthority {
            certificate: kept.pem.clone(),
            key: kept.signing.as_ref().map(|signing| signing.key.clone()),
            signs_from: kept.signs_from,
        });
        let written = Written {
            authorities: authorities.collect(),
        };
        serde_json::to_vec(&written).map_err(|error| RingError::Json(error.to_string()))
    }

    /// What has to change now. `given`: what somebody else writes, if authorities are not ours to make.
    pub(super) fn plan(&self, now: Timestamp, given: &Given, lifetimes: &Lifetimes) -> Plan {
        let source = match given {
            Given::Nobody => Source::Own,
            Given::Unreadable => Source::Unreadable,
            Given::Authority(_, authority) => Source::Given {
                validity: authority.validity(),
                kept: self
                    .0
                    .iter()
                    .position(|kept| kept.certificate == *authority.certificate()),
            },
        };
        plan(now, &self.terms(), source, lifetimes)
    }

    /// The ring after `plan`.
    pub(super) fn apply(
        &self,
        plan: &Plan,
        now: Timestamp,
        given: &Given,
        lifetimes: &Lifetimes,
    ) -> Result<Self, AuthorityError> {
        let mut kept: Vec<Kept> = Vec::with_capacity(self.0.len() + 1);
        for (index, one) in self.0.iter().enumerate() {
            if plan.forget.contains(&index) {
                continue;
            }
            let mut one = one.clone();
            if plan.disarm.contains(&index) {
                one.signing = None;
            }
            kept.push(one);
        }
        if let Some(signs_from) = plan.add {
            let (pem, authority) = match given {
                Given::Authority(pem, authority) => (pem.clone(), authority.clone()),
                Given::Nobody | Given::Unreadable => {
                    let pem = Authority::create(now, lifetimes.ca)?;
                    let authority = Arc::new(Authority::from_pem(&pem)?);
                    (pem, authority)
                }
            };
            kept.push(Kept {
                certificate: authority.certificate().clone(),
                pem: authority.certificate_pem(),
                validity: authority.validity(),
                signs_from,
                signing: Some(Signing {
                    key: pem.key,
                    authority,
                }),
            });
        }
        Ok(Self(kept))
    }

    /// Who signs now.
    pub(super) fn signer(&self, now: Timestamp) -> Option<Arc<Authority>> {
        let index = signer(now, &self.terms())?;
        Some(self.0.get(index)?.signing.as_ref()?.authority.clone())
    }

    /// Whom to trust.
    pub(super) fn bundle(&self) -> Bundle {
        Bundle::from_der(self.0.iter().map(|kept| kept.certificate.clone()))
    }

    fn terms(&self) -> Vec<Term> {
        let terms = self.0.iter().map(|kept| Term {
            validity: kept.validity,
            signs_from: kept.signs_from,
            armed: kept.signing.is_some(),
        });
        terms.collect()
    }
}

impl Kept {
    fn new(written: WrittenAuthority) -> Result<Self, String> {
        let WrittenAuthority {
            certificate: pem,
            key,
            signs_from,
        } = written;
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
        let validity = Validity::of(&certificate)?;
        let signing = match key {
            None => None,
            Some(key) => {
                let pem = AuthorityPem {
                    certificate: pem.clone(),
                    key,
                };
                let authority = Authority::from_pem(&pem).map_err(|error| error.to_string())?;
                Some(Signing {
                    key: pem.key,
                    authority: Arc::new(authority),
                })
            }
        };
        Ok(Self {
            certificate,
            pem,
            validity,
            signs_from,
            signing,
        })
    }
}

/// What somebody else writes.
#[derive(Clone)]
pub(super) enum Given {
    /// Nobody does: authorities are ours to make.
    Nobody,
    /// An authority.
    Authority(AuthorityPem, Arc<Authority>),
    /// Something that cannot be read now.
    Unreadable,
}

impl Given {
    /// Reads what somebody else wrote.
    pub(super) fn from_pem(pem: AuthorityPem) -> Result<Self, AuthorityError> {
        let authority = Arc::new(Authority::from_pem(&pem)?);
        Ok(Self::Authority(pem, authority))
    }
}
