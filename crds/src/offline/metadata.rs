//! What the API server asks of every object besides its definition's schema.

use serde_json::{Value, json};

use crate::{GROUP, Kind, VERSION, common::form};

/// Adds type and metadata to a definition's schema.
pub(super) fn add_to(kind: Kind, schema: &mut Value) {
    let name =
        json!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": form::SUBDOMAIN.pattern});
    let label = json!({"type": "string", "minLength": 1, "maxLength": 63, "pattern": form::LABEL.pattern});
    let texts =
        |max: usize| json!({"type": "object", "additionalProperties": {"type": "string", "maxLength": max}});
    let metadata = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": name,
            "namespace": label,
            "labels": texts(63),
            "annotations": texts(262_144),
            "finalizers": {"type": "array", "items": {"type": "string"}},
            // What an object brings along that was read from a cluster.
            "creationTimestamp": {},
            "deletionGracePeriodSeconds": {},
            "deletionTimestamp": {},
            "generateName": {},
            "generation": {},
            "managedFields": {},
            "ownerReferences": {},
            "resourceVersion": {},
            "selfLink": {},
            "uid": {},
        },
    });
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(
            "apiVersion".into(),
            json!({"type": "string", "enum": [format!("{GROUP}/{VERSION}")]}),
        );
        properties.insert("kind".into(), json!({"type": "string", "enum": [kind.as_str()]}));
        properties.insert("metadata".into(), metadata);
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(
            "required".into(),
            json!(["apiVersion", "kind", "metadata", "spec"]),
        );
    }
}
