//! The user's API: `ProxyPool` and `ProxyChain`.
//!
//! In: manifests, from the API server or from files. Out: typed specs for the compile step, and the definitions that
//! `kubectl apply -f crds/` installs.

#![allow(
    clippy::doc_markdown,
    reason = "field docs are what `kubectl explain` prints: plain words"
)]

pub mod common;
pub mod condition;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod kind;
pub mod manifest;
pub mod offline;
pub mod proxychain;
pub mod proxypool;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use common::{Duration, SecretRef};
pub use condition::{ConditionType, EventReason, Reason};
pub use kind::Kind;
pub use proxychain::{ProxyChain, ProxyChainSpec, ProxyChainStatus};
pub use proxypool::{ProxyPool, ProxyPoolSpec, ProxyPoolStatus};

/// The API group of both kinds.
pub const GROUP: &str = "switchyard.dev";

/// The API version of both kinds.
pub const VERSION: &str = "v1alpha1";

/// The definitions of both kinds, as the API server takes them.
pub fn all_crds() -> [CustomResourceDefinition; 2] {
    let mut crds = [ProxyPool::crd(), ProxyChain::crd()];
    for crd in &mut crds {
        not_null(crd);
    }
    crds
}

/// An absent status is absent, not null; the derived root type says otherwise.
fn not_null(crd: &mut CustomResourceDefinition) {
    let schemas = crd
        .spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    for properties in schemas.filter_map(|schema| schema.properties.as_mut()) {
        for property in properties.values_mut() {
            property.nullable = None;
        }
    }
}

#[cfg(test)]
mod tests;
