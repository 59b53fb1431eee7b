//! Manifests as text: the header that all have in common, and what the test
//! writes itself. In: the `spec`, as YAML. Out: a document.
//!
//! ```
//! # use switchyard_tests::manifest;
//! let text = manifest::join(&[
//!     manifest::pool("edge", "listeners: [{name: tcp, port: 1650, protocol: TCP}]"),
//!     manifest::chain(
//!         "app",
//!         "
//!         poolRef: {name: edge}
//!         backends: [{name: primary, host: app.example.test, port: 1650}]
//!         resolution: {nameservers: [10.77.0.53]}
//!         ",
//!     ),
//! ]);
//! assert!(text.contains("\n  poolRef: {name: edge}\n"));
//! ```

use std::fs;
use std::path::Path;

use crate::tls::Certificate;

/// The namespace of all of them; a chain `app` is `edge/app` to the admin endpoints.
pub const NAMESPACE: &str = "edge";

/// A `ProxyPool`.
pub fn pool(name: &str, spec: &str) -> String {
    document("ProxyPool", name, spec)
}

/// A `ProxyChain`.
pub fn chain(name: &str, spec: &str) -> String {
    document("ProxyChain", name, spec)
}

/// A `Secret` with a certificate and its key, as PEM.
///
/// # Panics
/// When the files cannot be read.
pub fn tls_secret(name: &str, certificate: &Certificate) -> String {
    let pem = |path: &Path| {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        indent(&text, 4)
    };
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        pem(&certificate.file),
        pem(&certificate.key)
    )
}

/// Several documents as one file.
pub fn join<S: AsRef<str>>(documents: &[S]) -> String {
    let documents: Vec<&str> = documents.iter().map(AsRef::as_ref).collect();
    documents.join("---\n")
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    let spec = indent(spec, 2);
    format!(
        "apiVersion: switchyard.dev/v1alpha1\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n{spec}"
    )
}

/// Takes the indentation that all lines share, and gives them `width` spaces
/// instead; empty lines go.
fn indent(text: &str, width: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let shared = lines
        .iter()
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or_default();
    let pad = " ".repeat(width);
    lines
        .iter()
        .map(|line| format!("{pad}{}\n", &line[shared..]))
        .collect()
}
