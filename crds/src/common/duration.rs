//! Durations as Gateway API writes them: `500ms`, `1s`, `1h30m`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{form, rules};

/// A length of time, never negative, in whole milliseconds, at most 99999h59m59s999ms.
///
/// It reads what Gateway API allows (GEP-2257) and prints the canonical form: each unit at most once, largest first, `0s` for zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

const MS_PER_SECOND: u64 = 1_000;
const MS_PER_MINUTE: u64 = 60 * MS_PER_SECOND;
const MS_PER_HOUR: u64 = 60 * MS_PER_MINUTE;

/// The longest duration, in milliseconds: what the canonical form can print with five digits of hours.
const MAX_MS: u64 = 100_000 * MS_PER_HOUR - 1;

impl Duration {
    /// No time at all, printed `0s`.
    pub const ZERO: Self = Self(std::time::Duration::ZERO);

    /// So many milliseconds; more than the longest duration counts as that.
    pub const fn from_millis(ms: u64) -> Self {
        Self(std::time::Duration::from_millis(if ms > MAX_MS {
            MAX_MS
        } else {
            ms
        }))
    }

    /// So many seconds; more than the longest duration counts as that.
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(MS_PER_SECOND))
    }

    /// The same length as the standard library's type.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    const fn as_millis(self) -> u64 {
        // Never truncates: every constructor keeps to MAX_MS.
        self.0.as_millis() as u64
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseDurationError {
    /// It does not have the form of one.
    Malformed(String),
    /// It is longer than 99999h59m59s999ms.
    TooLong(String),
}

impl fmt::Display for ParseDurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text) => write!(f, "{text:?} is not a duration: {}", form::DURATION.says),
            Self::TooLong(text) => write!(f, "{text:?} is too long: a duration is at most 99999h"),
        }
    }
}

impl std::error::Error for ParseDurationError {}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseDurationError::Malformed(text.to_owned());
        let mut rest = text;
        let mut ms: u64 = 0;
        for _ in 0..4 {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 5 {
                return Err(malformed());
            }
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| malformed())?;
            // "ms" before "m", which it begins with.
            let (scale, tail) = [
                ("ms", 1),
                ("h", MS_PER_HOUR),
                ("m", MS_PER_MINUTE),
                ("s", MS_PER_SECOND),
            ]
            .into_iter()
            .find_map(|(unit, scale)| tail.strip_prefix(unit).map(|tail| (scale, tail)))
            .ok_or_else(malformed)?;
            // Cannot overflow: four times 99999 hours is far below 2^64 milliseconds.
            ms += number * scale;
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        if !rest.is_empty() {
            return Err(malformed());
        }
        if ms > MAX_MS {
            return Err(ParseDurationError::TooLong(text.to_owned()));
        }
        Ok(Self::from_millis(ms))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (scale, unit) in [
            (MS_PER_HOUR, "h"),
            (MS_PER_MINUTE, "m"),
            (MS_PER_SECOND, "s"),
            (1, "ms"),
        ] {
            let count = rest / scale;
            rest %= scale;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": form::DURATION.pattern, "maxLength": 28, "x-kubernetes-validations": rules::duration()})
    }
}

#[cfg(test)]
mod tests;
