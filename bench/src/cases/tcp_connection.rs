//! CPU time per connection: accepted, connected to the backend, one request and response, closed by the client.

use super::{Case, Front, Sample, Subject, cpu_cost};
use crate::load::LoadError;
use crate::load::exchange::{Exchange, Plan, Speech, Then};

pub(super) const CASE: Case = Case {
    name: "tcp-connection",
    unit: "µs/connection",
    about: "CPU per connection (one request of 100 B, 200 B back, the client closes), 64 at a time",
    front: Front::Tcp,
    measure,
};

fn measure(subject: &Subject<'_>) -> Result<Sample, LoadError> {
    let target = subject.running.address();
    let plan = Plan {
        target,
        clients: 64,
        speech: Speech::Opaque(100, 200),
        then: Then::Reopen,
    };
    cpu_cost(subject, Exchange::new(plan, subject.backend), 1e6)
}
