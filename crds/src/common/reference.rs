//! References to other objects. They stay in the namespace of the object that makes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// A Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret, in the namespace of this object.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
}
