//! The data plane: one proxy of one pool.
//!
//! In: a [`switchyard_snapshot::Snapshot`] and clients. Out: relayed connections to backends that live, and what is
//! believed about them. The way of a connection, left to right:
//!
//! ```text
//!  listener ─► detect ─► route ─► chain (view) ─► pick ─► connect ─► relay        data workers, no lock
//!                                   ▲                        │
//!                                   │ views          feedback│
//!  resolve ──┐                      │                        ▼
//!  monitor ──┴── events ──► chain::state (pure) ──► endpoints, failover           control runtime
//! ```

pub mod access_log;
pub mod admin;
pub mod affinity;
pub mod app;
pub mod chain;
pub mod clock;
mod connect;
pub mod counters;
pub mod detect;
pub mod dialect;
pub mod drain;
pub mod ejection;
pub mod endpoint;
pub mod failover;
pub mod followers;
pub mod gossip;
mod guest;
pub mod http;
mod listener;
pub mod logging;
pub mod metrics;
pub mod monitor;
pub mod pace;
pub mod pick;
pub mod presence;
pub mod proxy_protocol;
pub mod redirect;
mod relay;
pub mod report;
pub mod resolve;
pub mod route;
pub mod run;
pub mod session;
pub mod signals;
pub mod socket;
pub mod state_dir;
pub mod stream;
pub mod tasks;
mod tls;
pub mod verdict;
mod wire;
pub mod worker;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod testing;
