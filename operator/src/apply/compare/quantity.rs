//! Quantities of Kubernetes (`100m`, `1Gi`, `2e3`), as far as to see whether two are the same.

use serde_json::Value;

/// Whether both are the same amount, however written; what cannot be read is the same only as itself.
pub fn equal(one: &Value, other: &Value) -> bool {
    if one == other {
        return true;
    }
    match (read(one), read(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// In nanos, the finest that the API server keeps; what is finer is rounded up there.
fn read(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(&text)),
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let (numerator, denominator) = scale(suffix)?;
    let denominator = denominator.checked_mul(10_i128.checked_pow(fraction.len().try_into().ok()?)?)?;
    let nanos = digits.checked_mul(numerator)?.checked_mul(1_000_000_000)?;
    Some(sign * (nanos + denominator - 1).div_euclid(denominator))
}

/// What a suffix multiplies by, as numerator and denominator.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let power = |base: i128, n: u32| base.checked_pow(n);
    let scale = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (power(1000, 1)?, 1),
        "M" => (power(1000, 2)?, 1),
        "G" => (power(1000, 3)?, 1),
        "T" => (power(1000, 4)?, 1),
        "P" => (power(1000, 5)?, 1),
        "E" => (power(1000, 6)?, 1),
        "Ki" => (power(1024, 1)?, 1),
        "Mi" => (power(1024, 2)?, 1),
        "Gi" => (power(1024, 3)?, 1),
        "Ti" => (power(1024, 4)?, 1),
        "Pi" => (power(1024, 5)?, 1),
        "Ei" => (power(1024, 6)?, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    Some(scale)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::equal;

    #[test]
    fn the_same_amount_is_the_same_however_written() {
        for (one, other) in [
            (json!("1000m"), json!("1")),
            (json!("0.1"), json!("100m")),
            (json!(2), json!("2")),
            (json!("1024Mi"), json!("1Gi")),
            (json!("1.5Gi"), json!("1536Mi")),
            (json!("2e3"), json!("2k")),
            (json!("1E-3"), json!("1m")),
            (json!("0.0000000001"), json!("1n")),
            (json!("9Ei"), json!("9216Pi")),
            (json!("-1000m"), json!("-1")),
            (json!("+1"), json!("1")),
            (json!(".5"), json!("500m")),
        ] {
            assert!(equal(&one, &other) && equal(&other, &one), "{one} {other}");
        }
        for (one, other) in [
            (json!("1M"), json!("1Mi")),
            (json!("1m"), json!("1")),
            (json!("1"), json!("-1")),
            (json!("one"), json!("1")),
            (json!("1x"), json!("1y")),
            (json!("99999999999999999999999999999999999999E"), json!("1")),
        ] {
            assert!(!equal(&one, &other), "{one} {other}");
        }
        assert!(equal(&json!("one"), &json!("one")));
    }
}
