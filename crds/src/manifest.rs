//! The definitions as files: what `crds/*.yaml` hold.
//!
//! In: the types. Out: one YAML file per kind; and, for the check, which files on disk differ from that.

use std::path::{Path, PathBuf};

use serde_json::{Number, Value};

use crate::all_crds;

/// One definition as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The file's name, the plural of the kind.
    pub file: String,
    /// Its content.
    pub yaml: String,
}

/// The files of both kinds.
///
/// # Errors
/// Where a definition cannot be written as YAML, which is a bug of ours.
pub fn all() -> Result<Vec<Manifest>, String> {
    all_crds()
        .into_iter()
        .map(|crd| {
            let file = format!("{}.yaml", crd.spec.names.plural);
            let mut value =
                serde_json::to_value(&crd).map_err(|error| format!("cannot write {file}: {error}"))?;
            whole_numbers(&mut value);
            let yaml = serde_saphyr::to_string(&value)
                .map_err(|error| format!("cannot write {file} as YAML: {error}"))?;
            let header = "# Generated from the types in crds/src by `make gen`; do not edit.\n";
            Ok(Manifest {
                file,
                yaml: format!("{header}{yaml}"),
            })
        })
        .collect()
}

/// Writes 1 where Kubernetes' types, which hold bounds as floats, would write 1.0.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number
                .as_f64()
                .filter(|float| float.fract() == 0.0 && float.abs() < 1e15)
            {
                *number = Number::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The files of `dir` that are missing or hold something else.
///
/// # Errors
/// Where a file cannot be read although it is there.
pub fn drifted(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mut drifted = Vec::new();
    for manifest in all()? {
        let path = dir.join(&manifest.file);
        match std::fs::read_to_string(&path) {
            Ok(on_disk) if on_disk == manifest.yaml => {}
            Ok(_) => drifted.push(path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => drifted.push(path),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        }
    }
    Ok(drifted)
}
