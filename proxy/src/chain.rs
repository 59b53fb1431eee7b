//! One chain as a running thing. In: events (what resolver, monitors, live traffic and the user say). Out: a
//! [`view::View`] that data workers read without a lock, and orders that edges carry out.

pub mod event;
#[cfg(test)]
pub(crate) mod fixture;
pub mod handle;
pub mod state;
pub mod task;
pub mod view;
