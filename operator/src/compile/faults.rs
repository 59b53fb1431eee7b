//! What is wrong with one object, collected while it is read.

use switchyard_crds::Reason;

use super::{FieldPath, Fields, ObjectKey, Refusal, supported};

/// Collects the refusals of one object.
pub struct Faults<'a> {
    object: ObjectKey,
    written: &'a Fields,
    refused: Vec<Refusal>,
    unresolved: Vec<Refusal>,
}

impl<'a> Faults<'a> {
    /// Those that need no more than to know which fields the user wrote: what is not built yet.
    pub fn of(object: ObjectKey, written: &'a Fields) -> Self {
        let not_built = supported::not_built(object.kind, written);
        let mut faults = Self {
            object,
            written,
            refused: Vec::new(),
            unresolved: Vec::new(),
        };
        for field in not_built {
            faults.unsupported(field);
        }
        faults
    }

    /// Whether something was refused.
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty()
    }

    /// Whether the field, or one below it, was refused.
    pub fn concern(&self, field: &FieldPath) -> bool {
        self.refused
            .iter()
            .any(|refusal| refusal.field.is_at_or_below(field))
    }

    /// Whether something was refused that is neither the field nor below it.
    pub fn concern_more_than(&self, field: &FieldPath) -> bool {
        self.refused
            .iter()
            .any(|refusal| !refusal.field.is_at_or_below(field))
    }

    /// All of them.
    pub fn into_refusals(mut self) -> Vec<Refusal> {
        self.refused.append(&mut self.unresolved);
        self.refused
    }

    /// Refuses a field.
    pub fn refuse(&mut self, field: FieldPath, reason: Reason, message: impl Into<String>) {
        let refusal = self.refusal(field, reason, message.into());
        self.refused.push(refusal);
    }

    /// What is named is not there, or is not what it should be: told, but the object is used.
    pub fn unresolved(&mut self, field: FieldPath, reason: Reason, message: impl Into<String>) {
        let refusal = self.refusal(field, reason, message.into());
        self.unresolved.push(refusal);
    }

    fn refusal(&self, field: FieldPath, reason: Reason, message: String) -> Refusal {
        Refusal {
            object: self.object.clone(),
            field,
            reason,
            message,
        }
    }

    /// Breaks a rule.
    pub fn invalid(&mut self, field: FieldPath, message: impl Into<String>) {
        self.refuse(field, Reason::Invalid, message);
    }

    /// Valid, but not built yet.
    pub fn unsupported(&mut self, field: FieldPath) {
        let message = format!("not supported by this version: {field}");
        self.refuse(field, Reason::UnsupportedValue, message);
    }

    /// Valid, but not built yet, at this value.
    pub fn unsupported_value(&mut self, field: FieldPath, value: &str) {
        let message = format!("not supported by this version: {field}: {value}");
        self.refuse(field, Reason::UnsupportedValue, message);
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
