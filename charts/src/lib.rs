//! What is generated of the chart. In: its folder, the types of both kinds, the workspace's version. Out: the files that follow
//! from them: copies of the definitions, the table of values in its README, the versions in Chart.yaml.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub mod values;

/// The workspace's version, which is the chart's too.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Lines of the README between which the table of values stands.
const TABLE: (&str, &str) = (
    "<!-- values: made of values.yaml by `make gen` -->",
    "<!-- end of values -->",
);

/// A file that follows from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Where it is.
    pub path: PathBuf,
    /// What it shall hold.
    pub content: String,
}

/// Everything that is generated in the chart's folder.
///
/// # Errors
/// A file of the chart cannot be read, or lacks the place for what is generated; the message names it.
pub fn generated(chart: &Path) -> Result<Vec<Generated>, String> {
    let definitions = switchyard_crds::manifest::all()?;
    let mut all: Vec<Generated> = definitions
        .into_iter()
        .map(|manifest| Generated {
            path: chart.join("files/crds").join(manifest.file),
            content: manifest.yaml,
        })
        .collect();
    let path = chart.join("README.md");
    let rows = values::rows(&read(&chart.join("values.yaml"))?)?;
    all.push(Generated {
        content: with_table(&read(&path)?, &values::table(&rows))
            .map_err(|why| format!("{}: {why}", path.display()))?,
        path,
    });
    let path = chart.join("Chart.yaml");
    all.push(Generated {
        content: with_version(&read(&path)?),
        path,
    });
    Ok(all)
}

/// The generated files that are missing or hold something else.
///
/// # Errors
/// As [`generated`].
pub fn drifted(chart: &Path) -> Result<Vec<PathBuf>, String> {
    let mut drifted = Vec::new();
    for file in generated(chart)? {
        match fs::read_to_string(&file.path) {
            Ok(on_disk) if on_disk == file.content => {}
            Ok(_) => drifted.push(file.path),
            Err(error) if error.kind() == ErrorKind::NotFound => drifted.push(file.path),
            Err(error) => return Err(format!("cannot read {}: {error}", file.path.display())),
        }
    }
    Ok(drifted)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn with_table(readme: &str, table: &str) -> Result<String, String> {
    let (begin, end) = TABLE;
    let missing = |line: &str| format!("there is no line {line:?}");
    let (head, rest) = readme.split_once(begin).ok_or_else(|| missing(begin))?;
    let (_, tail) = rest.split_once(end).ok_or_else(|| missing(end))?;
    Ok(format!("{head}{begin}\n\n{table}\n{end}{tail}"))
}

/// Both versions; all else stays as it is.
fn with_version(chart: &str) -> String {
    chart
        .lines()
        .map(|line| match line.split_once(": ") {
            Some((key @ ("version" | "appVersion"), _)) => format!("{key}: {VERSION}\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

#[cfg(test)]
mod tests;
