//! How long a pool that failed waits before it is tried again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use switchyard_snapshot::PoolId;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// Never longer.
const LAST: Duration = Duration::from_mins(5);

/// Failures in a row, per pool.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<PoolId, u32>>);

impl Backoff {
    /// It went well, or the pool is gone.
    pub fn forget(&self, pool: &PoolId) {
        self.failures().remove(pool);
    }

    /// It failed: how long to wait. Doubles from 1 s to 5 min, less up to a quarter, so that pools that failed together are not
    /// tried together.
    pub fn failed(&self, pool: &PoolId) -> Duration {
        let mut failures = self.failures();
        let count = failures.entry(pool.clone()).or_default();
        let wait = FIRST.saturating_mul(1 << (*count).min(16)).min(LAST);
        *count = count.saturating_add(1);
        wait.mul_f64(1.0 - fastrand::f64() / 4.0)
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<PoolId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use switchyard_snapshot::PoolId;

    use super::Backoff;

    #[test]
    fn waits_grow_to_five_minutes_and_begin_anew_after_a_success() {
        let pool = PoolId {
            namespace: "n".to_owned(),
            name: "a".to_owned(),
        };
        let other = PoolId {
            namespace: "n".to_owned(),
            name: "b".to_owned(),
        };
        let backoff = Backoff::default();
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let wait = backoff.failed(&pool);
            let most = Duration::from_secs(seconds);
            assert!(wait <= most && wait >= most * 3 / 4, "{wait:?} of {most:?}");
        }
        assert!(
            backoff.failed(&other) <= Duration::from_secs(1),
            "one pool's failures are its own"
        );
        for _ in 0..200 {
            backoff.failed(&pool);
        }
        backoff.forget(&pool);
        assert!(backoff.failed(&pool) <= Duration::from_secs(1));
    }
}
