//! What a chain changes in headers, as Gateway API's header modifiers name it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use crate::common::schema;

/// Changes of headers, where the listener reads HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Headers {
    /// Of requests, on their way to the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<HeaderChanges>,

    /// Of responses, on their way to the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<HeaderChanges>,
}

/// Changes of one message's headers. First `remove` is done, then `set`, then `add`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::header_changes()))]
pub struct HeaderChanges {
    /// Headers that take the place of all of the same name. Each name stands here once, whatever its case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub set: Vec<HeaderField>,

    /// Headers that come beside those of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub add: Vec<HeaderField>,

    /// Names of headers that are taken out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::header_names")]
    pub remove: Vec<String>,
}

/// One header.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderField {
    /// Its name; case does not matter. The headers that the proxy itself writes cannot be named.
    #[schemars(schema_with = "schema::header_name")]
    pub name: String,

    /// Its value: visible ASCII characters, with spaces between them.
    #[schemars(schema_with = "schema::header_value")]
    pub value: String,
}
