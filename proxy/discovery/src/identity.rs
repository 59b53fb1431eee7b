//! Who is at the other end of a connection between operator and proxy, or agent and proxy.
//!
//! In: certificates and keys, a clock, the files of a pod. Out: TLS at both ends whose certificates are renewed while
//! connections live on, and in each request of a connection the [`PeerIdentity`](crate::peer::PeerIdentity) that its
//! certificate proves.
//!
//! - [`Authority`] signs; [`Bundle`] is whom to trust; [`Credential`] is a key with its certificate.
//! - [`server`]: accepts TLS; a client certificate is asked for, and [`server::require_identity`] insists on one.
//! - [`client`]: exchanges the pod's token for a certificate and keeps it fresh.
//! - [`proto`]: the exchange, as generated from `proto/identity.proto`.
//!
//! Keys are never printed and never written: what holds one has no `Debug` of its contents.

mod authority;
mod bundle;
mod certificate;
pub mod client;
mod name;
pub mod proto;
mod request;
pub mod server;

pub use authority::{Authority, AuthorityError, AuthorityPem, MAX_LEAF_LIFETIME};
pub use bundle::{Bundle, BundleError};
pub use certificate::{Claim, Credential, Validity};
pub use name::{NotAnIdentity, identity_of, uri_of};
pub use request::{KeyRequest, RequestError};

#[cfg(test)]
mod tests;
