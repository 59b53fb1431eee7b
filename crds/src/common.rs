//! Types that both kinds use: durations, references, and the schemas of addresses, names and ports.

mod duration;
pub(crate) mod form;
mod reference;
pub(crate) mod rules;
pub(crate) mod schema;
pub(crate) mod structural;

pub use duration::{Duration, ParseDurationError};
pub use reference::SecretRef;

/// Ports of Switchyard itself, which no listener may take: webhook, agent DNS, admin, discovery, metrics of the pod, gossip.
pub const OWN_PORTS: [u16; 6] = [9443, 15353, 17000, 17010, 17020, 17946];
