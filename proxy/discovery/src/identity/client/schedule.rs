//! When to renew and by what. Pure. In: the clock, the life of what is held, how the last attempts ended. Out: how long to
//! wait, and by which means to ask.

use std::time::Duration;

use jiff::Timestamp;

/// The first wait after a failure; it doubles.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// The longest wait where nobody was there, or is ready yet: a Service leads every second attempt to an operator that does not
/// lead, and a proxy without a certificate cannot even begin. About as often as it tries to follow one.
const LAST_KNOCK: Duration = Duration::from_secs(1);

/// The wall clock is looked at this often while waiting: a machine that slept, or whose clock was set, is late otherwise.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// What proves the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// The token of the pod.
    Token,
    /// The certificate that is held.
    Certificate,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The other end understood and said no.
    Refused,
    /// Nobody was there, or is ready yet.
    Unheard,
    /// Something is wrong here, or with the answer.
    Wrong,
}

/// From when a certificate was obtained until it expires.
pub(super) type Life = (Timestamp, Timestamp);

/// When to renew and by what.
#[derive(Debug)]
pub(super) struct Schedule {
    random: fastrand::Rng,
    /// Up to this part of the life earlier than 2/3 of it, so that proxies that started together renew apart.
    jitter: f64,
    failures: u32,
    /// A renewal was refused: what is held does not prove the pod any more.
    refused: bool,
    retry_at: Option<Timestamp>,
}

impl Schedule {
    pub(super) fn new(mut random: fastrand::Rng) -> Self {
        Self {
            jitter: jitter(&mut random),
            random,
            failures: 0,
            refused: false,
            retry_at: None,
        }
    }

    /// How long to sleep before asking [`Schedule::due`] again.
    pub(super) fn wait(&mut self, now: Timestamp, life: Option<Life>) -> Duration {
        let at = self.at(now, life);
        Duration::try_from(at.duration_since(now))
            .unwrap_or(Duration::ZERO)
            .min(LOOK_EVERY)
    }

    /// By what to ask now; none: it is not time yet.
    pub(super) fn due(&mut self, now: Timestamp, life: Option<Life>) -> Option<Means> {
        if now < self.at(now, life) {
            return None;
        }
        Some(match life {
            Some((_, until)) if now < until && !self.refused => Means::Certificate,
            _ => Means::Token,
        })
    }

    fn at(&self, now: Timestamp, life: Option<Life>) -> Timestamp {
        if let Some(at) = self.retry_at {
            // A clock that was set back must not make a retry wait for the difference.
            return at.min(plus(now, LAST_RETRY));
        }
        let Some((obtained, until)) = life else {
            return now;
        };
        let life = Duration::try_from(until.duration_since(obtained)).unwrap_or(Duration::ZERO);
        plus(obtained, life.mul_f64(2.0 / 3.0 - self.jitter))
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.refused = false;
        self.retry_at = None;
        self.jitter = jitter(&mut self.random);
    }

    /// What is held was refused where it was shown, before its time: the token must prove the pod again, at once unless that
    /// is being tried already.
    pub(super) fn doubted(&mut self, now: Timestamp) {
        if !self.refused {
            self.failed(now, Means::Certificate, Failure::Refused);
        }
    }

    /// A certificate that was refused gives way to the token at once.
    pub(super) fn failed(&mut self, now: Timestamp, means: Means, how: Failure) {
        let first_refusal = means == Means::Certificate && how == Failure::Refused;
        self.refused |= first_refusal;
        if first_refusal {
            self.retry_at = Some(now);
            return;
        }
        let last = match how {
            Failure::Unheard => LAST_KNOCK,
            Failure::Refused | Failure::Wrong => LAST_RETRY,
        };
        let longest = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(last);
        self.failures = self.failures.saturating_add(1);
        let wait = longest.mul_f64(0.5 + self.random.f64() / 2.0);
        self.retry_at = Some(plus(now, wait));
    }
}

fn jitter(random: &mut fastrand::Rng) -> f64 {
    random.f64() / 10.0
}

fn plus(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
