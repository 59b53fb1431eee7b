//! `kind: Secret`, read from the same files as the objects that name it. Values are never printed, not even in part.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Bytes of all values of one Secret, as in Kubernetes.
const MAX_BYTES: usize = 1024 * 1024;

/// Keys and what they stand for, decoded.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret {
    /// `data`, and over it `stringData`.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.data.keys()).finish()
    }
}

/// What a Secret may hold.
pub fn schema() -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({"type": "object", "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": super::metadata::schema(),
        "type": {"type": "string"}, "data": texts, "stringData": texts, "immutable": {"type": "boolean"},
    }})
}

/// The Secret's values; each one that cannot be used is reported by its key.
pub fn read(object: &Value, report: &mut impl FnMut(&str, String)) -> Secret {
    let mut secret = Secret::default();
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
            let pointer = format!("/{field}/{}", key.replace('~', "~0").replace('/', "~1"));
            let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if key.is_empty() || key.len() > 253 || !key.bytes().all(legal) {
                report(
                    &pointer,
                    "is no key: write at most 253 of a-z, A-Z, 0-9, -, _ and .".to_owned(),
                );
                continue;
            }
            match decode(value, encoded) {
                Ok(bytes) => {
                    secret.data.insert(key.clone(), bytes);
                }
                Err(words) => report(&pointer, words.to_owned()),
            }
        }
    }
    if secret.data.values().map(Vec::len).sum::<usize>() > MAX_BYTES {
        report(
            "",
            format!(
                "the values of a Secret take at most {} MiB together",
                MAX_BYTES / (1024 * 1024)
            ),
        );
    }
    secret
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
