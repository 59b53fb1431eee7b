//! Which tier serves, when it changes back, and the calendar of prime time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;

/// How a chain changes its tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failover {
    /// Who decides.
    pub mode: Mode,
    /// Manual only: the tier of this backend serves; none: tier 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// A tier with fewer serving endpoints is down; 1 or more.
    pub min_healthy: u32,
    /// How a better tier that is up again gets its clients back.
    pub failback: Failback,
    /// For [`Failback::Delayed`]: how long the better tier must have been up without a break.
    #[serde(with = "duration::text")]
    pub delay: Duration,
    /// What becomes of sessions on an endpoint that is marked down.
    pub on_down: OnDown,
    /// Sessions moved per second, by this chain on this proxy; 1 or more.
    pub pace: u32,
}

/// Who changes the tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The state machine.
    Automatic,
    /// Only the user.
    Manual,
}

/// Four ways of going back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failback {
    /// Stay on the backup until it fails.
    Sticky,
    /// As soon as the better tier is up.
    Immediate,
    /// Once the better tier has been up for `delay`.
    Delayed,
    /// At the next start of prime time at which the better tier is up.
    Scheduled,
}

/// Sessions on an endpoint that is marked down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDown {
    /// Leave them to themselves.
    Keep,
    /// Close them, paced.
    Close,
}

/// Prime time: the moments at which sessions may go back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schedule {
    /// IANA time zone name.
    pub time_zone: String,
    /// At least one.
    pub starts: Vec<Start>,
    /// Dates in that zone, `YYYY-MM-DD`, without a start; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// A start of prime time on some days of the week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Start {
    /// At least one.
    pub days: Vec<Weekday>,
    /// Wall-clock time in the schedule's zone. Where a clock change skips it, the moment the gap ends counts the same
    /// distance later; where the clock shows it twice, the first counts.
    pub at: TimeOfDay,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the days speak for themselves")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// `HH:MM` or `HH:MM:SS`, kept in seconds since midnight; below 86,400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u32);

impl TimeOfDay {
    /// Hour, minute and second, as a clock shows them.
    pub fn hms(self) -> (u8, u8, u8) {
        (
            (self.0 / 3600) as u8,
            (self.0 / 60 % 60) as u8,
            (self.0 % 60) as u8,
        )
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time of day: write HH:MM or HH:MM:SS, such as 07:00");
        let parts: Vec<&str> = text.split(':').collect();
        if !(2..=3).contains(&parts.len()) {
            return Err(wrong());
        }
        let mut seconds = 0;
        for (part, (limit, unit)) in parts.iter().zip([(24, 3600), (60, 60), (60, 1)]) {
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(wrong());
            }
            let value: u32 = part.parse().map_err(|_| wrong())?;
            if value >= limit {
                return Err(wrong());
            }
            seconds += value * unit;
        }
        Ok(Self(seconds))
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        let (h, m, s) = time.hms();
        if s == 0 {
            format!("{h:02}:{m:02}")
        } else {
            format!("{h:02}:{m:02}:{s:02}")
        }
    }
}
