//! Which fields the user wrote, as far as a cluster can tell. In: an object of the API server, which has filled the defaults
//! of the schema in. Out: the fields whose value is not what the schema would have filled in.
//!
//! A default that the user wrote out cannot be told from one that was filled in, and means the same.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::{Map, Value};
use switchyard_crds::{Kind, all_crds};

use crate::compile::{FieldPath, Fields};

/// The defaults of both kinds.
#[derive(Debug)]
pub struct Defaults {
    spec: BTreeMap<Kind, Node>,
}

/// One place of a schema.
#[derive(Debug, Default)]
struct Node {
    /// What an absent value becomes, with the defaults below it filled in too.
    default: Option<Value>,
    properties: BTreeMap<String, Node>,
    items: Option<Box<Node>>,
}

impl Defaults {
    /// Of the definitions that this release installs.
    ///
    /// # Errors
    /// A definition has no schema for `spec`, which is a mistake of ours.
    pub fn new() -> Result<Self, String> {
        let mut spec = BTreeMap::new();
        for crd in all_crds() {
            let kind: Kind = crd.spec.names.kind.parse()?;
            let schemas = crd.spec.versions.into_iter().find(|version| version.storage);
            let schema = schemas
                .and_then(|version| version.schema?.open_api_v3_schema?.properties?.remove("spec"))
                .ok_or_else(|| format!("the definition of {kind} has no schema for spec"))?;
            spec.insert(kind, Node::of(&schema));
        }
        Ok(Self { spec })
    }

    /// The fields of `spec` that do not hold their default.
    pub fn written(&self, kind: Kind, spec: &Value) -> Fields {
        let mut fields = Fields::default();
        if let Some(node) = self.spec.get(&kind) {
            node.collect(spec, &FieldPath::spec(), &mut fields);
        }
        fields
    }
}

impl Node {
    fn of(schema: &JSONSchemaProps) -> Self {
        use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrArray;
        let properties = schema.properties.iter().flatten();
        let properties = properties.map(|(name, schema)| (name.clone(), Self::of(schema)));
        let items = match &schema.items {
            Some(JSONSchemaPropsOrArray::Schema(schema)) => Some(Box::new(Self::of(schema))),
            _ => None,
        };
        let mut node = Self {
            default: None,
            properties: properties.collect(),
            items,
        };
        node.default = schema.default.as_ref().map(|default| node.complete(&default.0));
        node
    }

    /// A value as it stands after defaulting.
    fn complete(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let mut complete: Map<String, Value> = fields
                    .iter()
                    .map(|(name, value)| {
                        let value = self.properties.get(name).map(|node| node.complete(value));
                        (name.clone(), value.unwrap_or_else(|| fields[name].clone()))
                    })
                    .collect();
                for (name, node) in &self.properties {
                    if let (false, Some(default)) = (complete.contains_key(name), &node.default) {
                        complete.insert(name.clone(), default.clone());
                    }
                }
                Value::Object(complete)
            }
            Value::Array(items) => {
                let complete = |value| {
                    self.items
                        .as_ref()
                        .map_or_else(|| Value::clone(value), |node| node.complete(value))
                };
                Value::Array(items.iter().map(complete).collect())
            }
            other => other.clone(),
        }
    }

    fn collect(&self, value: &Value, path: &FieldPath, fields: &mut Fields) {
        if value.is_null() || self.default.as_ref() == Some(value) {
            return;
        }
        fields.add(path);
        let unknown = Self::default();
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    let node = self.properties.get(name).unwrap_or(&unknown);
                    node.collect(value, &path.key(name), fields);
                }
            }
            Value::Array(items) => {
                let node = self.items.as_deref().unwrap_or(&unknown);
                for (i, item) in items.iter().enumerate() {
                    node.collect(item, &path.index(i), fields);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
