//! What is in use right now. In: the ring, the clock, what is in use so far. Out: who signs, whom to trust, the operator's own
//! certificate.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use switchyard_discovery::identity::{Authority, AuthorityError, Bundle, Credential};
use thiserror::Error;

use super::ring::Ring;

/// Why nothing can be put to use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LiveError {
    /// Every authority has expired, or has lost its key.
    #[error("no CA is valid and has a key")]
    NoSigner,
    /// The one that signs cannot.
    #[error("no certificate for the operator itself: {0}")]
    Sign(#[from] AuthorityError),
}

/// What is in use.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) authority: Arc<Authority>,
    pub(super) bundle: Bundle,
    /// The operator's own, and when it is replaced.
    pub(super) credential: Credential,
    /// Where all that comes from.
    pub(super) ring: Ring,
    renew_at: Timestamp,
}

impl Live {
    /// What to use from now on. A server certificate is made anew at 2/3 of its life, or when another authority signs.
    pub(super) fn next(
        before: Option<&Self>,
        ring: Ring,
        names: &[String],
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Self, LiveError> {
        let authority = ring.signer(now).ok_or(LiveError::NoSigner)?;
        let bundle = ring.bundle();
        let same = before
            .filter(|live| now < live.renew_at && live.authority.certificate() == authority.certificate());
        let (credential, renew_at) = if let Some(live) = same {
            (live.credential.clone(), live.renew_at)
        } else {
            let credential = authority.issue_server(names, now, lifetime)?;
            let life =
                Duration::try_from(credential.validity.until.duration_since(now)).unwrap_or(Duration::ZERO);
            let renew_at = now.saturating_add(life * 2 / 3).unwrap_or(Timestamp::MAX);
            (credential, renew_at)
        };
        Ok(Self {
            authority,
            bundle,
            credential,
            ring,
            renew_at,
        })
    }

    /// How long until the server certificate is replaced; nothing: it should have been.
    pub(super) fn due_in(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.renew_at.duration_since(now)).unwrap_or_default()
    }

    /// A new connection would see a difference.
    pub(super) fn differs_at_the_door(&self, before: &Self) -> bool {
        self.bundle != before.bundle || !Arc::ptr_eq(&self.credential.key, &before.credential.key)
    }
}
