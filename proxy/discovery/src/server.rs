//! The operator's side. In: one snapshot per pool after the other ([`Publisher`]), and connections of proxies whose
//! identity the transport has verified. Out: to each proxy what it lacks of its own pool and nothing else; to the
//! operator one bounded channel of [`Activity`].

mod activity;
mod publication;
mod publisher;
mod subscriber;

pub use activity::{Activity, ProxyId, What};
pub use publication::PublishError;
pub use publisher::Publisher;
