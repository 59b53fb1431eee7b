//! What breaks the schema, in words for people.

use std::collections::BTreeMap;

use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::Value;

use super::Violation;
use crate::common::form;

/// What breaks the schema, one violation a field: of a value of the wrong type nobody wants to read that it is also too short.
pub(super) fn violations<'a>(errors: impl Iterator<Item = ValidationError<'a>>) -> Vec<Violation> {
    let mut of_field: BTreeMap<String, (u8, String)> = BTreeMap::new();
    for error in errors {
        let (pointer, message) = worded(&error);
        let said = (rank(error.kind()), message);
        of_field
            .entry(pointer)
            .and_modify(|before| *before = said.clone().min(before.clone()))
            .or_insert(said);
    }
    of_field
        .into_iter()
        .map(|(pointer, (_, message))| Violation { pointer, message })
        .collect()
}

/// Of several errors about one value, the one with the lowest rank says most.
fn rank(kind: &ValidationErrorKind) -> u8 {
    match kind {
        ValidationErrorKind::Enum { .. } => 0,
        ValidationErrorKind::Type { .. } => 1,
        ValidationErrorKind::MinLength { .. } | ValidationErrorKind::MaxLength { .. } => 2,
        _ => 3,
    }
}

/// The field, and what to do.
fn worded(error: &ValidationError<'_>) -> (String, String) {
    let mut pointer = error.instance_path().as_str().to_owned();
    let value = error.instance().as_ref();
    let message = match error.kind() {
        ValidationErrorKind::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            pointer = format!("{pointer}/{property}");
            format!("{property} is missing: add it")
        }
        ValidationErrorKind::Type { kind } => wrong_type(value, kind),
        ValidationErrorKind::Enum { options } => {
            format!(
                "{} is not possible here: write {}{}",
                shown(value),
                one_of(options),
                hint(value, "string")
            )
        }
        ValidationErrorKind::Pattern { pattern } => {
            let says = form::ALL
                .iter()
                .find(|form| form.pattern == pattern)
                .map(|form| form.says);
            format!(
                "{} does not have the right form: {}",
                shown(value),
                says.unwrap_or(pattern)
            )
        }
        ValidationErrorKind::Minimum { limit } => {
            format!("{} is too small: write at least {limit}", shown(value))
        }
        ValidationErrorKind::Maximum { limit } => {
            format!("{} is too large: write at most {limit}", shown(value))
        }
        ValidationErrorKind::MinLength { limit: 1 } => {
            "it is empty: write something, or remove the field".to_owned()
        }
        ValidationErrorKind::MinLength { limit } => {
            format!("{} is too short: write at least {limit} characters", shown(value))
        }
        ValidationErrorKind::MaxLength { limit } => {
            let length = value.as_str().map_or(0, |text| text.chars().count());
            format!("it has {length} characters: write at most {limit}")
        }
        ValidationErrorKind::MinItems { limit } => format!("it has {}: write at least {limit}", count(value)),
        ValidationErrorKind::MaxItems { limit } | ValidationErrorKind::MaxProperties { limit } => {
            format!("it has {}: write at most {limit}", count(value))
        }
        _ => error.to_string(),
    };
    (pointer, message)
}

fn wrong_type(value: &Value, kind: &TypeKind) -> String {
    let expected = match kind {
        TypeKind::Single(one) => one.as_str().to_owned(),
        TypeKind::Multiple(many) => many
            .iter()
            .map(|one| one.as_str().to_owned())
            .collect::<Vec<_>>()
            .join(" or "),
    };
    let wanted = match expected.as_str() {
        "string" => "a text",
        "integer" => "a whole number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map of fields",
        other => other,
    };
    format!(
        "{} is not {wanted}: write {wanted}{}",
        shown(value),
        hint(value, &expected)
    )
}

/// How a value may have got the wrong type.
fn hint(value: &Value, expected: &str) -> &'static str {
    match (value, expected) {
        (Value::Bool(_), "string") => {
            " (YAML reads yes, no, on, off and the like as true and false: put it in quotes)"
        }
        (Value::Number(_), "string") => " (put it in quotes)",
        (Value::String(text), "integer") if text.parse::<i64>().is_ok() => " (without quotes)",
        (Value::String(text), "boolean") if matches!(text.as_str(), "true" | "false") => " (without quotes)",
        _ => "",
    }
}

/// The possible values, as a sentence goes on.
fn one_of(options: &Value) -> String {
    let options: Vec<String> = options.as_array().into_iter().flatten().map(bare).collect();
    match options.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value in a sentence: scalars as they are, long texts cut, the rest by what it is.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    match value {
        Value::String(text) if text.chars().count() > LONGEST => {
            format!("{:?}…", text.chars().take(LONGEST).collect::<String>())
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map of fields".to_owned(),
        scalar => scalar.to_string(),
    }
}

fn count(value: &Value) -> String {
    let count = match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    match count {
        0 => "no entries".to_owned(),
        1 => "1 entry".to_owned(),
        _ => format!("{count} entries"),
    }
}
