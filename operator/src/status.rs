//! What users are told of their objects. In: objects, what the compile step said of them, what is published, what proxies run,
//! refuse and report, what the workloads are like. Out: conditions, columns and events; at most one write per object and
//! second, only where something changed, only by the leader.
//!
//! ```text
//!  watches, compile, publisher, workloads ─► Board ─┐
//!                                                   ├─► driver ─► queue (when?) ─► fold (what?) ─► patch, events
//!  stream: Activity ─► Proxies (who runs what?) ────┘
//! ```
//!
//! A fold is a pure function of everything that is known at the moment of writing; what changed in between is folded once.
//! Its base is the object's newest status, so a new leader goes on where the last one stopped.

mod board;
mod chain;
mod conditions;
mod counters;
mod desk;
mod driver;
mod events;
mod fleet;
mod pool;
mod proxies;
mod workload;
mod writer;

pub use board::{Board, Object, Verdict};
pub use counters::Counters;
pub use driver::{Parts, run};
pub use workload::{Reach, Workload, reach};

#[cfg(test)]
mod fixture;
