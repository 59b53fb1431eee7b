//! Durations as Gateway API writes them (GEP-2257): `500ms`, `1s`, `1h30m`.
//!
//! In: text, or a [`Duration`] of whole milliseconds. Out: the other.

use std::fmt::Write as _;
use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no duration: write up to four pairs of a number (at most 5 digits) and h, m, s or ms, such as 1h30m or 500ms"
)]
pub struct DurationError(String);

/// Reads `^([0-9]{1,5}(h|m|s|ms)){1,4}$` (GEP-2257).
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let wrong = || DurationError(text.to_owned());
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut pairs = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 || digits > 5 || pairs == 4 {
            return Err(wrong());
        }
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let (unit, after) = if let Some(after) = rest.strip_prefix("ms") {
            (1, after)
        } else if let Some(after) = rest.strip_prefix('s') {
            (1_000, after)
        } else if let Some(after) = rest.strip_prefix('m') {
            (60_000, after)
        } else if let Some(after) = rest.strip_prefix('h') {
            (3_600_000, after)
        } else {
            return Err(wrong());
        };
        total += Duration::from_millis(number * unit);
        rest = after;
        pairs += 1;
    }
    if pairs == 0 { Err(wrong()) } else { Ok(total) }
}

/// The shortest text with descending units; what is below a millisecond is cut off.
pub fn format_duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    let mut text = String::new();
    for (unit, name) in [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")] {
        if left >= unit {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{name}", left / unit);
            left %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// For `#[serde(with = "duration::text")]`.
pub mod text {
    use super::{Duration, format_duration, parse_duration};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_duration(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        parse_duration(&text).map_err(D::Error::custom)
    }
}

/// For `#[serde(with = "duration::optional_text")]`.
pub mod optional_text {
    use super::{Duration, format_duration, parse_duration};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(clippy::ref_option, reason = "serde's `with` passes a reference to the field")]
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => to.serialize_some(&format_duration(*duration)),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| parse_duration(&text).map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_gateway_api_allows_and_nothing_else() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("1s", 1_000),
            ("1h30m", 5_400_000),
            ("1m0s500ms", 60_500),
            ("99999h", 99_999 * 3_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "1",
            "s",
            "-1s",
            "1.5s",
            "1d",
            "100000s",
            "1s1s1s1s1s",
            "1 s",
            "1S",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0s", "1ms", "1s", "1s500ms", "1h30m", "24h"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
