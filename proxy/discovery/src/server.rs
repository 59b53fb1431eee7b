//! The operator's side. In: one snapshot per pool after the other ([`Publisher`]), and connections of proxies whose
//! identity the transport has verified. Out: to each proxy what it lacks of its own pool and nothing else; to the
//! operator one bounded channel of [`Activity`].
//!
//! ```text
//!  Publisher ──watch──► session (a task per proxy) ──► subscriber (pure) ──► responses
//!                          │  ▲                            │
//!  Activity ◄──────────────┘  └── answers, reports ◄───────┘
//! ```

mod activity;
mod publication;
mod publisher;
mod serve;
mod service;
mod session;
mod sessions;
mod subscriber;

pub use activity::{Activity, ProxyId, What};
pub use publication::PublishError;
pub use publisher::Publisher;
pub use serve::{ServeError, serve};
pub use service::{Server, ServerConfig};

/// The pure half, for tests against the other one.
#[cfg(test)]
pub(crate) mod wire {
    pub(crate) use super::publication::Publication;
    pub(crate) use super::session::{answer, response};
    pub(crate) use super::subscriber::Subscriber;
}
