//! The wire, as generated from `proto/discovery.proto` and `proto/report.proto`, and what both ends must agree on besides.

#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod discovery {
    tonic::include_proto!("envoy.service.discovery.v3");
}

pub mod report {
    tonic::include_proto!("switchyard.report.v1");
}

/// What is subscribed to: all resources of a snapshot, so that one response carries one consistent change.
pub const SNAPSHOT_TYPE: &str = "type.switchyard.dev/snapshot.v1.Resource";

pub const POOL_TYPE: &str = "type.switchyard.dev/snapshot.v1.Pool";
pub const LISTENER_TYPE: &str = "type.switchyard.dev/snapshot.v1.Listener";
pub const CHAIN_TYPE: &str = "type.switchyard.dev/snapshot.v1.Chain";
/// A pool that is gossiped with.
pub const PEERS_TYPE: &str = "type.switchyard.dev/snapshot.v1.Peers";

/// Details of a refusal.
pub const BAD_REQUEST_TYPE: &str = "type.googleapis.com/google.rpc.BadRequest";

/// The largest request: names, versions and reasons, or one report.
pub const LARGEST_REQUEST: usize = 16 << 20;

/// The largest response: a new proxy gets all of its pool in one. About 40,000 chains.
pub const LARGEST_RESPONSE: usize = 64 << 20;
