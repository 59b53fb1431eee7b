//! Types that both kinds use: durations, references, and the schemas of addresses, names and ports.

mod duration;
mod reference;
pub(crate) mod schema;

pub use duration::{Duration, ParseDurationError};
pub use reference::SecretRef;
