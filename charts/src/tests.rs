//! The generator, and the chart's own files against each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{drifted, generated, values, with_table, with_version};

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("switchyard")
}

#[test]
fn a_row_per_key_in_order() {
    let yaml = "# Head of the file.\n\n# A thing.\n# On two lines.\nthing: {a: b}\n\n# A section.\nsection:\n  # Inside.\n  \
                inner: [1, 2]\n  # Deeper.\n  deep:\n    # Deepest.\n    est: \"\"\n# Next | last.\nlast: 1\n";
    let rows = values::rows(yaml).unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.path.as_str(), row.default.as_deref(), row.about.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("thing", Some("{a: b}"), "A thing. On two lines."),
            ("section", None, "A section."),
            ("section.inner", Some("[1, 2]"), "Inside."),
            ("section.deep", None, "Deeper."),
            ("section.deep.est", Some("\"\""), "Deepest."),
            ("last", Some("1"), "Next | last."),
        ]
    );
    let table = values::table(&rows);
    assert!(
        table.contains("\n| **`section`** |  | A section. |\n| `section.inner` | `[1, 2]` | Inside. |\n")
    );
    assert!(table.ends_with("| `last` | `1` | Next \\| last. |\n"));
}

#[test]
fn what_has_no_comment_is_refused() {
    for (yaml, line) in [
        ("a: 1\n", "values.yaml:1"),
        ("# A.\na: 1\nb: 2\n", "values.yaml:3"),
        ("# A.\na:\n  - 1\n", "values.yaml:3"),
        ("# Too far away.\n\na: 1\n", "values.yaml:3"),
    ] {
        let why = values::rows(yaml).unwrap_err();
        assert!(why.starts_with(line), "{why}");
    }
}

#[test]
fn the_table_stands_between_its_lines() {
    let (begin, end) = super::TABLE;
    let readme = format!("before\n{begin}\nold\n{end}\nafter\n");
    let once = with_table(&readme, "new\n").unwrap();
    assert_eq!(once, format!("before\n{begin}\n\nnew\n\n{end}\nafter\n"));
    assert_eq!(with_table(&once, "new\n").unwrap(), once);
    assert!(with_table("no lines", "new").unwrap_err().contains(begin));
}

#[test]
fn both_versions_are_the_workspaces() {
    let version = env!("CARGO_PKG_VERSION");
    let before = "apiVersion: v2\n# of it\nversion: 0.0.1\nappVersion: 0.0.2\nkubeVersion: \">=1\"\n";
    let after =
        format!("apiVersion: v2\n# of it\nversion: {version}\nappVersion: {version}\nkubeVersion: \">=1\"\n");
    assert_eq!(with_version(before), after);
}

#[test]
fn drift_is_named_and_mended() {
    let copy = tempfile::tempdir().unwrap();
    let at = |name: &str| copy.path().join(name);
    fs::create_dir_all(at("files/crds")).unwrap();
    for name in ["values.yaml", "README.md", "Chart.yaml"] {
        fs::copy(chart().join(name), at(name)).unwrap();
    }
    let missing: BTreeSet<PathBuf> = drifted(copy.path()).unwrap().into_iter().collect();
    let definitions = ["files/crds/proxypools.yaml", "files/crds/proxychains.yaml"];
    assert_eq!(missing, definitions.map(at).into());
    for file in generated(copy.path()).unwrap() {
        fs::write(file.path, file.content).unwrap();
    }
    assert_eq!(drifted(copy.path()).unwrap(), [] as [PathBuf; 0]);
    let values = fs::read_to_string(at("values.yaml")).unwrap();
    fs::write(at("values.yaml"), values.replace("replicas: 2", "replicas: 3")).unwrap();
    assert_eq!(drifted(copy.path()).unwrap(), [at("README.md")]);
}

/// What values.yaml offers is what values.schema.json allows, and each has an example that the tests of the chart set it to.
#[test]
fn schema_and_values_name_the_same() {
    let text = fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let mut allowed = BTreeSet::new();
    let mut bare = BTreeSet::new();
    leaves(&schema, &schema, "", &mut |path, leaf| {
        allowed.insert(path.to_owned());
        if leaf["examples"].as_array().is_none_or(Vec::is_empty) {
            bare.insert(path.to_owned());
        }
    });
    allowed.remove("global");
    bare.remove("global");
    assert_eq!(bare, BTreeSet::new(), "no examples");
    let text = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let rows = values::rows(&text).unwrap();
    let offered: BTreeSet<String> = rows
        .into_iter()
        .filter(|row| row.default.is_some())
        .map(|row| row.path)
        .collect();
    assert_eq!(offered, allowed);
}

/// Calls `seen` for each value that has no values of its own, or examples as a whole.
fn leaves(root: &Value, schema: &Value, path: &str, seen: &mut impl FnMut(&str, &Value)) {
    let schema = match schema["$ref"].as_str() {
        Some(to) if schema["examples"].is_null() => &root["$defs"][to.trim_start_matches("#/$defs/")],
        _ => schema,
    };
    let properties = schema["properties"].as_object();
    match properties.filter(|_| schema["examples"].is_null()) {
        None => seen(path, schema),
        Some(properties) => {
            assert_eq!(schema["additionalProperties"], false, "{path} takes anything");
            for (key, schema) in properties {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                leaves(root, schema, &path, seen);
            }
        }
    }
}
