//! Puts proxies into the pods that ask for one. In: what the API server sends before it stores a pod. Out: the same pod with
//! a proxy beside its containers, or as it was and why.
//!
//! ```text
//!  API server ─► serve (TLS, bounds) ─► review ─► choose ─► inject ─► JSON patch        every replica
//!                    ▲                              ▲
//!      certificate ──┘         Sidecar pools, chains┘ (the index)
//!
//!  CA bundle ─► trust ─► MutatingWebhookConfiguration                                   the leader
//! ```
//!
//! `review`, `choose` and `inject` are pure. No pod is ever refused: one that cannot have a proxy is let through as it is, with
//! a warning for whoever made it. Nothing is remembered, so a dry run is no different.

mod choose;
mod environment;
mod inject;
mod metrics;
mod review;
mod serve;
mod trust;

use std::collections::BTreeSet;

use tokio::sync::watch;

use crate::supply::View;

pub use inject::{Settings, VOLUMES};
pub use metrics::Metrics;
pub use serve::{Door, Served};
pub use trust::{Trust, keep};

/// Where the API server sends pods.
pub const PATH: &str = "/inject";

/// Name of the proxy among the containers of a pod.
pub const CONTAINER: &str = "switchyard-proxy";

/// Namespaces whose pods are left alone whatever the configuration says: the cluster must come up without us. (The chart leaves
/// out the operator's own too.)
const NEVER: [&str; 2] = ["kube-system", "kube-node-lease"];

/// What an answer depends on besides the pod.
#[derive(Clone)]
pub struct Known {
    /// Pools and chains.
    pub view: View,
    /// Whether all of them have been seen.
    pub synced: watch::Receiver<bool>,
    /// What does not depend on the pool.
    pub settings: Settings,
    /// Namespaces whose pods are left alone.
    pub excluded: BTreeSet<String>,
}

impl Known {
    /// With what does not change.
    pub fn new(view: View, synced: watch::Receiver<bool>, settings: Settings) -> Self {
        Self {
            view,
            synced,
            settings,
            excluded: NEVER.map(ToOwned::to_owned).into(),
        }
    }
}
