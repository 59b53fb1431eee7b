//! Schemas of single values (`schema_with`), and what makes schemars' output fit a CustomResourceDefinition.
//!
//! A bound belongs to the value's meaning, so each kind of text has its schema here once, and every field of that kind uses it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

/// A DNS label (RFC 1123), as names of things inside one object are.
const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A DNS subdomain (RFC 1123), as names of objects are.
const SUBDOMAIN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

fn text(pattern: &str, max: usize) -> Schema {
    json_schema!({"type": "string", "pattern": pattern, "minLength": 1, "maxLength": max})
}

fn list(items: &Schema, max: usize) -> Schema {
    json_schema!({"type": "array", "items": items, "maxItems": max})
}

/// A DNS label: names of backends, groups, sites.
pub(crate) fn label(_: &mut SchemaGenerator) -> Schema {
    text(LABEL, 63)
}

/// The name of an object in the same namespace.
pub(crate) fn object_name(_: &mut SchemaGenerator) -> Schema {
    text(SUBDOMAIN, 253)
}

/// The name of a Service (RFC 1035 label).
pub(crate) fn service_name(_: &mut SchemaGenerator) -> Schema {
    text("^[a-z]([-a-z0-9]*[a-z0-9])?$", 63)
}

/// A name that can stand for a container's port (RFC 6335 §5.1): Services reach listeners by it.
pub(crate) fn port_name(_: &mut SchemaGenerator) -> Schema {
    text("^([a-z0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$", 15)
}

/// A TCP or UDP port.
pub(crate) fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": 65535})
}

/// A DNS name or an IP address.
pub(crate) fn host(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 253})
}

/// One IP address.
pub(crate) fn ip(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 2, "maxLength": 45})
}

/// Up to 16 local addresses.
pub(crate) fn ips(generator: &mut SchemaGenerator) -> Schema {
    list(&ip(generator), 16)
}

/// One network in CIDR notation.
pub(crate) fn cidr(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 4, "maxLength": 49})
}

/// Up to 64 networks.
pub(crate) fn cidrs(generator: &mut SchemaGenerator) -> Schema {
    list(&cidr(generator), 64)
}

/// Up to 64 labels.
pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": 63},
        "maxProperties": 64,
    })
}

/// Up to 64 annotations.
pub(crate) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": 4096},
        "maxProperties": 64,
    })
}

/// A DNS name with placeholders for what differs between proxies.
pub(crate) fn template(_: &mut SchemaGenerator) -> Schema {
    text(
        "^([A-Za-z0-9]|\\{(proxy|node|chain)\\})([-.A-Za-z0-9]|\\{(proxy|node|chain)\\})*$",
        253,
    )
}

/// What clients ask for by SNI, Host or destination: a lowercase DNS name, its first label possibly `*`.
pub(crate) fn hostnames(_: &mut SchemaGenerator) -> Schema {
    let name = text(
        "^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        253,
    );
    list(&name, 64)
}

/// The name of an SRV record (RFC 2782): `_service._proto.name`.
pub(crate) fn srv(_: &mut SchemaGenerator) -> Schema {
    text(
        "^_[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?\\._[A-Za-z]+(\\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9])?)+\\.?$",
        253,
    )
}

/// `host:port`.
pub(crate) fn host_port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 3, "maxLength": 261})
}

/// Up to 32 of `host:port`.
pub(crate) fn host_ports(generator: &mut SchemaGenerator) -> Schema {
    list(&host_port(generator), 32)
}

/// 1 to 16 of `host:port`.
pub(crate) fn remote_addresses(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": host_port(generator), "minItems": 1, "maxItems": 16})
}

/// What an HTTP request asks for: a path, possibly with a query.
pub(crate) fn http_path(_: &mut SchemaGenerator) -> Schema {
    text("^/[!-\"$-~]*$", 1024)
}

/// Up to 64 destinations of a forward proxy: `host:port`, with `*` or a network for the host and `*` for the port.
pub(crate) fn destinations(generator: &mut SchemaGenerator) -> Schema {
    list(&host_port(generator), 64)
}

/// Up to 8 name servers: `ip` or `ip:port`.
pub(crate) fn name_servers(_: &mut SchemaGenerator) -> Schema {
    list(
        &json_schema!({"type": "string", "minLength": 2, "maxLength": 53}),
        8,
    )
}

/// A time of day.
pub(crate) fn time_of_day(_: &mut SchemaGenerator) -> Schema {
    text("^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$", 8)
}

/// Up to 366 days of the calendar.
pub(crate) fn dates(_: &mut SchemaGenerator) -> Schema {
    list(
        &text("^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", 10),
        366,
    )
}

/// A name of the time zone database.
pub(crate) fn time_zone(_: &mut SchemaGenerator) -> Schema {
    text("^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$", 64)
}

/// The conditions of a status: a map keyed by type, so that several writers can each apply theirs.
pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let mut condition = Condition::json_schema(generator);
    embedded(&mut condition);
    json_schema!({
        "type": "array",
        "items": condition,
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

/// Fits a type of Kubernetes itself into our definition: no descriptions (they alone would exceed what client-side apply can
/// store), and a bound on every list, map and text that has none.
pub(crate) fn embedded(schema: &mut Schema) {
    if let Some(object) = schema.as_object_mut() {
        strip_and_bound(object);
    }
}

fn strip_and_bound(schema: &mut Map<String, Value>) {
    // "description" is a keyword here, but a property's name inside "properties": hence no blind recursion.
    schema.remove("description");
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
            strip_and_bound(inner);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            if let Value::Object(property) = property {
                strip_and_bound(property);
            }
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(alternatives)) = schema.get_mut(key) {
            for alternative in alternatives {
                if let Value::Object(alternative) = alternative {
                    strip_and_bound(alternative);
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
