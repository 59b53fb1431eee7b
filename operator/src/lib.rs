//! Kubernetes resources to workloads and snapshots.
//!
//! In: the user's `ProxyPool`s and `ProxyChain`s, checked against their schemas. Out: for each pool the snapshot that its
//! proxies run, and in words what could not be used and why ([`compile`]).
//!
//! In a cluster, from left to right: [`watch`] → [`index`] → [`compile`] → [`supply`] → the stream; [`controller`] makes what
//! runs proxies; [`status`] tells how it went. [`lease`] says which replica may write, [`identity`] who may read;
//! [`webhook`] puts proxies into the pods that ask for one.

pub mod admin;
pub mod app;
pub mod apply;
pub mod args;
pub mod check;
pub mod compile;
pub mod context;
pub mod controller;
pub mod endpoints;
pub mod identity;
pub mod index;
pub mod lease;
pub mod metrics;
pub mod pods;
pub mod scope;
pub mod secrets;
pub mod serving;
pub mod sidecar;
pub mod status;
pub mod supply;
pub mod tasks;
pub mod verdicts;
pub mod watch;
pub mod webhook;
pub mod written;

/// The one field manager of everything the operator applies, and the name under which it reports events.
pub const FIELD_MANAGER: &str = "switchyard-operator";
