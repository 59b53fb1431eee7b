//! Durations: what is read, what is printed, and that both agree with the schema's pattern.

use proptest::prelude::*;

use super::{Duration, MAX_MS, ParseDurationError};
use crate::{Kind, offline::validate};

fn read(text: &str) -> Result<Duration, ParseDurationError> {
    text.parse()
}

#[test]
fn texts_are_read_and_printed_canonically() {
    for (text, ms, canonical) in [
        ("0s", 0, "0s"),
        ("0h0m0ms", 0, "0s"),
        ("500ms", 500, "500ms"),
        ("1s", 1_000, "1s"),
        ("90s", 90_000, "1m30s"),
        ("600s", 600_000, "10m"),
        ("1h30m", 5_400_000, "1h30m"),
        ("30m1h", 5_400_000, "1h30m"),
        ("1s1s1s1s", 4_000, "4s"),
        ("1m1ms", 60_001, "1m1ms"),
        ("1000ms", 1_000, "1s"),
        ("00001h", 3_600_000, "1h"),
        ("99999h59m59s999ms", MAX_MS, "99999h59m59s999ms"),
    ] {
        let duration = read(text).unwrap();
        assert_eq!(duration.get(), std::time::Duration::from_millis(ms), "{text}");
        assert_eq!(duration.to_string(), canonical, "{text}");
    }
}

#[test]
fn other_texts_are_refused() {
    for text in [
        "",
        "1",
        "s",
        "-1s",
        "+1s",
        "1.5s",
        "1 s",
        " 1s",
        "1s ",
        "1d",
        "1S",
        "1us",
        "100000s",
        "1s1s1s1s1s",
        "1m s",
        "١s",
        "1h30",
    ] {
        assert_eq!(
            read(text),
            Err(ParseDurationError::Malformed(text.to_owned())),
            "{text:?}"
        );
    }
    for text in ["99999h60m", "99999h99999h", "99999h59m59s1000ms"] {
        assert_eq!(read(text), Err(ParseDurationError::TooLong(text.to_owned())));
    }
}

#[test]
fn more_than_the_longest_is_the_longest() {
    assert_eq!(Duration::from_secs(u64::MAX), Duration::from_millis(MAX_MS));
    assert_eq!(Duration::from_millis(MAX_MS + 1).to_string(), "99999h59m59s999ms");
}

/// Whether the schema of a field that takes any duration accepts a text.
fn schema_accepts(text: &str) -> bool {
    let manifest = serde_json::json!({
        "apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyChain", "metadata": {"name": "x"},
        "spec": {"poolRef": {"name": "p"}, "backends": [{"name": "a", "host": "h", "port": 1}], "slowStart": text},
    });
    validate(Kind::ProxyChain, &manifest).is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Printing is the inverse of reading, and shorter forms do not exist.
    #[test]
    fn what_is_printed_is_read_back(ms in 0..=MAX_MS) {
        let duration = Duration::from_millis(ms);
        let text = duration.to_string();
        prop_assert_eq!(read(&text), Ok(duration));
        let json = serde_json::to_string(&duration).unwrap();
        prop_assert_eq!(&json, &format!("{text:?}"));
        prop_assert_eq!(serde_json::from_str::<Duration>(&json).unwrap(), duration);
    }

    /// The sum of the parts, in whatever order they stand.
    #[test]
    fn a_text_is_the_sum_of_its_parts(parts in prop::collection::vec((0_u64..=24_999, 0_usize..4), 1..=4)) {
        let units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
        let texts: Vec<String> = parts.iter().map(|(count, unit)| format!("{count}{}", units[*unit].0)).collect();
        let text = texts.concat();
        let sum: u64 = parts.iter().map(|(count, unit)| count * units[*unit].1).sum();
        prop_assert_eq!(read(&text), Ok(Duration::from_millis(sum)));
    }
}

proptest! {
    // Each case runs the schema and the rules.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What the API server takes the operator can read, and the other way round.
    #[test]
    fn the_schema_and_the_type_accept_the_same(text in "([0-9]{0,6}(h|m|s|ms|d|)){0,5}") {
        prop_assert_eq!(schema_accepts(&text), read(&text).is_ok(), "{:?}", text);
    }
}
