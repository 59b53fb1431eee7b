//! What there is. In: a control plane. Out: kind, namespace and name of every object, so that two moments can be compared.

use std::collections::BTreeSet;

use super::ControlPlane;

/// What comes and goes by itself, or cannot be listed.
const PASSING: [&str; 3] = ["events", "events.events.k8s.io", "componentstatuses"];

impl ControlPlane {
    /// Every object, of every kind that can be listed, but events.
    ///
    /// # Panics
    /// When the API server does not tell.
    #[track_caller]
    pub fn inventory(&self) -> BTreeSet<String> {
        let kinds = self.kubectl(&["api-resources", "--verbs=list", "-o", "name"]);
        let kinds: Vec<&str> = kinds.lines().filter(|kind| !PASSING.contains(kind)).collect();
        let columns = "custom-columns=:.kind,:.metadata.namespace,:.metadata.name";
        let all = self.kubectl(&[
            "get",
            &kinds.join(","),
            "--all-namespaces",
            "--no-headers",
            "-o",
            columns,
        ]);
        all.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|line| !line.is_empty())
            .collect()
    }
}
