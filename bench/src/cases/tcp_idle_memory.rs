//! User-space memory per idle relayed connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Case, Front, Sample, Subject};
use crate::load::exchange::{Exchange, Plan, Speech, Then};
use crate::load::{Driver, LoadError, Traffic};
use crate::measure::{Memory, Processes};

pub(super) const CASE: Case = Case {
    name: "tcp-idle-memory",
    unit: "B/connection",
    about: "growth of the proportional set size per idle connection that has carried one byte each way",
    front: Front::Tcp,
    measure,
};

/// How often memory is looked at until it rests, and how long at most.
const LOOK: Duration = Duration::from_millis(100);
const SETTLE: Duration = Duration::from_secs(2);

fn measure(subject: &Subject<'_>) -> Result<Sample, LoadError> {
    let clients = subject.options.idle;
    let plan = Plan {
        target: subject.running.address(),
        clients: 0,
        speech: Speech::Opaque(1, 1),
        then: Then::Hold,
    };
    let mut nobody = Driver::start(Exchange::new(plan, subject.backend), subject.stop)?;
    let processes = subject.running.processes()?;
    let before = settled(&mut nobody, &processes)?;

    let plan = Plan { clients, ..plan };
    let mut everybody = Driver::start(Exchange::new(plan, subject.backend), subject.stop)?;
    everybody.run_until(clients.into(), Duration::from_secs(20))?;
    let after = settled(&mut everybody, &processes)?;
    processes.unchanged()?;

    let per_connection = |after: u64, before: u64| (after as f64 - before as f64) / f64::from(clients);
    let details = BTreeMap::from([
        ("connections", f64::from(clients)),
        ("rss_per_connection", per_connection(after.rss, before.rss)),
        (
            "anonymous_per_connection",
            per_connection(after.anonymous, before.anonymous),
        ),
        ("pss_before", before.pss as f64),
        ("pss_after", after.pss as f64),
        ("rss_before", before.rss as f64),
        ("rss_after", after.rss as f64),
    ]);
    Ok(Sample {
        cost: per_connection(after.pss, before.pss),
        busy: None,
        details,
    })
}

/// Memory once it has not changed between two looks, while connections are still served.
fn settled<T: Traffic>(driver: &mut Driver<'_, T>, processes: &Processes) -> Result<Memory, LoadError> {
    let deadline = Instant::now() + SETTLE;
    let mut memory = processes.memory()?;
    loop {
        driver.run_for(LOOK)?;
        let now = processes.memory()?;
        if now == memory || Instant::now() >= deadline {
            return Ok(now);
        }
        memory = now;
    }
}
