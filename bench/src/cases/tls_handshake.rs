//! CPU time per connection with a full TLS handshake.

use super::{Case, Front, Sample, Subject, secure_connection};
use crate::load::LoadError;

pub(super) const CASE: Case = Case {
    name: "tls-handshake",
    unit: "µs/connection",
    about: "CPU per connection with a full handshake (TLS 1.3, ECDSA P-256; 100 B there, 200 B back), 64 at a time",
    front: Front::Tls,
    measure,
};

fn measure(subject: &Subject<'_>) -> Result<Sample, LoadError> {
    secure_connection(subject, false)
}
