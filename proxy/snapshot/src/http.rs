//! HTTP: what a listener takes, and what a chain changes in headers.

use serde::{Deserialize, Serialize};

/// Limits of a listener that speaks HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpLimits {
    /// Bytes of a request's first line and header together. More are refused with 431, or 414 if it is the first line.
    pub max_head_bytes: u32,
    /// Bytes of a request's body. More are refused with 413. None: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_head_bytes: 64 * 1024,
            max_body_bytes: None,
        }
    }
}

/// What a chain changes in headers of requests and responses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HeaderRules {
    /// On the way to the backend.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub request: HeaderChanges,
    /// On the way to the client.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub response: HeaderChanges,
}

/// Changes of one message's headers, done in this order: `remove`, `set`, `add`. Names are lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HeaderChanges {
    /// Take the place of all of this name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<HeaderField>,
    /// Come beside those of this name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HeaderField>,
    /// Names that are taken out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl HeaderChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// One header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderField {
    /// In lower case.
    pub name: String,
    /// Visible ASCII and spaces.
    pub value: String,
}
