//! helm, as people run it. In: a kubeconfig, or none; values as JSON. Out: what it renders, installs and says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use switchyard_crds::fixtures::yaml;
use tempfile::TempDir;

use crate::apiserver::programs;
use crate::tool;

/// The chart's folder.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("charts/switchyard")
}

/// The API server that charts are rendered for where there is none.
const KUBERNETES: &str = "1.36.0";

/// helm with files of its own, which go when it is dropped.
pub struct Helm {
    home: TempDir,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// Without a cluster.
    ///
    /// # Panics
    /// When there is no place for files.
    pub fn offline() -> Self {
        Self {
            home: tempfile::tempdir().expect("a temporary directory"),
            kubeconfig: None,
        }
    }

    /// For the cluster of this kubeconfig.
    ///
    /// # Panics
    /// As [`Helm::offline`].
    pub fn of(kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: Some(kubeconfig.to_owned()),
            ..Self::offline()
        }
    }

    /// `helm ARGUMENTS`: what it said, or how it failed.
    ///
    /// # Errors
    /// It ended with another status than 0.
    ///
    /// # Panics
    /// When there is no helm.
    pub fn attempt(&self, arguments: &[&str]) -> Result<String, String> {
        tool::try_output(self.command().args(arguments))
    }

    /// As [`Helm::attempt`], for what must succeed.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        tool::output(self.command().args(arguments))
    }

    /// Every object of the chart with these values, for the release `switchyard` in `namespace`; those of `helm test`, too.
    ///
    /// # Errors
    /// helm refuses; in its words.
    ///
    /// # Panics
    /// When there is no place for the values.
    pub fn render(&self, namespace: &str, values: &Value) -> Result<Vec<Value>, String> {
        let file = self.values(values);
        let folder = chart();
        let mut command = self.command();
        command.args(["template", "switchyard"]).arg(folder);
        command.args(["--namespace", namespace, "--kube-version", KUBERNETES, "--values"]);
        let text = tool::try_output(command.arg(file.path()))?;
        Ok(documents(&text))
    }

    /// Values as a file, for `--values`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn values(&self, values: &Value) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new_in(self.home.path()).expect("a file for values");
        fs::write(file.path(), values.to_string()).expect("values are written");
        file
    }

    fn command(&self) -> Command {
        let mut command = Command::new(programs::find("helm"));
        let home = self.home.path();
        command
            .env("HOME", home)
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .env(
                "KUBECONFIG",
                self.kubeconfig.as_deref().unwrap_or(Path::new("/dev/null")),
            );
        command
    }
}

/// The objects of a text with several documents.
pub fn documents(text: &str) -> Vec<Value> {
    text.split("\n---")
        .map(|document| document.trim_start_matches("---"))
        .filter(|document| {
            document
                .lines()
                .any(|line| !line.trim().is_empty() && !line.starts_with('#'))
        })
        .map(yaml)
        .collect()
}

/// The one of these objects of this kind and name.
///
/// # Panics
/// When it is not there.
#[track_caller]
pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}
