//! What makes schemars' output fit a CustomResourceDefinition: transforms of whole schemas.
//!
//! In: the schema of a type as schemars derives it. Out: a structural schema as the API server wants it, every list, map and text
//! bounded.

use schemars::Schema;
use serde_json::{Map, Value, json};

/// Fits a type of Kubernetes itself into our definition: a description of every field in Kubernetes' own words, and a bound on every
/// list, map and text that has none.
pub(crate) fn embedded(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    bound_all(object);
}

fn bound_all(schema: &mut Map<String, Value>) {
    let types: Vec<String> = match schema.get("type") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many
            .iter()
            .filter_map(|t| t.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    let is = |name: &str| types.iter().any(|t| t == name);
    let bound = |schema: &mut Map<String, Value>, key: &str, max: u64| {
        schema.entry(key).or_insert_with(|| json!(max));
    };
    if is("array") {
        bound(schema, "maxItems", 64);
    }
    if is("object") && schema.contains_key("additionalProperties") {
        bound(schema, "maxProperties", 64);
    }
    if (is("string") && !schema.contains_key("format")) || schema.contains_key("x-kubernetes-int-or-string") {
        bound(schema, "maxLength", 1024);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(key) {
            bound_all(inner);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            if let Value::Object(property) = property {
                bound_all(property);
            }
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(alternatives)) = schema.get_mut(key) {
            for alternative in alternatives {
                if let Value::Object(alternative) = alternative {
                    bound_all(alternative);
                }
            }
        }
    }
}

/// What the API server wants otherwise than schemars writes it; applied once to each spec and status, all the way down.
///
/// - An `Option` is a field that may be absent, not one that may be null (API conventions advise against `nullable`).
/// - `format: uint16` and its like are unknown to API servers, which warn about them.
/// - An enum of documented variants becomes a plain `enum`, its variants' documentation a part of the field's.
pub(crate) fn structural(schema: &mut Schema) {
    schemars::transform::transform_subschemas(&mut structural, schema);
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|v| !v.is_null());
    }
    if object
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|f| f.starts_with("uint"))
    {
        object.remove("format");
    }
    unwrap_optional(object);
    flatten_enum(object);
}

/// `anyOf: [T, null]` becomes T, keeping the field's own description.
fn unwrap_optional(object: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = object.get("anyOf") else {
        return;
    };
    let [Value::Object(inner), null] = alternatives.as_slice() else {
        return;
    };
    if null != &json!({"type": "null"}) {
        return;
    }
    let inner = inner.clone();
    object.remove("anyOf");
    for (key, value) in inner {
        object.entry(key).or_insert(value);
    }
}

/// `oneOf: [{const, description}, …]` becomes an `enum` whose description names what each value does.
fn flatten_enum(object: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = object.get("oneOf") else {
        return;
    };
    let mut values = Vec::new();
    let mut meanings = Vec::new();
    for variant in variants {
        // schemars groups undocumented variants as `enum`, documented ones are a `const` each.
        let (Some(value), description) = (variant.get("const"), variant.get("description")) else {
            return;
        };
        values.push(value.clone());
        if let (Some(value), Some(description)) = (value.as_str(), description.and_then(Value::as_str)) {
            meanings.push(format!("{value}: {}", description.trim_end_matches('.')));
        }
    }
    object.remove("oneOf");
    object.insert("type".into(), json!("string"));
    object.insert("enum".into(), Value::Array(values));
    if !meanings.is_empty() {
        let own = object
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let all = format!("{own}\n{}.", meanings.join("; "));
        object.insert("description".into(), json!(all.trim_start()));
    }
}
