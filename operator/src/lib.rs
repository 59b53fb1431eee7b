//! Kubernetes resources to workloads and snapshots.
//!
//! In: the user's `ProxyPool`s and `ProxyChain`s, checked against their schemas. Out: for each pool the snapshot that its
//! proxies run, and in words what could not be used and why ([`compile`]).

pub mod app;
pub mod args;
pub mod compile;
pub mod context;
pub mod lease;
