//! When an authority signs, and when it is trusted. Pure. In: the clock, the authorities that are kept (oldest first), how
//! long things live. Out: which one signs, and what has to change.
//!
//! ```text
//!           kept, trusted                                  not trusted
//!  old  ────────────────────────────────────────────────┐
//!       signs ───────────────────┐  key dropped         │ MAX_LEAF_LIFETIME after it stopped signing
//!  new            kept, trusted ─────────────────────────────────────────
//!                 │ propagation  └ signs ────────────────────────────────
//!                 2/3 of old's life
//! ```
//!
//! So whoever has fetched the bundle within `propagation` trusts every leaf that is valid. All times but the clock are
//! kept with the authorities: neither a restart nor another configuration moves them.

use std::time::Duration;

use jiff::Timestamp;
use switchyard_discovery::identity::{MAX_LEAF_LIFETIME, Validity};

/// The key of an authority that stopped signing is kept a little longer: a replica whose clock is late still signs with it.
const DISARM_AFTER: Duration = Duration::from_mins(10);

/// How long things live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of an authority of our own.
    pub(super) ca: Duration,
    /// How long a new authority is only trusted before it signs.
    pub(super) propagation: Duration,
    /// Of the certificates it signs.
    pub(super) certificate: Duration,
}

impl Lifetimes {
    /// Checks that they fit together.
    ///
    /// # Errors
    /// In words: what has to be longer or shorter than what, so that every rotation is without a gap.
    pub fn new(ca: Duration, propagation: Duration, certificate: Duration) -> Result<Self, String> {
        let words = |duration| switchyard_snapshot::format_duration(duration);
        if certificate.is_zero() || certificate > MAX_LEAF_LIFETIME {
            return Err(format!(
                "certificates of proxies must live for more than 0s and at most {}, not {}",
                words(MAX_LEAF_LIFETIME),
                words(certificate)
            ));
        }
        if propagation < certificate {
            return Err(format!(
                "a new CA must be published for at least {}, the life of a certificate, before it signs (not {}): \
                 only then has every proxy heard of it",
                words(certificate),
                words(propagation)
            ));
        }
        if ca / 3 < propagation.saturating_add(certificate) {
            return Err(format!(
                "the CA must live for at least {}, three times the time to publish it and the life of a certificate \
                 together, not {}",
                words(propagation.saturating_add(certificate) * 3),
                words(ca)
            ));
        }
        Ok(Self {
            ca,
            propagation,
            certificate,
        })
    }
}

impl Default for Lifetimes {
    /// A year; a day; a day: an operator may be gone for 8 hours before the first proxy's certificate runs out.
    fn default() -> Self {
        Self {
            ca: Duration::from_hours(365 * 24),
            propagation: Duration::from_hours(24),
            certificate: Duration::from_hours(24),
        }
    }
}

/// What of a kept authority matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// Of its certificate.
    pub(super) validity: Validity,
    /// It does not sign before.
    pub(super) signs_from: Timestamp,
    /// Its key is kept.
    pub(super) armed: bool,
}

/// Where new authorities come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// We make them.
    Own,
    /// Somebody else writes them; this is the one that is written now.
    Given {
        /// Of its certificate.
        validity: Validity,
        /// Which of the kept authorities it is.
        kept: Option<usize>,
    },
    /// Somebody else writes them, and what is written cannot be read now.
    Unreadable,
}

/// What has to change. Indices are those of the kept authorities before the change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Not trusted any more.
    pub(super) forget: Vec<usize>,
    /// Its key is not needed any more.
    pub(super) disarm: Vec<usize>,
    /// The newest one is added (of the source), and signs from then on.
    pub(super) add: Option<Timestamp>,
}

impl Plan {
    /// Nothing has to change.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which authority signs now: the newest whose time has come; before that the oldest that can. None: nobody can sign.
pub(super) fn signer(now: Timestamp, kept: &[Term]) -> Option<usize> {
    let able = |term: &&(usize, &Term)| term.1.armed && term.1.validity.covers(now);
    let terms: Vec<_> = kept.iter().enumerate().collect();
    terms
        .iter()
        .rev()
        .filter(able)
        .find(|(_, term)| term.signs_from <= now)
        .or_else(|| terms.iter().find(able))
        .map(|(index, _)| *index)
}

/// What has to change now.
pub(super) fn plan(now: Timestamp, kept: &[Term], source: Source, lifetimes: &Lifetimes) -> Plan {
    let mut plan = Plan {
        add: addition(now, kept, source, lifetimes),
        ..Plan::default()
    };
    // An authority that is given again after another was: it moves to the end.
    let again = match source {
        Source::Given {
            kept: Some(index), ..
        } if plan.add.is_some() => Some(index),
        _ => None,
    };
    for (index, term) in kept.iter().enumerate() {
        let replaced_for = |time: Duration| {
            kept[index + 1..]
                .iter()
                .any(|later| later.armed && later.validity.covers(now) && plus(later.signs_from, time) <= now)
        };
        if term.validity.until < now || replaced_for(MAX_LEAF_LIFETIME) || again == Some(index) {
            plan.forget.push(index);
        } else if term.armed && replaced_for(DISARM_AFTER) {
            plan.disarm.push(index);
        }
    }
    plan
}

/// From when on a new authority signs, if one has to be added.
fn addition(now: Timestamp, kept: &[Term], source: Source, lifetimes: &Lifetimes) -> Option<Timestamp> {
    let from = if signer(now, kept).is_none() {
        // Nobody can sign: waiting would help nobody.
        now
    } else {
        plus(now, lifetimes.propagation)
    };
    match source {
        Source::Own => {
            let fresh = kept.last().is_some_and(|newest| {
                let Validity { from, until } = newest.validity;
                let life = Duration::try_from(until.duration_since(from)).unwrap_or(Duration::ZERO);
                newest.armed && now < plus(from, life * 2 / 3)
            });
            (!fresh).then_some(from)
        }
        Source::Given { validity, kept: at } => {
            let newest = at.is_some_and(|index| index + 1 == kept.len() && kept[index].armed);
            if newest || !validity.covers(now) {
                return None;
            }
            // One that is trusted already has been published for as long as it is kept.
            Some(at.map_or(from, |index| kept[index].signs_from.max(now)))
        }
        Source::Unreadable => None,
    }
}

fn plus(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
