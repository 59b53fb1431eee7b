//! CPU time per gigabyte (10⁹ bytes) with TLS towards the clients, half of it in each direction.

use super::{Case, Front, Sample, Subject, cpu_cost};
use crate::load::LoadError;
use crate::load::stream::{Plan, Stream};

pub(super) const CASE: Case = Case {
    name: "tls-gigabyte",
    unit: "s/GB",
    about: "CPU per 10⁹ bytes, TLS towards the clients, on 2 connections downwards and 2 upwards at once",
    front: Front::Tls,
    measure,
};

fn measure(subject: &Subject<'_>) -> Result<Sample, LoadError> {
    let plan = Plan {
        target: subject.running.address(),
        each_way: 2,
        tls: Some(subject.trust.clone()),
    };
    cpu_cost(subject, Stream::new(plan, subject.backend), 1e9)
}
