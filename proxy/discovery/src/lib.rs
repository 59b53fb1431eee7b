//! How snapshots reach proxies and reports come back. In, at the operator: one [`switchyard_snapshot::Snapshot`] per
//! pool after the other. Out, at each proxy of the pool: the same snapshot, piece by piece and only what changed; and
//! back at the operator: what each proxy runs, refuses and believes.
//!
//! ```text
//!  operator                                                                    proxy
//!  publish ─► Publication ─► Subscriber (pure) ─► gRPC ─► Mirror (pure) ─► snapshot ─► applied
//!  Activity ◄─ acknowledged, refused with reasons ◄─────── answer ◄──────────────────────┘
//!           ◄─ Report ◄───────────────────────────────────────────────────────────────────
//! ```
//!
//! Who is at the other end is known by certificate: [`identity`].
//!
//! The wire is the incremental, aggregated discovery protocol of Envoy (xDS, `DeltaAggregatedResources`) with our own
//! resource types. All pieces of a snapshot are one subscription, so that one response carries one consistent change.

mod causes;
pub mod client;
mod hash;
pub mod identity;
mod names;
pub mod peer;
mod proto;
pub mod relay;
pub mod release;
pub mod server;

pub use hash::Hash;

#[cfg(test)]
mod tests;
