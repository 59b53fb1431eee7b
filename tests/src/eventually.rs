//! Waiting: for a condition until a deadline, or for time that has to pass.
//! In: what is awaited, in words. Out: the value, or a panic that says what
//! was seen last.

use std::thread;
use std::time::{Duration, Instant};

/// Time between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);

/// Looks at `check` until it is `Ok`, and returns its value. What a look saw
/// that began in time and took long may be long past: there is always one that
/// begins at the end of the time, or as soon after as the one before is over.
///
/// # Panics
/// When it is not `Ok` within `within`; the message carries `what` and the
/// last error.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, mut check: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        let begun = Instant::now();
        match check() {
            Ok(value) => return value,
            Err(seen) if begun >= deadline => {
                panic!("not within {within:?}: {what}; last seen: {seen}")
            }
            Err(_) => pause(POLL.min(deadline.saturating_duration_since(Instant::now()))),
        }
    }
}

/// Fails when `check` fails at any look during `period`: what must hold all
/// the time, not once.
///
/// # Panics
/// At the first error of `check`.
#[track_caller]
pub fn throughout<E: std::fmt::Display>(
    what: &str,
    period: Duration,
    mut check: impl FnMut() -> Result<(), E>,
) {
    let begun = Instant::now();
    while begun.elapsed() < period {
        if let Err(seen) = check() {
            panic!(
                "{what}: held for {:?} of {period:?}; seen: {seen}",
                begun.elapsed()
            );
        }
        pause(POLL);
    }
}

/// Lets time pass where time itself is the test's subject (an outage of 60 s,
/// a TTL). Never a replacement for awaiting a condition.
pub fn let_pass(period: Duration) {
    pause(period);
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place where a test thread sleeps: between two looks, or for an outage's length"
)]
fn pause(period: Duration) {
    thread::sleep(period);
}
