//! The exchange, as generated from `proto/identity.proto`.

#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

tonic::include_proto!("switchyard.identity.v1");
