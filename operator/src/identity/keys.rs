//! The API server's token keys. In: its discovery document and key set, fetched now and then. Out: the last ones known; they
//! outlive an outage of the API server.

use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use kube::Client;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::refusal::Refusal;
use super::token::{BoundPod, KeySet};

/// The path of the issuer's metadata (`OpenID` Connect Discovery 1.0 §4), as the API server serves it.
const METADATA: &str = "/.well-known/openid-configuration";

/// The path of the keys, as the API server serves it.
const JWKS: &str = "/openid/v1/jwks";

/// For each of the two requests.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Keys change when an administrator changes them.
const REFRESH_EVERY: Duration = Duration::from_mins(5);

/// While there are none.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// A token with an unknown key makes us look again, but not for each stranger's token.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Why the keys are not known, or not fresh.
#[derive(Debug, Error)]
pub(super) enum KeysError {
    /// The API server did not answer well.
    #[error("GET {path}: {error}; the operator's role must allow it")]
    Request {
        path: &'static str,
        error: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("GET {path}: no answer within {} s", TIMEOUT.as_secs())]
    Timeout { path: &'static str },
    /// What came back is not what it should be.
    #[error("GET {path}: the answer cannot be used: {reason}")]
    Answer { path: &'static str, reason: String },
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
}

/// The last keys known.
pub(super) struct Keys {
    client: Client,
    /// Overrides what the API server says of itself.
    issuer: Option<String>,
    known: watch::Sender<Option<Arc<KeySet>>>,
    /// When they were asked for last; held while asking, so that many tokens cause one question.
    pub(super) asked: Mutex<Option<Instant>>,
}

impl Keys {
    pub(super) fn new(client: Client, issuer: Option<String>) -> Self {
        Self {
            client,
            issuer,
            known: watch::Sender::new(None),
            asked: Mutex::new(None),
        }
    }

    /// They have been fetched at least once.
    pub(super) fn known(&self) -> bool {
        self.known.borrow().is_some()
    }

    /// Which pod the token is bound to. A key that is not known may be new: the keys are fetched again, at most every few
    /// seconds.
    pub(super) async fn verify(&self, token: &str) -> Result<BoundPod, Refusal> {
        let verdict = self.judge(token);
        if !matches!(verdict, Err(Refusal::UnknownKey(_) | Refusal::NotReady(_))) {
            return verdict;
        }
        self.refresh(LOOK_AGAIN_AFTER).await;
        self.judge(token)
    }

    fn judge(&self, token: &str) -> Result<BoundPod, Refusal> {
        let keys = self.known.borrow().clone();
        let keys = keys.ok_or(Refusal::NotReady(
            "the operator does not know the API server's token keys yet",
        ))?;
        keys.verify(token, jiff::Timestamp::now())
    }

    /// Fetches them, unless they were asked for within `unless_within`. What is known stays if that fails.
    pub(super) async fn refresh(&self, unless_within: Duration) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < unless_within) {
            return;
        }
        let fetched = self.fetch().await;
        *asked = Some(Instant::now());
        match fetched {
            Ok(keys) => {
                if !self.known() {
                    tracing::info!(keys = keys.len(), "the API server's token keys are known");
                }
                self.known.send_replace(Some(Arc::new(keys)));
            }
            Err(error) => {
                tracing::warn!(%error, known = self.known(), "the API server's token keys are not refreshed");
            }
        }
    }

    /// Fetches them again and again. Never returns: the caller drops it.
    pub(super) async fn keep(&self) {
        loop {
            let every = if self.known() { REFRESH_EVERY } else { RETRY_EVERY };
            self.refresh(every).await;
            tokio::time::sleep(every).await;
        }
    }

    async fn fetch(&self) -> Result<KeySet, KeysError> {
        let issuer = if let Some(issuer) = &self.issuer {
            issuer.clone()
        } else {
            let text = self.get(METADATA).await?;
            let metadata: Metadata = serde_json::from_str(&text).map_err(|error| KeysError::Answer {
                path: METADATA,
                reason: error.to_string(),
            })?;
            metadata.issuer
        };
        KeySet::parse(issuer, &self.get(JWKS).await?)
            .map_err(|reason| KeysError::Answer { path: JWKS, reason })
    }

    async fn get(&self, path: &'static str) -> Result<String, KeysError> {
        let request = Request::get(path)
            .body(Vec::new())
            .map_err(|error| KeysError::Answer {
                path,
                reason: error.to_string(),
            })?;
        tokio::time::timeout(TIMEOUT, self.client.request_text(request))
            .await
            .map_err(|_| KeysError::Timeout { path })?
            .map_err(|error| KeysError::Request {
                path,
                error: Box::new(error),
            })
    }
}
