//! Where authorities are kept: a Secret of ours, and perhaps one that somebody else writes (as cert-manager does). In and out:
//! their contents. Nothing here decides.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use switchyard_discovery::identity::AuthorityPem;
use thiserror::Error;

use super::ring::{Ring, RingError};
use crate::FIELD_MANAGER;

/// The one key in our Secret's data.
const DATA_KEY: &str = "authorities.json";

/// For each request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the CA cannot be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The API server refused or did not answer.
    #[error("Secret {secret}: {error}")]
    Request {
        /// `NAMESPACE/NAME`.
        secret: String,
        /// Why.
        error: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("Secret {secret}: no answer within {} s", TIMEOUT.as_secs())]
    Timeout {
        /// `NAMESPACE/NAME`.
        secret: String,
    },
    /// Our own Secret holds something else.
    #[error(
        "Secret {secret}: {error}; restore it, or delete it: then a new CA is made and every proxy needs its bundle"
    )]
    Broken {
        /// `NAMESPACE/NAME`.
        secret: String,
        /// What.
        error: RingError,
    },
    /// The Secret that somebody else writes is not there.
    #[error("Secret {secret} does not exist; it should hold the CA (tls.crt and tls.key)")]
    Missing {
        /// `NAMESPACE/NAME`.
        secret: String,
    },
    /// The Secret that somebody else writes lacks something.
    #[error("Secret {secret}: {key} is missing, or is not text")]
    Incomplete {
        /// `NAMESPACE/NAME`.
        secret: String,
        /// Which.
        key: &'static str,
    },
}

/// Whether a write took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    /// It did.
    Yes,
    /// Somebody else wrote first: read again.
    Conflict,
}

/// What was read: the contents, and the version to write on top of.
pub(super) struct Loaded {
    pub(super) ring: Ring,
    secret: Option<Secret>,
}

/// Where authorities are kept.
pub(super) struct Store {
    api: Api<Secret>,
    namespace: String,
    name: String,
    given: Option<String>,
}

impl Store {
    pub(super) fn new(client: Client, namespace: &str, name: String, given: Option<String>) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name,
            given,
        }
    }

    /// Our Secret; an empty ring if there is none.
    pub(super) async fn load(&self) -> Result<Loaded, StoreError> {
        let secret = self.asked(&self.name, self.api.get_opt(&self.name)).await?;
        let data = secret
            .as_ref()
            .and_then(|secret| secret.data.as_ref()?.get(DATA_KEY));
        let ring = match data {
            None => Ring::default(),
            Some(ByteString(json)) => Ring::from_json(json).map_err(|error| self.broken(error))?,
        };
        Ok(Loaded { ring, secret })
    }

    /// Writes `ring` on top of what was loaded.
    pub(super) async fn save(&self, loaded: &Loaded, ring: &Ring) -> Result<Saved, StoreError> {
        let json = ring.to_json().map_err(|error| self.broken(error))?;
        let mut secret = loaded.secret.clone().unwrap_or_default();
        secret.metadata.name = Some(self.name.clone());
        secret
            .data
            .get_or_insert_default()
            .insert(DATA_KEY.to_owned(), ByteString(json));
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = if loaded.secret.is_some() {
            // It carries the resourceVersion that was read: whoever wrote meanwhile wins.
            self.asked(&self.name, self.api.replace(&self.name, &parameters, &secret))
                .await
        } else {
            let labels = BTreeMap::from([("app.kubernetes.io/managed-by", FIELD_MANAGER)]);
            secret.metadata.labels = Some(
                labels
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect(),
            );
            self.asked(&self.name, self.api.create(&parameters, &secret))
                .await
        };
        match written {
            Ok(_) => Ok(Saved::Yes),
            Err(StoreError::Request { error, .. }) if is_conflict(&error) => Ok(Saved::Conflict),
            Err(error) => Err(error),
        }
    }

    /// What somebody else writes: `tls.crt` and `tls.key` (the type `kubernetes.io/tls`). `ca.crt` is not looked at: our own
    /// clients trust the authority itself, and not also whatever stands above it.
    pub(super) async fn given(&self) -> Result<Option<AuthorityPem>, StoreError> {
        let Some(name) = &self.given else {
            return Ok(None);
        };
        let secret = self
            .asked(name, self.api.get_opt(name))
            .await?
            .ok_or_else(|| StoreError::Missing {
                secret: self.path(name),
            })?;
        let data = secret.data.unwrap_or_default();
        let text = |key: &'static str| {
            let text = data
                .get(key)
                .and_then(|value| String::from_utf8(value.0.clone()).ok());
            text.ok_or_else(|| StoreError::Incomplete {
                secret: self.path(name),
                key,
            })
        };
        Ok(Some(AuthorityPem {
            certificate: text("tls.crt")?,
            key: text("tls.key")?,
        }))
    }

    async fn asked<T>(
        &self,
        name: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, StoreError> {
        let secret = || self.path(name);
        tokio::time::timeout(TIMEOUT, request)
            .await
            .map_err(|_| StoreError::Timeout { secret: secret() })?
            .map_err(|error| StoreError::Request {
                secret: secret(),
                error: Box::new(error),
            })
    }

    fn broken(&self, error: RingError) -> StoreError {
        StoreError::Broken {
            secret: self.path(&self.name),
            error,
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_already_exists())
}
