//! Where a value stands inside its object, in the two notations in use: the field path that people read, and the JSON
//! pointer (RFC 6901) that schemas speak; and which fields the user wrote.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde_json::Value;

/// A way down from the root of an object; it prints as people read it: `spec.listeners[0].port`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath {
    words: String,
    pointer: String,
}

impl FieldPath {
    /// `spec`.
    pub fn spec() -> Self {
        Self::default().key("spec")
    }

    /// As RFC 6901 writes it: `/spec/listeners/0/port`.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Whether this is that field, or one below it.
    pub fn is_at_or_below(&self, other: &Self) -> bool {
        let rest = self.pointer.strip_prefix(&other.pointer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// One step down, to a key of a mapping. A key that is no plain word is written `["a/b"]`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut path = self.clone();
        if !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
            if !path.words.is_empty() {
                path.words.push('.');
            }
            path.words.push_str(key);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(path.words, "[{key:?}]");
        }
        path.pointer.push('/');
        path.pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        path
    }

    /// One step down, to an item of a list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        let _ = write!(path.words, "[{index}]");
        let _ = write!(path.pointer, "/{index}");
        path
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// The fields that the user wrote, as opposed to those that hold a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeSet<String>);

impl Fields {
    /// Every field of an object as the user wrote it, before defaults were filled in.
    pub fn written(object: &Value) -> Self {
        let mut fields = Self::default();
        fields.collect(object, &FieldPath::default());
        fields
    }

    /// The user wrote this field.
    pub fn add(&mut self, field: &FieldPath) {
        self.0.insert(field.pointer().to_owned());
    }

    /// Whether the user wrote this field.
    pub fn has(&self, path: &FieldPath) -> bool {
        self.0.contains(path.pointer())
    }

    fn collect(&mut self, value: &Value, path: &FieldPath) {
        // A null counts as absent, as for the API server.
        if value.is_null() {
            return;
        }
        self.0.insert(path.pointer().to_owned());
        match value {
            Value::Object(map) => map
                .iter()
                .for_each(|(key, value)| self.collect(value, &path.key(key))),
            Value::Array(list) => {
                list.iter()
                    .enumerate()
                    .for_each(|(i, value)| self.collect(value, &path.index(i)));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_words_and_as_a_pointer() {
        let path = FieldPath::spec().key("listeners").index(2).key("port");
        assert_eq!(
            (path.to_string().as_str(), path.pointer()),
            ("spec.listeners[2].port", "/spec/listeners/2/port")
        );
        let path = FieldPath::default().key("labels").key("a/b~c");
        assert_eq!(
            (path.to_string().as_str(), path.pointer()),
            ("labels[\"a/b~c\"]", "/labels/a~1b~0c")
        );
    }

    #[test]
    fn fields_are_those_written_and_no_others() {
        let fields = Fields::written(&serde_json::json!({"spec": {"listeners": [{"port": 1}], "dns": null}}));
        let listener = FieldPath::spec().key("listeners").index(0);
        assert!(fields.has(&listener.key("port")));
        assert!(!fields.has(&listener.key("name")));
        assert!(!fields.has(&FieldPath::spec().key("dns")));
        assert!(!fields.has(&FieldPath::spec().key("listeners").index(1)));
    }
}
