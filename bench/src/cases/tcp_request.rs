//! CPU time per request and response on connections that stay open.

use super::{Case, Front, Sample, Subject, cpu_cost};
use crate::load::LoadError;
use crate::load::exchange::{Exchange, Plan, Speech, Then};

pub(super) const CASE: Case = Case {
    name: "tcp-request",
    unit: "µs/request",
    about: "CPU per request (100 B there, 200 B back) on 64 connections that stay open",
    front: Front::Tcp,
    measure,
};

fn measure(subject: &Subject<'_>) -> Result<Sample, LoadError> {
    let target = subject.running.address();
    let plan = Plan {
        target,
        clients: 64,
        speech: Speech::Opaque(100, 200),
        then: Then::Repeat,
    };
    cpu_cost(subject, Exchange::new(plan, subject.backend), 1e6)
}
