//! Time as the pure parts see it: handed in, never asked for.

use std::time::Instant;

use jiff::Timestamp;

/// One moment on both clocks: the monotonic one for intervals, the wall clock for calendars and for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For everything that measures a distance in time.
    pub mono: Instant,
    /// For schedules, for what is kept on disk, and for what is shown.
    pub wall: Timestamp,
}

impl Now {
    /// The moment of the call. Only edges call this.
    pub fn read() -> Self {
        Self {
            mono: Instant::now(),
            wall: Timestamp::now(),
        }
    }
}

/// Unix time in milliseconds, for what is sent to other machines. Only edges call this.
pub fn unix_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}
