//! Schemas of single values, for `schema_with`.
//!
//! A bound belongs to a value's meaning, so each kind of value has its schema here once, and every field of that kind uses it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::Rule;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

use super::{form, form::Form, rules, structural};

/// A text of this form.
fn text(form: &Form, max: usize) -> Schema {
    json_schema!({"type": "string", "pattern": form.pattern, "minLength": 1, "maxLength": max})
}

/// A text that rules judge.
fn ruled(min: usize, max: usize, rules: &[Rule]) -> Schema {
    json_schema!({"type": "string", "minLength": min, "maxLength": max, "x-kubernetes-validations": rules})
}

fn list(items: &Schema, max: usize) -> Schema {
    json_schema!({"type": "array", "items": items, "maxItems": max})
}

fn map(max_length: usize) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": max_length},
        "maxProperties": 64,
    })
}

/// A DNS label: names of backends, groups, sites.
pub(crate) fn label(_: &mut SchemaGenerator) -> Schema {
    text(&form::LABEL, 63)
}

/// The name of an object in the same namespace.
pub(crate) fn object_name(_: &mut SchemaGenerator) -> Schema {
    text(&form::SUBDOMAIN, 253)
}

/// The name of a Service.
pub(crate) fn service_name(_: &mut SchemaGenerator) -> Schema {
    text(&form::SERVICE_NAME, 63)
}

/// A name that can stand for a container's port: Services reach listeners by it.
pub(crate) fn port_name(_: &mut SchemaGenerator) -> Schema {
    text(&form::PORT_NAME, 15)
}

/// A TCP or UDP port.
pub(crate) fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": 65535})
}

/// A TCP port that is not one of Switchyard's own.
pub(crate) fn free_port(generator: &mut SchemaGenerator) -> Schema {
    let mut port = port(generator);
    port.insert("x-kubernetes-validations".into(), json!(rules::not_our_port()));
    port
}

/// A DNS name or an IP address.
pub(crate) fn host(_: &mut SchemaGenerator) -> Schema {
    ruled(1, 253, &rules::host())
}

/// One IP address.
pub(crate) fn ip(_: &mut SchemaGenerator) -> Schema {
    ruled(2, 45, &rules::ip())
}

/// Up to 16 local addresses.
pub(crate) fn ips(generator: &mut SchemaGenerator) -> Schema {
    list(&ip(generator), 16)
}

/// Up to 64 networks in CIDR notation.
pub(crate) fn cidrs(_: &mut SchemaGenerator) -> Schema {
    list(&ruled(4, 49, &rules::cidr()), 64)
}

/// Up to 64 labels.
pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    map(63)
}

/// Up to 64 annotations.
pub(crate) fn annotations(_: &mut SchemaGenerator) -> Schema {
    map(4096)
}

/// A DNS name with placeholders for what differs between proxies.
pub(crate) fn template(_: &mut SchemaGenerator) -> Schema {
    text(&form::TEMPLATE, 253)
}

/// Up to 64 names that clients ask for by SNI, Host or destination.
pub(crate) fn hostnames(_: &mut SchemaGenerator) -> Schema {
    let mut names = list(&text(&form::HOSTNAME, 253), 64);
    names.insert("x-kubernetes-list-type".into(), json!("set"));
    names
}

/// The name of an SRV record.
pub(crate) fn srv(_: &mut SchemaGenerator) -> Schema {
    text(&form::SRV, 253)
}

fn host_port() -> Schema {
    ruled(3, 261, &rules::host_port())
}

/// Up to 32 of `host:port`.
pub(crate) fn host_ports(_: &mut SchemaGenerator) -> Schema {
    list(&host_port(), 32)
}

/// 1 to 16 of `host:port`.
pub(crate) fn remote_addresses(_: &mut SchemaGenerator) -> Schema {
    let mut addresses = list(&host_port(), 16);
    addresses.insert("minItems".into(), json!(1));
    addresses
}

/// What an HTTP request asks for.
pub(crate) fn http_path(_: &mut SchemaGenerator) -> Schema {
    text(&form::HTTP_PATH, 1024)
}

/// The name of a header that users may change.
pub(crate) fn header_name(_: &mut SchemaGenerator) -> Schema {
    let mut name = text(&form::HEADER_NAME, 256);
    name.insert("x-kubernetes-validations".into(), json!(rules::header_name()));
    name
}

/// Up to 16 of them.
pub(crate) fn header_names(generator: &mut SchemaGenerator) -> Schema {
    let mut names = list(&header_name(generator), 16);
    names.insert("x-kubernetes-list-type".into(), json!("set"));
    names
}

/// The value of a header.
pub(crate) fn header_value(_: &mut SchemaGenerator) -> Schema {
    text(&form::HEADER_VALUE, 4096)
}

/// Up to 32 destinations of a forward proxy: `host:port`, with `*` or a network for the host and `*` for the port.
pub(crate) fn destinations(_: &mut SchemaGenerator) -> Schema {
    list(&ruled(3, 261, &rules::destination()), 32)
}

/// Up to 8 name servers: `ip` or `ip:port`.
pub(crate) fn name_servers(_: &mut SchemaGenerator) -> Schema {
    list(&ruled(2, 53, &rules::name_server()), 8)
}

/// A time of day.
pub(crate) fn time_of_day(_: &mut SchemaGenerator) -> Schema {
    text(&form::TIME_OF_DAY, 8)
}

/// Up to 366 days of the calendar.
pub(crate) fn dates(_: &mut SchemaGenerator) -> Schema {
    let mut date = text(&form::DATE, 10);
    date.insert("x-kubernetes-validations".into(), json!(rules::date()));
    list(&date, 366)
}

/// A name of the time zone database.
pub(crate) fn time_zone(_: &mut SchemaGenerator) -> Schema {
    text(&form::TIME_ZONE, 64)
}

/// The conditions of a status: a map keyed by type, so that several writers can each apply theirs.
pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let mut condition = Condition::json_schema(generator);
    structural::embedded(&mut condition);
    let mut conditions = list(&condition, 16);
    conditions.insert("x-kubernetes-list-type".into(), json!("map"));
    conditions.insert("x-kubernetes-list-map-keys".into(), json!(["type"]));
    conditions
}
