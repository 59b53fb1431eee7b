//! What is wrong with a manifest, where, and in words.

use std::fmt;

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1; 0: the file as a whole.
    pub line: u32,
    /// From 1, in characters; 0: the line (or file) as a whole.
    pub column: u32,
}

/// One thing that must be mended before the manifests can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as the user named it.
    pub file: String,
    /// From 1; 0: the file as a whole.
    pub line: u32,
    /// From 1, in characters; 0: the file as a whole.
    pub column: u32,
    /// The path of the field, such as `spec.listeners[0].port`; empty where the text itself is at fault.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Mistake {
    /// A mistake at a place in a file.
    pub fn at(file: &str, at: Position, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            field: field.into(),
            message: message.into(),
        }
    }

    /// A mistake of a file as a whole.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self::at(file, Position::default(), "", message)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}
