//! Compare before apply: whether a write would change anything.
//!
//! In: an object as it should be, and as the API server tells it. Out: the first field that differs, or none. What others
//! added is no difference (defaults, foreign labels, an injected container); what we once applied and no longer want is one,
//! found in `metadata.managedFields` (fieldsV1, sigs.k8s.io/structured-merge-diff). Values are never told: they may be keys.

mod quantity;

use serde_json::{Map, Value};

/// Where the first difference is, as a path of fields; none: the API server has all that is wanted and nothing of ours more.
pub fn difference(desired: &Value, live: &Value, manager: &str) -> Option<String> {
    missing(desired, live, "").or_else(|| surplus(desired, live, manager))
}

/// The first field of `desired` that `live` does not have with that value.
fn missing(desired: &Value, live: &Value, path: &str) -> Option<String> {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => desired.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match live.get(name) {
                // The API server stores no empty values.
                None => (!is_empty(value)).then_some(path),
                Some(Value::Array(live)) if value.is_array() => list(name, value, live, &path),
                Some(Value::Object(live)) if is_quantities(name) => quantities(value, live, &path),
                Some(live) if name == "sizeLimit" => (!quantity::equal(value, live)).then_some(path),
                Some(live) => missing(value, live, &path),
            }
        }),
        _ => (desired != live).then(|| path.to_owned()),
    }
}

/// `requests` and `limits`: the API server writes quantities its own way (`1000m` as `1`).
fn is_quantities(name: &str) -> bool {
    name == "requests" || name == "limits"
}

fn quantities(desired: &Value, live: &Map<String, Value>, path: &str) -> Option<String> {
    let differs = |(name, value): (&String, &Value)| {
        let equal = live.get(name).is_some_and(|live| quantity::equal(value, live));
        (!equal).then(|| format!("{path}.{name}"))
    };
    desired.as_object()?.iter().find_map(differs)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}

fn list(name: &str, desired: &Value, live: &[Value], path: &str) -> Option<String> {
    let desired = desired.as_array()?;
    let keyed = desired
        .first()
        .or(live.first())
        .and_then(|item| merge_keys(name, item));
    let Some(keys) = keyed else {
        // Atomic: ours as a whole, though the API server may have filled in defaults inside.
        if desired.len() != live.len() {
            return Some(path.to_owned());
        }
        let mut pairs = desired.iter().zip(live).enumerate();
        return pairs.find_map(|(i, (desired, live))| missing(desired, live, &format!("{path}[{i}]")));
    };
    desired.iter().enumerate().find_map(|(i, item)| {
        let path = format!("{path}[{i}]");
        let same = |other: &&Value| keys.iter().all(|key| other.get(key) == item.get(key));
        match live.iter().find(same) {
            None => Some(path),
            Some(live) => missing(item, live, &path),
        }
    })
}

/// By which fields the API server tells the items of a list apart, so that others may add items of theirs; none: the list is
/// one value. From the list-map keys of the built-in types, for the lists that we write.
fn merge_keys(list: &str, item: &Value) -> Option<&'static [&'static str]> {
    match list {
        "ownerReferences" => Some(&["uid"]),
        "containers" | "volumes" | "env" => Some(&["name"]),
        "volumeMounts" => Some(&["mountPath"]),
        "topologySpreadConstraints" => Some(&["topologyKey", "whenUnsatisfiable"]),
        "ports" if item.get("containerPort").is_some() => Some(&["containerPort", "protocol"]),
        "ports" if item.get("targetPort").is_some() => Some(&["port", "protocol"]),
        _ => None,
    }
}

/// The first field that our last apply left on the object and that is no longer wanted.
fn surplus(desired: &Value, live: &Value, manager: &str) -> Option<String> {
    let entries = live["metadata"]["managedFields"].as_array()?;
    let ours = entries.iter().filter(|entry| {
        entry["manager"] == manager && entry["operation"] == "Apply" && entry["subresource"].is_null()
    });
    ours.filter_map(|entry| entry["fieldsV1"].as_object())
        .find_map(|fields| unwanted(fields, desired, ""))
}

fn unwanted(fields: &Map<String, Value>, desired: &Value, path: &str) -> Option<String> {
    fields.iter().find_map(|(element, below)| {
        let (kind, text) = element.split_once(':')?;
        let (wanted, path) = match kind {
            "f" => (desired.get(text), format!("{path}.{text}")),
            "k" => (keyed_item(desired, text), format!("{path}[{text}]")),
            "v" => (set_item(desired, text), format!("{path}[{text}]")),
            _ => return None,
        };
        let Some(wanted) = wanted else {
            return Some(path);
        };
        unwanted(below.as_object()?, wanted, &path)
    })
}

fn keyed_item<'a>(list: &'a Value, keys: &str) -> Option<&'a Value> {
    let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
    let mut items = list.as_array()?.iter();
    items.find(|item| keys.iter().all(|(key, value)| item.get(key) == Some(value)))
}

fn set_item<'a>(list: &'a Value, item: &str) -> Option<&'a Value> {
    let item: Value = serde_json::from_str(item).ok()?;
    list.as_array()?.iter().find(|other| **other == item)
}

#[cfg(test)]
mod tests;
