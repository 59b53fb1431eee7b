//! Which pool's proxy a pod gets. Pure. In: the pod, the Sidecar pools of its namespace. Out: one of them and what else its
//! maker should know, or in words why none.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{CONTAINER, VOLUMES};
use crate::controller::proxypool::names::POOL_LABEL;
use crate::sidecar::{self, Sidecar};

/// What is made of a pod.
#[derive(Debug)]
pub enum Choice<'a> {
    /// It gets a proxy of this pool, or has it; with warnings.
    Pool(&'a Sidecar, Vec<String>),
    /// It stays as it is. It wanted something else, so it is told why.
    None(Reason, String),
    /// It stays as it is, and wanted nothing else.
    Unasked,
}

/// Why a pod that asks gets no proxy, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No pool selects it.
    Unmatched,
    /// Something of the pod stands in the way.
    Hindered,
}

/// Chooses; `pools` are those of the pod's namespace, the oldest first.
pub fn choose<'a>(pod: &Value, namespace: &str, pools: &'a [Sidecar]) -> Choice<'a> {
    let labels = labels(pod);
    if !sidecar::wanted(&labels) {
        return Choice::Unasked;
    }
    let mut matching = pools
        .iter()
        .filter(|sidecar| sidecar::selects(&sidecar.pool, &labels));
    if injected(pod) {
        // Made from another pod's manifest, or seen here before: the container says which pool it is of.
        let there = labels.get(POOL_LABEL).map(String::as_str).unwrap_or_default();
        if let Some(sidecar) = matching.find(|sidecar| name(sidecar) == there) {
            return Choice::Pool(sidecar, Vec::new());
        }
        let words = format!(
            "the pod has a container {CONTAINER} already, and no Sidecar pool {there:?} of namespace {namespace} selects it: \
                     leave container, volumes and label {POOL_LABEL} out of the manifest"
        );
        return Choice::None(Reason::Hindered, words);
    }
    let Some(oldest) = matching.next() else {
        let words = format!(
            "no Sidecar pool of namespace {namespace} selects this pod: it gets no proxy; look at workload.inject.podSelector of \
             the pools, and at the pod's labels"
        );
        return Choice::None(Reason::Unmatched, words);
    };
    if let Some(why) = hindrance(pod) {
        return Choice::None(Reason::Hindered, format!("the pod gets no proxy: {why}"));
    }
    let mut warnings = Vec::new();
    let others: Vec<&str> = matching.map(name).collect();
    if !others.is_empty() {
        let words = format!(
            "several Sidecar pools select this pod: it gets the proxy of the oldest, {}, and none of {}",
            name(oldest),
            others.join(", ")
        );
        warnings.push(words);
    }
    Choice::Pool(oldest, warnings)
}

/// The pool's name.
pub fn name(sidecar: &Sidecar) -> &str {
    sidecar.pool.metadata.name.as_deref().unwrap_or_default()
}

/// Whether the pod has our container.
pub fn injected(pod: &Value) -> bool {
    items(pod, "initContainers").any(|container| container["name"] == CONTAINER)
}

/// The items of a list of the pod's.
pub fn items<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    pod["spec"][list].as_array().into_iter().flatten()
}

fn labels(pod: &Value) -> BTreeMap<String, String> {
    let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
    labels
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// What of the pod makes a proxy in it impossible, or pointless.
fn hindrance(pod: &Value) -> Option<String> {
    let spec = &pod["spec"];
    if spec["hostNetwork"] == true {
        return Some("with hostNetwork its loopback is the node's, where others are".to_owned());
    }
    if spec["os"]["name"] == "windows" {
        return Some("it runs on Windows".to_owned());
    }
    if items(pod, "containers").any(|container| container["name"] == CONTAINER) {
        return Some(format!("a container of it is called {CONTAINER}: rename it"));
    }
    let volumes = VOLUMES.names();
    let taken = items(pod, "volumes").filter_map(|volume| volume["name"].as_str());
    let taken = taken.into_iter().find(|name| volumes.contains(name));
    taken.map(|name| format!("a volume of it is called {name}: rename it"))
}
