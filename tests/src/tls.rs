//! Certificates made by openssl when a test runs; none is kept.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tool;

/// A self-signed certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate; clients trust it by this file.
    pub file: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes one for these DNS names in `directory`.
    ///
    /// # Panics
    /// When openssl does not.
    pub fn make(directory: &Path, names: &[&str]) -> Self {
        let file = directory.join(format!("{}.pem", names[0]));
        let key = directory.join(format!("{}.key", names[0]));
        let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let mut openssl = Command::new("openssl");
        openssl
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ])
            .args(["-nodes", "-days", "2", "-subj", "/CN=switchyard-test", "-addext"])
            .arg(format!("subjectAltName={}", names.join(",")))
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&file);
        tool::output(&mut openssl);
        Self { file, key }
    }

    /// openssl's name and version, in its own words.
    ///
    /// # Panics
    /// When openssl does not tell.
    pub fn version() -> String {
        tool::output(Command::new("openssl").arg("version"))
            .trim()
            .to_owned()
    }
}
