//! What live traffic says of an endpoint. In: connection attempts that failed, confirming probes, time. Out: whether live
//! traffic takes the endpoint out, and whether it has to be confirmed.
//!
//! Two rules:
//! - *Confirmed.* A failed attempt starts a confirming probe at once. If that fails too, the endpoint is out until `rise`
//!   confirming probes in a row pass: two failures within 500 ms count as `fall`. A pool-mate that says that the tier is
//!   down starts such probes, too; its word is no failure, so two of them have to fail.
//! - *Passive.* Live failures in a row, though confirming probes pass, take it out for `ejectFor`: n times as long for
//!   the n-th time in a row, up to 300 s (or `ejectFor`, if that is longer). A row ends when the endpoint served for as
//!   long as it was last out.

use std::time::{Duration, Instant};

use switchyard_snapshot::{Health, Passive};

use crate::chain::event::ConnectFailed;

/// The live failure and the start of the probe that confirms it lie no further apart.
const WINDOW: Duration = Duration::from_millis(500);

/// No ejection lasts longer, unless `ejectFor` itself does.
const LONGEST: Duration = Duration::from_mins(5);

/// What live traffic says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live<'a> {
    /// Nothing against it.
    Fine,
    /// An attempt and the probe after it failed.
    Confirmed {
        /// In words.
        why: &'a str,
    },
    /// Too many failures in a row.
    Ejected {
        /// How many.
        failures: u32,
        /// The newest, in words.
        why: &'a str,
        /// When it may serve again.
        until: Instant,
    },
}

/// One endpoint's record with live traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ejection {
    suspicion: Suspicion,
    /// Most live failures in a row since the suspicion arose.
    worst: u32,
    sentence: Option<Sentence>,
    /// The last ejection: which in its row, how long, and when it ended.
    served: Option<(u32, Duration, Instant)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Suspicion {
    #[default]
    None,
    /// A pool-mate says that the tier is down, or it is to take over; confirming probes are out.
    Doubted,
    /// Failed once; the confirming probe is out.
    Suspect { failed_at: Instant, why: String },
    /// Failed twice.
    Confirmed { why: String, passes: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sentence {
    until: Instant,
    length: Duration,
    /// 1 for the first in a row.
    nth: u32,
    failures: u32,
    why: String,
}

impl Ejection {
    /// A live attempt failed.
    pub fn failed(&mut self, failed: &ConnectFailed, health: &Health, now: Instant) {
        if self.sentence.is_some() {
            return;
        }
        match &self.suspicion {
            Suspicion::Confirmed { .. } => {}
            Suspicion::None | Suspicion::Doubted => {
                self.worst = failed.in_a_row;
                self.suspicion = Suspicion::Suspect {
                    failed_at: failed.at,
                    why: failed.why.clone(),
                };
            }
            Suspicion::Suspect { failed_at, .. } => {
                self.worst = self.worst.max(failed.in_a_row);
                // The confirming probe decides, as long as it can be expected to.
                if now > *failed_at + WINDOW + health.timeout {
                    self.sentence_if_due(health, &failed.why, now);
                }
            }
        }
    }

    /// A pool-mate says that the tier is down, or the endpoint is to take over and has not been seen lately.
    pub fn doubted(&mut self) {
        if self.sentence.is_none() && self.suspicion == Suspicion::None {
            self.worst = 0;
            self.suspicion = Suspicion::Doubted;
        }
    }

    /// A confirming probe ended; says whether that brought the endpoint back.
    pub fn confirmed(&mut self, result: Result<(), String>, health: &Health, now: Instant) -> bool {
        match (&mut self.suspicion, result) {
            (Suspicion::None, _) => {}
            (Suspicion::Doubted, Ok(())) => self.suspicion = Suspicion::None,
            (Suspicion::Doubted, Err(why)) => self.suspicion = Suspicion::Suspect { failed_at: now, why },
            (Suspicion::Suspect { why, .. }, Ok(())) => {
                let why = std::mem::take(why);
                self.suspicion = Suspicion::None;
                self.sentence_if_due(health, &why, now);
            }
            (Suspicion::Suspect { failed_at, why }, Err(again)) => {
                // A probe that began in time may take its whole timeout to fail.
                if now <= *failed_at + WINDOW + health.timeout {
                    self.suspicion = Suspicion::Confirmed {
                        why: again,
                        passes: 0,
                    };
                } else {
                    *failed_at = now;
                    *why = again;
                }
            }
            (Suspicion::Confirmed { passes, .. }, Ok(())) => {
                *passes += 1;
                if *passes >= health.rise {
                    self.suspicion = Suspicion::None;
                    return true;
                }
            }
            (Suspicion::Confirmed { why, passes }, Err(again)) => {
                *passes = 0;
                *why = again;
            }
        }
        false
    }

    fn sentence_if_due(&mut self, health: &Health, why: &str, now: Instant) {
        let failures = std::mem::take(&mut self.worst);
        let Some(passive) = &health.passive else { return };
        if failures < passive.consecutive_failures {
            return;
        }
        let nth = match self.served {
            Some((nth, length, ended)) if now < ended + length => nth.saturating_add(1),
            _ => 1,
        };
        let length = length_of(passive, nth);
        self.suspicion = Suspicion::None;
        self.sentence = Some(Sentence {
            until: now + length,
            length,
            nth,
            failures,
            why: why.to_owned(),
        });
    }

    /// Ends an ejection whose time is over; says whether one ended.
    pub fn expire(&mut self, now: Instant) -> bool {
        match &self.sentence {
            Some(sentence) if sentence.until <= now => {
                self.served = Some((sentence.nth, sentence.length, now));
                self.sentence = None;
                true
            }
            _ => false,
        }
    }

    /// Whether a confirming probe must be out.
    pub fn wants_confirming(&self) -> bool {
        self.suspicion != Suspicion::None
    }

    /// What live traffic says now.
    pub fn says(&self) -> Live<'_> {
        match (&self.suspicion, &self.sentence) {
            (Suspicion::Confirmed { why, .. }, _) => Live::Confirmed { why },
            (_, Some(sentence)) => Live::Ejected {
                failures: sentence.failures,
                why: &sentence.why,
                until: sentence.until,
            },
            _ => Live::Fine,
        }
    }
}

fn length_of(passive: &Passive, nth: u32) -> Duration {
    let limit = LONGEST.max(passive.eject_for);
    passive.eject_for.saturating_mul(nth).min(limit)
}

#[cfg(test)]
mod tests;
