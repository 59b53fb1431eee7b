//! An object's name and namespace.

use serde_json::{Value, json};

use super::object::ObjectKind;

/// Where objects are that name no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// What a user writes; what only the API server writes may stand there (`kubectl get -o yaml` prints it) and is not looked at.
pub fn schema() -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "object", "additionalProperties": text});
    json!({"type": "object", "properties": {
        "name": text, "namespace": text, "labels": texts, "annotations": texts,
        "creationTimestamp": text, "generation": {"type": "integer"},
        "deletionGracePeriodSeconds": {}, "deletionTimestamp": {}, "finalizers": {}, "generateName": {},
        "managedFields": {}, "ownerReferences": {}, "resourceVersion": {}, "selfLink": {}, "uid": {},
    }})
}

/// Checks the metadata of an object, leaves in it only what is used, and returns namespace and name; what is not there
/// is empty.
pub fn check(
    kind: ObjectKind,
    object: &mut Value,
    report: &mut impl FnMut(&str, String),
) -> (String, String) {
    let metadata = match object.get_mut("metadata") {
        Some(Value::Object(metadata)) => metadata,
        Some(_) => {
            report("/metadata", "must be a mapping with at least a name".to_owned());
            return Default::default();
        }
        None => {
            report(
                "/metadata",
                "is missing: an object has at least metadata.name".to_owned(),
            );
            return Default::default();
        }
    };
    for field in ["labels", "annotations"] {
        check_texts(field, metadata.get(field), report);
    }
    // A client that prints objects writes an unset time as null.
    metadata.retain(|field, value| {
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
    let name = metadata.get("name").cloned();
    let namespace = metadata
        .entry("namespace")
        .or_insert_with(|| DEFAULT_NAMESPACE.into())
        .clone();
    let namespace = check_name("/metadata/namespace", &namespace, is_label, report);
    let Some(name) = name else {
        report(
            "/metadata/name",
            "is missing: every object needs a name".to_owned(),
        );
        return (namespace, String::new());
    };
    let rule = match kind {
        ObjectKind::Secret => is_subdomain,
        // Services and pods are named after pools, so that a label is all that fits.
        ObjectKind::ProxyPool | ObjectKind::ProxyChain => is_label,
    };
    let name = check_name("/metadata/name", &name, rule, report);
    (namespace, name)
}

fn check_texts(field: &str, texts: Option<&Value>, report: &mut impl FnMut(&str, String)) {
    match texts {
        None | Some(Value::Null) => {}
        Some(Value::Object(map)) => {
            for (key, _) in map.iter().filter(|(_, value)| !value.is_string()) {
                let key = key.replace('~', "~0").replace('/', "~1");
                report(&format!("/metadata/{field}/{key}"), "must be text".to_owned());
            }
        }
        Some(_) => report(
            &format!("/metadata/{field}"),
            "must map names to texts".to_owned(),
        ),
    }
}

fn check_name(
    pointer: &str,
    name: &Value,
    rule: fn(&str) -> Result<(), &'static str>,
    report: &mut impl FnMut(&str, String),
) -> String {
    let Some(text) = name.as_str() else {
        report(pointer, "must be text".to_owned());
        return String::new();
    };
    if let Err(words) = rule(text) {
        report(pointer, format!("{text:?} {words}"));
    }
    text.to_owned()
}

/// RFC 1123 as Kubernetes reads it.
fn is_label(text: &str) -> Result<(), &'static str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(plain) && text.bytes().next_back().is_some_and(plain);
    if ends && text.len() <= 63 && text.bytes().all(|b| plain(b) || b == b'-') {
        Ok(())
    } else {
        Err("is no DNS label: write at most 63 of a-z, 0-9 and -, a letter or digit first and last")
    }
}

fn is_subdomain(text: &str) -> Result<(), &'static str> {
    if text.len() <= 253 && text.split('.').all(|label| is_label(label).is_ok()) {
        Ok(())
    } else {
        Err("is no DNS name: write labels of a-z, 0-9 and -, joined by dots, at most 253 characters")
    }
}
