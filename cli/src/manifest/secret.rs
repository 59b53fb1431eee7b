//! `kind: Secret`, read from the same files as the objects that name it. Values are never printed, not even in part.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use switchyard_operator::compile::FieldPath;
use switchyard_operator::secrets::{Known, Secret};

use super::metadata;
use super::suggest::suggestion;

/// As manifests write it.
pub const KIND: &str = "Secret";
/// What a Secret may hold.
const FIELDS: [&str; 7] = [
    "apiVersion",
    "kind",
    "metadata",
    "type",
    "data",
    "stringData",
    "immutable",
];

/// Bytes of all values of one Secret, as in Kubernetes.
const MAX_BYTES: usize = 1024 * 1024;

/// How a Secret is read.
pub fn schema() -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "object", "additionalProperties": text});
    json!({"type": "object", "properties": {
        "apiVersion": text, "kind": text, "metadata": metadata::schema(),
        "type": text, "data": texts, "stringData": texts, "immutable": {"type": "boolean"},
    }})
}

/// The Secret's values: `data`, and over it `stringData`. What cannot be used is reported by its key, and then who names the
/// Secret is not told that something is missing from it.
pub fn read(object: &Value, report: &mut impl FnMut(&str, String)) -> Known {
    let mut readable = true;
    let mut report = |pointer: &str, words: String| {
        readable = false;
        report(pointer, words);
    };
    let data = values(object, &mut report);
    if readable {
        Known::There(Arc::new(Secret::new(data)))
    } else {
        Known::Unreadable
    }
}

fn values(object: &Value, report: &mut impl FnMut(&str, String)) -> BTreeMap<String, Vec<u8>> {
    check_type_and_name(object, report);
    let mut data = BTreeMap::new();
    for (field, encoded) in [("data", true), ("stringData", false)] {
        let entries = match object.get(field) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(entries)) => entries,
            Some(_) => {
                report(&format!("/{field}"), "must map keys to texts".to_owned());
                continue;
            }
        };
        for (key, value) in entries {
            match check_key(key).and_then(|()| decode(value, encoded)) {
                Ok(bytes) => {
                    data.insert(key.clone(), bytes);
                }
                Err(words) => report(
                    FieldPath::default().key(field).key(key).pointer(),
                    words.to_owned(),
                ),
            }
        }
    }
    if data.values().map(Vec::len).sum::<usize>() > MAX_BYTES {
        report(
            "/data",
            format!(
                "the values of a Secret take at most {} MiB together",
                MAX_BYTES / (1024 * 1024)
            ),
        );
    }
    data
}

fn check_type_and_name(object: &Value, report: &mut impl FnMut(&str, String)) {
    if object.get("apiVersion").and_then(Value::as_str) != Some("v1") {
        report(
            "/apiVersion",
            "a Secret is of apiVersion v1: write that".to_owned(),
        );
    }
    refuse_unknown(object, &FieldPath::default(), &FIELDS, report);
    if let Some(metadata) = object.get("metadata") {
        refuse_unknown(
            metadata,
            &FieldPath::default().key("metadata"),
            &metadata::FIELDS,
            report,
        );
    }
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        label.bytes().all(|b| plain(b) || b == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        let words = "a Secret has a name of at most 253 of a-z, 0-9, - and ., a letter or digit at each end of its parts";
        report("/metadata/name", words.to_owned());
    }
}

fn refuse_unknown(map: &Value, path: &FieldPath, known: &[&str], report: &mut impl FnMut(&str, String)) {
    for field in map.as_object().into_iter().flat_map(serde_json::Map::keys) {
        if !known.contains(&field.as_str()) {
            let near = suggestion(field, known.iter().copied());
            let hint = near.map_or_else(
                || "remove it".to_owned(),
                |near| format!("did you mean {near:?}?"),
            );
            report(
                path.key(field).pointer(),
                format!("there is no field {field:?} here: {hint}"),
            );
        }
    }
}

fn check_key(key: &str) -> Result<(), &'static str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if key.is_empty() || key.len() > 253 || !key.bytes().all(legal) {
        return Err("is no key: write at most 253 of a-z, A-Z, 0-9, -, _ and .");
    }
    Ok(())
}

fn decode(value: &Value, encoded: bool) -> Result<Vec<u8>, &'static str> {
    let text = value.as_str().ok_or("must be text")?;
    if !encoded {
        return Ok(text.as_bytes().to_vec());
    }
    let text: String = text.split_ascii_whitespace().collect();
    STANDARD
        .decode(text)
        .map_err(|_| "is not base64 (RFC 4648 §4); plain text belongs in stringData")
}
