//! CPU time per HTTP/1.1 request on connections that stay open, towards clients and backend.

use super::{Case, Front, Sample, Subject, cpu_cost};
use crate::load::LoadError;
use crate::load::exchange::{Exchange, Plan, Speech, Then};

pub(super) const CASE: Case = Case {
    name: "http-request",
    unit: "µs/request",
    about: "CPU per HTTP/1.1 request (GET, a response with 200 B), 64 clients with keep-alive",
    front: Front::Http,
    measure,
};

fn measure(subject: &Subject<'_>) -> Result<Sample, LoadError> {
    let plan = Plan {
        target: subject.running.address(),
        clients: 64,
        speech: Speech::Http(200),
        then: Then::Repeat,
    };
    cpu_cost(subject, Exchange::new(plan, subject.backend), 1e6)
}
