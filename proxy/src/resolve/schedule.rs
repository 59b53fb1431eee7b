//! When a question is asked next. In: what the last attempt brought and what the subscribers want. Out: a delay.

use std::time::Duration;

use super::{Clamp, Failure, FailureKind};

/// An answer is refreshed between this share of its TTL and all of it, so that names learnt together drift apart and
/// a slow resolver still answers about in time.
const REFRESH_FROM: f64 = 0.9;

/// Failures are retried up to this much later than the schedule says, so that names that failed together drift apart.
const RETRY_JITTER: f64 = 0.25;

/// While the resolver is at fault (it said nothing about the name), the pause grows to this many times the period at
/// which the question is asked in good times: an outage never makes a name much staler than it is anyway.
const OUTAGE_FACTOR: u32 = 4;

/// The delay from an answer to the next query. `luck` is between 0 and 1.
pub(super) fn refresh_after(ttl: Duration, clamp: Clamp, luck: f64) -> Duration {
    clamp
        .apply(ttl)
        .mul_f64(REFRESH_FROM + (1.0 - REFRESH_FROM) * luck)
}

/// The delay from a failure to the next query: doubles from the smallest TTL up. `ttl` is that of the last good
/// answer, if there ever was one; `luck` is between 0 and 1.
pub(super) fn retry_after(failure: &Failure, ttl: Option<Duration>, clamp: Clamp, luck: f64) -> Duration {
    let longest = match failure.kind {
        FailureKind::NxDomain | FailureKind::Empty => clamp.max_ttl,
        FailureKind::Server | FailureKind::Unreachable => {
            let period = clamp.apply(ttl.unwrap_or(clamp.min_ttl));
            clamp.max_ttl.min(period * OUTAGE_FACTOR)
        }
    };
    let doublings = failure.in_a_row.saturating_sub(1).min(16);
    let delay = clamp.min_ttl.saturating_mul(1 << doublings).min(longest);
    delay.mul_f64(1.0 + RETRY_JITTER * luck)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const CLAMP: Clamp = Clamp {
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(30),
    };

    fn failure(kind: FailureKind, in_a_row: u32) -> Failure {
        Failure {
            kind,
            text: String::new(),
            since: Instant::now(),
            in_a_row,
        }
    }

    #[test]
    fn answers_are_refreshed_ahead_of_their_clamped_ttl() {
        let table = [
            (0, 0.0, 900),
            (1, 1.0, 1000),
            (10, 0.5, 9500),
            (3600, 0.0, 27_000),
        ];
        for (ttl, luck, millis) in table {
            let delay = refresh_after(Duration::from_secs(ttl), CLAMP, luck);
            assert_eq!(delay.as_millis(), millis, "ttl {ttl} luck {luck}");
        }
    }

    #[test]
    fn denials_back_off_to_the_longest_ttl_and_outages_to_four_periods() {
        let table = [
            (FailureKind::NxDomain, 1, None, 1),
            (FailureKind::NxDomain, 4, None, 8),
            (FailureKind::Empty, 60, Some(1), 30),
            (FailureKind::Unreachable, 1, Some(5), 1),
            (FailureKind::Unreachable, 60, None, 4),
            (FailureKind::Server, 60, Some(1), 4),
            (FailureKind::Server, 60, Some(5), 20),
            (FailureKind::Server, 60, Some(600), 30),
        ];
        for (kind, in_a_row, ttl, secs) in table {
            let ttl = ttl.map(Duration::from_secs);
            let delay = retry_after(&failure(kind, in_a_row), ttl, CLAMP, 0.0);
            assert_eq!(delay, Duration::from_secs(secs), "{kind:?} {in_a_row} {ttl:?}");
        }
        let latest = retry_after(&failure(FailureKind::Empty, 1), None, CLAMP, 1.0);
        assert_eq!(latest, Duration::from_millis(1250));
    }
}
