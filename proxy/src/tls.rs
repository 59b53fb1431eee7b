//! TLS that ends here, towards clients and towards backends. In: certificates and keys of a snapshot, connected sockets.
//! Out: streams of what is inside, or what was wrong in words.
//!
//! - [`Server`] opens what clients send: one per listener and configuration, made before the configuration is in force, so
//!   that a handshake finds everything ready and takes no lock. Open connections keep theirs.
//! - [`Clients`] opens connections to backends: one configuration per backend and worker, so that workers share no cache
//!   of sessions.
//! - [`Keeper`] makes servers, remembers those whose configuration did not change, and says which entries of a snapshot
//!   cannot be used.

mod certificates;
mod client;
mod keeper;
mod opened;
mod pem;
mod server;
mod tickets;
mod words;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub(crate) use client::{Clients, Inside, secure};
pub(crate) use keeper::Keeper;
pub(crate) use opened::Opened;
pub(crate) use server::{Server, Unopened};
pub(crate) use tickets::hex;

/// The one provider, named wherever a configuration is made: what the process's default is does not matter.
fn provider() -> Arc<CryptoProvider> {
    static RING: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    Arc::clone(&RING)
}

#[cfg(test)]
mod tests;
