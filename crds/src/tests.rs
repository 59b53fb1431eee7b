//! What holds for both definitions as a whole: they round-trip, they are bounded, and an API server can afford their rules.

mod cost;
mod round_trip;
mod shape;

use serde_json::Value;

use crate::{Kind, all_crds};

/// The schema of a kind, as its file holds it.
pub(crate) fn schema(kind: Kind) -> Value {
    let crd = all_crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind.as_str())
        .unwrap();
    let schema = crd.spec.versions[0]
        .schema
        .as_ref()
        .unwrap()
        .open_api_v3_schema
        .as_ref()
        .unwrap();
    serde_json::to_value(schema).unwrap()
}

/// Every node of a schema, with the path to it (`[]` for items, `{}` for values of maps) and how often a value can have it at most.
pub(crate) fn nodes(schema: &Value) -> Vec<(String, u64, &Value)> {
    let mut nodes = Vec::new();
    collect(schema, String::new(), 1, &mut nodes);
    nodes
}

fn collect<'a>(schema: &'a Value, path: String, times: u64, nodes: &mut Vec<(String, u64, &'a Value)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect(property, format!("{path}.{name}"), times, nodes);
    }
    if schema["items"].is_object() {
        collect(
            &schema["items"],
            format!("{path}[]"),
            times * schema["maxItems"].as_u64().unwrap_or(1_000_000),
            nodes,
        );
    }
    if schema["additionalProperties"].is_object() {
        let most = schema["maxProperties"].as_u64().unwrap_or(1_000_000);
        collect(
            &schema["additionalProperties"],
            format!("{path}{{}}"),
            times * most,
            nodes,
        );
    }
    nodes.push((path, times, schema));
}
