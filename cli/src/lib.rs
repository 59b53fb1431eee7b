//! The command line: people and shells on one side, resources and proxies on the other.
//!
//! `run` ─► [`check`] (files to snapshots) ─► proxies; `explain` asks a running one; `demo` shows it all.

pub mod admin_client;
pub mod check;
pub mod demo;
pub mod explain;
pub mod manifest;
pub mod run;
