//! CPU time per HTTP/2 request, many at once on few connections, towards a backend that speaks HTTP/1.1.

use super::{Case, Front, Sample, Subject, cpu_cost};
use crate::load::LoadError;
use crate::load::http2::{Http2, Plan};

pub(super) const CASE: Case = Case {
    name: "http2-request",
    unit: "µs/request",
    about: "CPU per HTTP/2 request (GET, a response with 200 B; no TLS), 4 clients with 25 requests at a time each",
    front: Front::Http,
    measure,
};

fn measure(subject: &Subject<'_>) -> Result<Sample, LoadError> {
    let plan = Plan {
        target: subject.running.address(),
        clients: 4,
        streams: 25,
        body: 200,
    };
    cpu_cost(subject, Http2::new(plan, subject.backend), 1e6)
}
