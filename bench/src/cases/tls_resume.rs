//! CPU time per connection with a TLS handshake that a ticket shortens.

use super::{Case, Front, Sample, Subject, secure_connection};
use crate::load::LoadError;

pub(super) const CASE: Case = Case {
    name: "tls-resume",
    unit: "µs/connection",
    about: "CPU per connection with a resumed handshake (TLS 1.3 tickets; 100 B there, 200 B back), 64 at a time",
    front: Front::Tls,
    measure,
};

fn measure(subject: &Subject<'_>) -> Result<Sample, LoadError> {
    secure_connection(subject, true)
}
