//! How results are printed.

use serde_json::Value;

/// The form of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
}

impl Output {
    /// As text for programs; none: a table is wanted.
    pub fn structured(self, value: &Value) -> Option<String> {
        match self {
            Self::Table => None,
            Self::Json => Some(format!("{value:#}")),
            Self::Yaml => Some(serde_saphyr::to_string(value).unwrap_or_else(|error| error.to_string())),
        }
    }
}
