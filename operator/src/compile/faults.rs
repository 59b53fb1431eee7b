//! What is wrong with one object, collected while it is read.

use switchyard_crds::Reason;

use super::{FieldPath, Fields, Given, ObjectKey, Refusal};

/// Collects the refusals of one object.
pub struct Faults<'a> {
    object: ObjectKey,
    written: &'a Fields,
    refused: Vec<Refusal>,
}

impl<'a> Faults<'a> {
    /// None so far.
    pub fn of<T>(object: ObjectKey, given: &'a Given<T>) -> Self {
        Self {
            object,
            written: &given.written,
            refused: Vec::new(),
        }
    }

    /// Whether something was refused.
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty()
    }

    /// How many refusals there are so far.
    pub fn len(&self) -> usize {
        self.refused.len()
    }

    /// All of them.
    pub fn into_refusals(self) -> Vec<Refusal> {
        self.refused
    }

    /// Refuses a field.
    pub fn refuse(&mut self, field: FieldPath, reason: Reason, message: impl Into<String>) {
        let refusal = Refusal {
            object: self.object.clone(),
            field,
            reason,
            message: message.into(),
        };
        self.refused.push(refusal);
    }

    /// Breaks a rule.
    pub fn invalid(&mut self, field: FieldPath, message: impl Into<String>) {
        self.refuse(field, Reason::Invalid, message);
    }

    /// Valid, but not built yet, whatever its value.
    pub fn unsupported(&mut self, field: FieldPath) {
        let message = format!("not supported by this version: {field}");
        self.refuse(field, Reason::UnsupportedValue, message);
    }

    /// Valid, but not built yet, at this value.
    pub fn unsupported_value(&mut self, field: FieldPath, value: &str) {
        let message = format!("not supported by this version: {field}: {value}");
        self.refuse(field, Reason::UnsupportedValue, message);
    }

    /// Valid, but not built yet: refused if the user wrote it. (Its default is what we do anyway.)
    pub fn unsupported_if_written(&mut self, field: FieldPath) {
        if self.written.has(&field) {
            self.unsupported(field);
        }
    }

    /// Whether the user wrote this field.
    pub fn written(&self, field: &FieldPath) -> bool {
        self.written.has(field)
    }

    /// Reads a text that must have the form of `T`; says so where it has not.
    pub fn parse<T: std::str::FromStr>(&mut self, field: FieldPath, text: &str, what: &str) -> Option<T> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.invalid(field, format!("{text:?} is no {what}"));
        }
        parsed
    }

    /// Reads a list of such texts.
    pub fn parse_all<T: std::str::FromStr>(
        &mut self,
        field: &FieldPath,
        texts: &[String],
        what: &str,
    ) -> Vec<T> {
        let each = |(i, text): (usize, &String)| self.parse(field.index(i), text, what);
        texts.iter().enumerate().filter_map(each).collect()
    }
}
