//! In: a tree and the schema of what should stand there. Out: the value as JSON.
//!
//! Plain scalars are read as the schema wants them: where it wants text, text they stay, so `Off`, `yes`, `07:00`, `1.2`
//! and `0x10` need no quotes. (kubectl reads YAML 1.1, where a bare `Off` is a boolean; there, quote them.) Everywhere
//! else the core schema of YAML 1.2 (§10.3.2) decides, in which only `true` and `false` are booleans. What the schema does
//! not know is kept, for the rules to complain about.

use serde_json::{Map, Number, Value};

use super::tree::{Content, Node};

/// The value of a tree by its schema: an `OpenAPI` v3 schema as in a `CustomResourceDefinition`; null: nothing is known.
pub fn convert(node: &Node, schema: &Value) -> Value {
    match &node.content {
        Content::Text(text) => Value::String(text.clone()),
        Content::Plain(text) if wants_text(schema) && !is_null(text) => Value::String(text.clone()),
        Content::Plain(text) => core_schema(text),
        Content::Sequence(items) => {
            let schema = schema.get("items").unwrap_or(&Value::Null);
            Value::Array(items.iter().map(|item| convert(item, schema)).collect())
        }
        Content::Mapping(entries) => {
            let field = |key: &str| {
                let named = schema.get("properties").and_then(|fields| fields.get(key));
                named
                    .or_else(|| schema.get("additionalProperties"))
                    .unwrap_or(&Value::Null)
            };
            let each = entries
                .iter()
                .map(|entry| (entry.key.clone(), convert(&entry.value, field(&entry.key))));
            Value::Object(each.collect::<Map<_, _>>())
        }
    }
}

fn wants_text(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("string")
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// What a plain scalar means in the core schema of YAML 1.2.
fn core_schema(text: &str) -> Value {
    match text {
        _ if is_null(text) => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = unsigned
        .split_once(['e', 'E'])
        .map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    if !(digits(whole) && digits(fraction) && exponent_fits && whole.len() + fraction.len() > 0) {
        return None;
    }
    let plain = text.strip_prefix('+').unwrap_or(text);
    let integer = (mantissa.len() == whole.len() && exponent.is_none()).then(|| {
        plain
            .parse::<u64>()
            .map(Number::from)
            .or_else(|_| plain.parse::<i64>().map(Number::from))
            .ok()
    });
    integer
        .flatten()
        .or_else(|| Number::from_f64(plain.parse().ok()?))
}

fn radix(digits: &str, radix: u32) -> Option<Number> {
    let fits = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    fits.then(|| u64::from_str_radix(digits, radix).ok().map(Number::from))
        .flatten()
}

#[cfg(test)]
mod tests;
