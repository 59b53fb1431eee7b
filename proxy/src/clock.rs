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
