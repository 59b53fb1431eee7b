//! Real servers for tests.

pub(crate) mod dns;
pub(crate) mod rig;
pub(crate) mod tls;

use std::time::{Duration, Instant};

/// Waits until `check` holds, and says how long that took; panics after `limit`.
pub(crate) async fn eventually(what: &str, limit: Duration, mut check: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}
