//! What the API server checks or does beside JSON Schema and CEL: fields it does not know, keys of list-maps, members of sets, numbers
//! or texts, and nulls.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Violation;

/// A null in an object counts as absent, unless the schema says otherwise, and ours never does.
pub(super) fn prune_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(prune_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

/// Everything of this kind that is wrong with `value`.
pub(super) fn violations(schema: &Value, value: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    walk(schema, value, "", &mut violations);
    violations
}

fn walk(schema: &Value, value: &Value, pointer: &str, violations: &mut Vec<Violation>) {
    match value {
        Value::Object(fields) => walk_object(schema, fields, pointer, violations),
        Value::Array(items) => {
            duplicates(schema, items, pointer, violations);
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    walk(schema, item, &format!("{pointer}/{index}"), violations);
                }
            }
        }
        _ => {}
    }
    let int_or_string = schema.get("x-kubernetes-int-or-string").and_then(Value::as_bool) == Some(true);
    if int_or_string && !(value.is_string() || value.is_i64() || value.is_u64()) {
        let message = format!("{value} is neither a whole number nor a text: write one of them");
        violations.push(Violation {
            pointer: pointer.to_owned(),
            message,
        });
    }
}

fn walk_object(schema: &Value, fields: &Map<String, Value>, pointer: &str, violations: &mut Vec<Violation>) {
    let known = schema.get("properties").and_then(Value::as_object);
    let others = schema
        .get("additionalProperties")
        .filter(|others| others.is_object());
    for (name, field) in fields {
        let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        match (known.and_then(|known| known.get(name)), others, known) {
            (Some(schema), _, _) | (None, Some(schema), _) => walk(schema, field, &pointer, violations),
            (None, None, Some(known)) => violations.push(Violation {
                pointer,
                message: unknown(name, known),
            }),
            // A schema that says nothing about fields takes any.
            (None, None, None) => {}
        }
    }
}

fn unknown(name: &str, known: &Map<String, Value>) -> String {
    let lowercase = name.to_lowercase();
    let distance = |candidate: &String| strsim::damerau_levenshtein(&lowercase, &candidate.to_lowercase());
    // A third of the letters wrong is still the same word, more is another.
    let closest = known
        .keys()
        .map(|candidate| (distance(candidate), candidate))
        .min();
    match closest {
        Some((distance, candidate)) if distance <= name.chars().count().div_ceil(3) => {
            format!("there is no field {name:?} here: did you mean {candidate:?}?")
        }
        _ if known.len() <= 12 => {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            format!(
                "there is no field {name:?} here: remove it, or use one of {}",
                names.join(", ")
            )
        }
        _ => format!("there is no field {name:?} here: remove it"),
    }
}

fn duplicates(schema: &Value, items: &[Value], pointer: &str, violations: &mut Vec<Violation>) {
    let keys: Vec<&str> = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => Vec::new(),
        Some("map") => match schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array) {
            Some(keys) => keys.iter().filter_map(Value::as_str).collect(),
            None => return,
        },
        _ => return,
    };
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let identity = match keys.as_slice() {
            [] => item.to_string(),
            keys => {
                let parts: Option<Vec<String>> = keys
                    .iter()
                    .map(|key| item.get(key).map(Value::to_string))
                    .collect();
                // Without its key it is wrong already.
                let Some(parts) = parts else { continue };
                parts.join(", ")
            }
        };
        if let Some(before) = first.get(&identity) {
            let field = keys.first().map(|key| format!("/{key}")).unwrap_or_default();
            let what = keys.first().map_or("", |key| key);
            violations.push(Violation {
                pointer: format!("{pointer}/{index}{field}"),
                message: format!(
                    "{what} {identity} is here twice (also at [{before}]): choose another, or remove one"
                )
                .trim_start()
                .to_owned(),
            });
        } else {
            first.insert(identity, index);
        }
    }
}
