//! What the API server would say about an object, without an API server.
//!
//! In: a manifest as JSON and its kind. Out: every violation of the schema and of the CEL rules, with the field it is about, in words
//! for people; and the object with its defaults filled in.
//!
//! One difference is meant: the API server drops fields it does not know, here they are violations.

mod message;
mod metadata;
mod walk;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, LazyLock},
};

use kube_cel::{CompiledSchema, ErrorKind, Validator, compile_schema};
use serde_json::Value;

use crate::{Kind, all_crds};

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The field, as a JSON pointer (RFC 6901). A field that is missing is named although it is not there: its place is the nearest
    /// ancestor that is.
    pub pointer: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Violation {
    /// The field as people write it: `spec.listeners[0].port`.
    pub fn field(&self) -> String {
        let mut field = String::new();
        for segment in self.pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            if !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()) {
                field = format!("{field}[{segment}]");
            } else if field.is_empty() {
                field = segment;
            } else {
                field = format!("{field}.{segment}");
            }
        }
        field
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field(), self.message)
    }
}

/// Everything that is wrong with an object of this kind; nothing where the API server would take it as it is.
pub fn validate(kind: Kind, value: &Value) -> Vec<Violation> {
    judge(kind, value, None)
}

/// The same for a change of an object, which some fields do not allow.
pub fn validate_update(kind: Kind, old: &Value, new: &Value) -> Vec<Violation> {
    judge(kind, new, Some(old))
}

/// Fills in the defaults that do not depend on other fields, as the API server does; a null counts as absent.
pub fn apply_defaults(kind: Kind, value: &mut Value) {
    if let Ok(schema) = schema(kind) {
        walk::prune_nulls(value);
        *value = kube_cel::apply_defaults(&schema.json, value);
    }
}

/// What judges objects of one kind.
struct Schema {
    /// The definition's own schema, with what the API server itself asks of every object's metadata.
    json: Value,
    /// It again, ready to find what breaks it.
    bounds: jsonschema::Validator,
    /// It again, with its CEL rules.
    rules: CompiledSchema,
}

impl Schema {
    fn new(kind: Kind) -> Result<Self, String> {
        let json = root(kind)?;
        let bounds = jsonschema::validator_for(&json).map_err(|error| {
            format!("the schema of {kind} is not a JSON schema, which is a bug of Switchyard: {error}")
        })?;
        let rules = compile_schema(&json);
        Ok(Self { json, bounds, rules })
    }
}

/// The schema of a whole object: the definition's, and the metadata that every object has.
fn root(kind: Kind) -> Result<Value, String> {
    let bug = |what: &str| format!("the definition of {kind} {what}, which is a bug of Switchyard");
    let crd = all_crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind.as_str())
        .ok_or_else(|| bug("is missing"))?;
    let schema = crd
        .spec
        .versions
        .into_iter()
        .find_map(|version| version.schema?.open_api_v3_schema)
        .ok_or_else(|| bug("has no schema"))?;
    let mut schema = serde_json::to_value(schema).map_err(|error| bug(&format!("is not JSON ({error})")))?;
    metadata::add_to(kind, &mut schema);
    Ok(schema)
}

type Cached = LazyLock<Result<Arc<Schema>, String>>;

static POOL: Cached = LazyLock::new(|| Schema::new(Kind::ProxyPool).map(Arc::new));
static CHAIN: Cached = LazyLock::new(|| Schema::new(Kind::ProxyChain).map(Arc::new));

fn schema(kind: Kind) -> Result<&'static Schema, String> {
    let cached = match kind {
        Kind::ProxyPool => &POOL,
        Kind::ProxyChain => &CHAIN,
    };
    cached.as_ref().map(Arc::as_ref).map_err(Clone::clone)
}

fn judge(kind: Kind, value: &Value, old: Option<&Value>) -> Vec<Violation> {
    let schema = match schema(kind) {
        Ok(schema) => schema,
        Err(message) => {
            return vec![Violation {
                pointer: String::new(),
                message,
            }];
        }
    };
    let mut value = value.clone();
    walk::prune_nulls(&mut value);
    let mut violations = walk::violations(&schema.json, &value);
    violations.extend(message::violations(schema.bounds.iter_errors(&value)));
    let of_rules = rule_violations(schema, &value, old, &violations);
    violations.extend(of_rules);
    let mut seen = BTreeSet::new();
    violations.retain(|violation| seen.insert(violation.clone()));
    violations
}

/// What the CEL rules say, less what follows from what the schema has said already.
fn rule_violations(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    found: &[Violation],
) -> Vec<Violation> {
    let Err(errors) = Validator::new().validate_compiled(&schema.rules, value, old) else {
        return Vec::new();
    };
    errors
        .into_iter()
        .filter_map(|error| {
            let pointer = match error.field_path.as_str() {
                // A rule of the whole object can judge its name, but definitions cannot say that a rule is about it.
                "" if error.rule.contains("self.metadata.name") => "/metadata/name".to_owned(),
                path => to_pointer(path),
            };
            let follows = match error.kind {
                // Two sentences about one malformed value help nobody.
                ErrorKind::ValidationFailure => {
                    let judged = found.iter().any(|violation| violation.pointer == pointer);
                    judged && !value.pointer(&pointer).is_some_and(Value::is_object)
                }
                // A rule cannot make sense of a value of the wrong type or of a malformed duration.
                _ => !found.is_empty(),
            };
            (!follows).then_some(Violation {
                pointer,
                message: error.message,
            })
        })
        .collect()
}

/// `spec.listeners[0].port` as a JSON pointer. Fields that rules name hold no dots.
fn to_pointer(path: &str) -> String {
    let mut pointer = String::new();
    for segment in path.split(['.', '[']).filter(|segment| !segment.is_empty()) {
        pointer.push('/');
        pointer.push_str(segment.trim_end_matches(']'));
    }
    pointer
}

#[cfg(test)]
mod tests;
