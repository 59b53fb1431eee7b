//! An object's name and namespace, and what else of its metadata is used.

use serde_json::{Value, json};

/// Where objects are that name no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// Every field of metadata: what users write, and what an object brings along that was read from a cluster.
pub const FIELDS: [&str; 15] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// How metadata is read.
pub fn schema() -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "object", "additionalProperties": text});
    json!({"type": "object", "properties": {
        "name": text, "namespace": text, "labels": texts, "annotations": texts, "creationTimestamp": text,
    }})
}

/// Namespace and name of an object; fills in the default namespace. What is not there, or no text, is empty.
pub fn identity(object: &mut Value) -> (String, String) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return (DEFAULT_NAMESPACE.to_owned(), String::new());
    };
    if metadata.get("namespace").is_none_or(Value::is_null) {
        metadata.insert("namespace".into(), DEFAULT_NAMESPACE.into());
    }
    let text = |field: &str| {
        metadata
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    (text("namespace"), text("name"))
}

/// Checks what says how old an object is, and takes out what only the API server writes and nobody here reads.
pub fn reduce(object: &mut Value, report: &mut impl FnMut(&str, String)) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    metadata.retain(|field, value| {
        // A client that prints objects writes an unset time as null.
        matches!(
            field.as_str(),
            "name" | "namespace" | "creationTimestamp" | "generation"
        ) && !value.is_null()
    });
    if let Some(time) = metadata.get("creationTimestamp")
        && time
            .as_str()
            .is_none_or(|time| time.parse::<jiff::Timestamp>().is_err())
    {
        report(
            "/metadata/creationTimestamp",
            format!("{time} is no time: write one as 2026-01-31T07:00:00Z"),
        );
        metadata.remove("creationTimestamp");
    }
    if metadata
        .get("generation")
        .is_some_and(|generation| generation.as_i64().is_none())
    {
        report("/metadata/generation", "must be a whole number".to_owned());
        metadata.remove("generation");
    }
}
