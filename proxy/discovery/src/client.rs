//! The proxy's side. In: what the operator sends. Out: the snapshot that shall run ([`Mirror`], pure), answers and reports
//! ([`Session`], one connection).
//!
//! Whoever uses this takes a response into the mirror, applies the mirror's snapshot, and answers with everything that
//! does not run. A mirror outlives its sessions: the next one resumes from what is held, and [`struct@Copy`] resumes it
//! after a restart.

mod copy;
mod mirror;
mod session;

pub use copy::{Copy, CopyError};
pub use mirror::{Mirror, MirrorError, NotRunning};
pub use session::{ConnectError, Me, Session, SessionError, connect};
