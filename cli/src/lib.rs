//! The command line: people and shells on one side, resources and proxies on the other.
//!
//! `run` ─► [`check`] (files to snapshots) ─► proxies; `explain`, `status` and `table` ask running ones (or a cluster); `drain`,
//! `return` and `switch` tell them something; `demo` shows it all.

pub mod admin_client;
pub mod check;
pub mod cluster;
pub mod demo;
pub mod explain;
pub mod manifest;
pub mod orders;
pub mod output;
pub mod proxies;
pub mod run;
pub mod status;
pub mod switch;
pub mod table;
