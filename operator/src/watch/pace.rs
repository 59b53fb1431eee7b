//! How often an API server is asked that does not answer. In: a watch's events and errors. Out: the same, with a pause after each
//! error.
//!
//! kube's own backoff begins anew with every event, and a watch that fails tells one (`Init`) before each error: its pauses
//! would never grow.

use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::time::{Instant, sleep};

/// The pause after the first error, doubled with each of a row.
const FIRST: Duration = Duration::from_millis(200);

/// An API server that is gone is asked for this often, by each watch.
const LONGEST: Duration = Duration::from_secs(5);

/// A watch that went well for so long begins with the shortest pause again.
const CALM: Duration = Duration::from_secs(30);

/// Waits after each error before the watch goes on: longer with each of a row, with jitter, so that all watches do not come
/// back as one.
pub fn paced<T, E>(watch: impl Stream<Item = Result<T, E>>) -> impl Stream<Item = Result<T, E>> {
    let state = (Box::pin(watch), Pace::default(), None);
    futures::stream::unfold(state, |(mut watch, mut pace, pause)| async move {
        if let Some(pause) = pause {
            sleep(pause).await;
        }
        let event = watch.next().await?;
        let pause = event
            .is_err()
            .then(|| pace.failed(Instant::now(), fastrand::f64()));
        Some((event, (watch, pace, pause)))
    })
}

/// Errors of a row. Pure.
#[derive(Debug, Default)]
struct Pace {
    errors: u32,
    last: Option<Instant>,
}

impl Pace {
    /// How long to wait after an error at `now`; `random` is from 0 to 1.
    fn failed(&mut self, now: Instant, random: f64) -> Duration {
        // the pause itself is no calm
        if self.last.is_some_and(|last| now > last + CALM + LONGEST) {
            self.errors = 0;
        }
        self.last = Some(now);
        let pause = FIRST.saturating_mul(1 << self.errors.min(16)).min(LONGEST);
        self.errors = self.errors.saturating_add(1);
        pause.mul_f64(0.5 + random / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_begin_anew_after_a_calm() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        for longest in [200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            let pause = pace.failed(now, 1.0);
            assert_eq!(pause, Duration::from_millis(longest));
            now += pause;
        }
        assert_eq!(pace.failed(now, 0.0), LONGEST / 2, "half of it is jitter");
        now += CALM + LONGEST + Duration::from_millis(1);
        assert_eq!(pace.failed(now, 1.0), FIRST);
    }

    /// As kube's watcher does while the API server is gone: `Init`, error, `Init`, error.
    #[tokio::test]
    async fn an_event_between_two_errors_is_no_sign_of_health() {
        let events = (0..8).map(|n| if n % 2 == 0 { Ok(()) } else { Err(()) });
        let began = Instant::now();
        let seen = paced(futures::stream::iter(events)).count().await;
        assert_eq!(seen, 8);
        // half of 200, 400, 800 and 1,600 ms at least; beginning anew each time, it would be 800 ms at most
        assert!(
            began.elapsed() >= Duration::from_millis(1_500),
            "{:?}",
            began.elapsed()
        );
    }
}
