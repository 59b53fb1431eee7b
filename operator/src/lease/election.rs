//! The decision who leads: a pure state machine. In: what the Lease was seen to hold, and the time by this machine's own
//! monotonic clock. Out: what to do next, and until when this process leads.
//!
//! Why no two lead at once: a term ends `renew_deadline` after its last successful renewal was *sent*. Nobody else takes the
//! lease before it saw the same record, unchanged, for `duration`, which is longer, and counts from a moment after the
//! record was written; and taking it fails if the record has changed meanwhile (the API server compares resource versions).
//! Wall clocks play no part, so they may jump; clocks must only run at about the same rate. Whoever was stopped finds its
//! term over by its own clock before it can ask anybody. The rule is void if somebody deletes the Lease under a leader.
//!
//! Serving proxies is another matter than writing: a replica that has not heard of the lease for a whole `duration` cannot know
//! of a leader, and one that led and heard of no successor goes on. So without an API server proxies are served all the same.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A candidate that finds nobody in its way waits so much at most before it acts, so that replicas do not act as one.
const JITTER: f64 = 0.2;

/// How long a term lasts and how often it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    duration: Duration,
    renew_deadline: Duration,
    retry: Duration,
}

impl Timing {
    /// `retry` < `renew_deadline` < `duration`, the duration in whole seconds since the Lease holds no others.
    ///
    /// # Errors
    /// In words, which rule is broken.
    pub fn new(duration: Duration, renew_deadline: Duration, retry: Duration) -> Result<Self, String> {
        if duration.subsec_nanos() != 0 || duration.is_zero() {
            return Err("--lease-duration must be whole seconds, 1s or more".to_owned());
        }
        if renew_deadline >= duration {
            return Err(
                "--lease-renew-deadline must be shorter than --lease-duration: a leader must have stopped before another begins"
                    .to_owned(),
            );
        }
        if retry.is_zero() || retry.mul_f64(1.0 + JITTER) >= renew_deadline {
            return Err(
                "--lease-retry-period must be above zero and well below --lease-renew-deadline".to_owned(),
            );
        }
        Ok(Self {
            duration,
            renew_deadline,
            retry,
        })
    }

    /// How long a request about the lease may still be of use.
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }
}

/// What the API server holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// None: nobody.
    pub(super) holder: Option<String>,
    /// By the holder's own settings.
    pub(super) duration: Option<Duration>,
    /// Changes with each write.
    pub(super) version: String,
    /// How often the holder changed.
    pub(super) transitions: i32,
    /// For people.
    pub(super) acquired: Option<Timestamp>,
}

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// None: the lease is given back.
    pub(super) holder: Option<String>,
    pub(super) duration: Duration,
    /// Of the record that is replaced; none: there is none, and one must be made.
    pub(super) version: Option<String>,
    pub(super) transitions: i32,
    /// None: now.
    pub(super) acquired: Option<Timestamp>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, until then.
    Wait(Instant),
    /// Look at the lease.
    Read,
    /// Write it.
    Write(Intent),
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// This is there now.
    Done(Record),
    /// Somebody else wrote first.
    Lost,
    /// It failed, or nobody knows.
    Unknown,
}

/// What was seen of the lease.
#[derive(Clone, Debug)]
enum Seen {
    /// Nothing yet.
    Nothing,
    /// There is none, since this was first noticed.
    Missing(Instant),
    /// This, unchanged since it was first noticed.
    Record(Record, Instant),
}

/// Where a candidate stands, as far as others must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// It leads until then.
    pub(super) leads_until: Option<Instant>,
    /// It leaves proxies to another replica until then; none: it does not.
    pub(super) aside_until: Option<Instant>,
}

/// One candidate.
#[derive(Clone, Debug)]
pub(super) struct Election {
    identity: String,
    timing: Timing,
    seen: Seen,
    /// Whether anybody was ever seen to hold the lease.
    held_before: bool,
    /// This process leads until then, unless it renews.
    valid_until: Option<Instant>,
    /// The lease is known to be another's, or nobody's; until then that is taken to be so. None: it was ours when it was
    /// last heard of.
    aside_until: Option<Instant>,
    next_at: Instant,
}

impl Election {
    pub(super) fn new(identity: String, timing: Timing, now: Instant) -> Self {
        Self {
            identity,
            timing,
            seen: Seen::Nothing,
            held_before: false,
            valid_until: None,
            aside_until: Some(now + timing.duration),
            next_at: now,
        }
    }

    /// Where this process stands.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        Standing {
            leads_until: self.valid_until(now),
            aside_until: self.aside_until,
        }
    }

    /// Until when this process leads; none: it does not.
    pub(super) fn valid_until(&self, now: Instant) -> Option<Instant> {
        self.valid_until.filter(|until| now < *until)
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        if self.valid_until.is_some() && self.valid_until(now).is_none() {
            // the term is over: whatever was known of the lease is old
            self.valid_until = None;
            return Step::Read;
        }
        if now < self.next_at {
            return Step::Wait(self.wake_at());
        }
        match &self.seen {
            Seen::Missing(since) if !self.held_before || now >= *since + self.timing.duration => {
                Step::Write(self.claim(None))
            }
            Seen::Record(record, since) if self.may_write(record, *since, now) => {
                Step::Write(self.claim(Some(record)))
            }
            Seen::Nothing | Seen::Missing(_) | Seen::Record(..) => Step::Read,
        }
    }

    fn wake_at(&self) -> Instant {
        self.valid_until
            .map_or(self.next_at, |until| until.min(self.next_at))
    }

    fn may_write(&self, record: &Record, since: Instant, now: Instant) -> bool {
        match &record.holder {
            None => true,
            Some(holder) if *holder == self.identity => true,
            Some(_) => {
                now >= since
                    + record
                        .duration
                        .unwrap_or(self.timing.duration)
                        .max(self.timing.duration)
            }
        }
    }

    fn claim(&self, replaced: Option<&Record>) -> Intent {
        let mine = replaced.filter(|record| record.holder.as_deref() == Some(&self.identity));
        Intent {
            holder: Some(self.identity.clone()),
            duration: self.timing.duration,
            version: replaced.map(|record| record.version.clone()),
            transitions: match (mine, replaced) {
                (Some(record), _) => record.transitions,
                (None, Some(record)) => record.transitions.saturating_add(1),
                (None, None) => 0,
            },
            acquired: mine.and_then(|record| record.acquired),
        }
    }

    /// The lease was read.
    pub(super) fn read(&mut self, record: Option<Record>, now: Instant) {
        self.held_before |= record.as_ref().is_some_and(|record| record.holder.is_some());
        let mine = record
            .as_ref()
            .is_some_and(|record| record.holder.as_deref() == Some(&self.identity));
        if !mine {
            // somebody forced it, against the rule
            self.valid_until = None;
        }
        self.aside_until = (!mine).then(|| now + self.timing.duration);
        self.seen = match (record, &self.seen) {
            (None, Seen::Missing(since)) => Seen::Missing(*since),
            (None, _) => Seen::Missing(now),
            (Some(record), Seen::Record(before, since)) if before.version == record.version => {
                Seen::Record(record, *since)
            }
            (Some(record), _) => Seen::Record(record, now),
        };
        let ready = match &self.seen {
            Seen::Missing(since) => !self.held_before || now >= *since + self.timing.duration,
            Seen::Record(record, since) => self.may_write(record, *since, now),
            Seen::Nothing => false,
        };
        self.next_at = if ready { now } else { now + self.pause() };
    }

    /// A write ended that was sent then.
    pub(super) fn wrote(&mut self, wrote: Wrote, sent: Instant, now: Instant) {
        match wrote {
            Wrote::Done(record) => {
                self.held_before = true;
                let mine = record.holder.as_deref() == Some(&self.identity);
                // counted from the moment of sending: the record may have been written right then
                self.valid_until = mine.then(|| sent + self.timing.renew_deadline);
                self.aside_until = (!mine).then(|| now + self.timing.duration);
                self.seen = Seen::Record(record, now);
                self.next_at = sent + self.pause();
            }
            Wrote::Lost | Wrote::Unknown => {
                // Somebody wrote first, or this was written all the same: look. A term goes on meanwhile, for by the rule
                // above nobody else can have begun one.
                self.seen = Seen::Nothing;
                self.next_at = match wrote {
                    Wrote::Lost => now,
                    _ => now + self.pause(),
                };
            }
        }
    }

    /// The lease could not be read.
    pub(super) fn failed(&mut self, now: Instant) {
        self.next_at = now + self.pause();
    }

    /// Ends this process' term; what to write so that others need not wait.
    pub(super) fn resign(&mut self) -> Option<Intent> {
        self.valid_until = None;
        let Seen::Record(record, _) = &self.seen else {
            return None;
        };
        let mine = record.holder.as_deref() == Some(&self.identity);
        mine.then(|| Intent {
            holder: None,
            ..self.claim(Some(record))
        })
    }

    /// The lease was ours when it was last heard of.
    pub(super) fn may_be_ours(&self) -> bool {
        self.aside_until.is_none()
    }

    fn pause(&self) -> Duration {
        self.timing.retry.mul_f64(1.0 + JITTER * fastrand::f64())
    }
}
