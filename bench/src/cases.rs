//! What is measured: one module for each case. A new case is a module with a `CASE`, and a line in [`ALL`].

use std::collections::BTreeMap;
use std::net::TcpListener;

use crate::load::{Driver, LoadError, Traffic};
use crate::options::Options;
use crate::proxies::Running;
use crate::stop::Stop;

mod tcp_connection;
mod tcp_gigabyte;
mod tcp_idle_memory;
mod tcp_request;

/// One kind of cost.
#[derive(Debug)]
pub struct Case {
    /// Its name on the command line and in the results.
    pub name: &'static str,
    /// The unit of its cost. Lower is better.
    pub unit: &'static str,
    /// One line for the table's reader.
    pub about: &'static str,
    /// Measures it once.
    pub measure: fn(&Subject<'_>) -> Result<Sample, LoadError>,
}

/// What a case needs: a proxy that was started for it alone, and the means to put load on it.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The proxy.
    pub running: &'a Running,
    /// The backend's listener.
    pub backend: &'a TcpListener,
    /// How and how long.
    pub options: &'a Options,
    /// When to give up.
    pub stop: &'a Stop,
}

/// One measurement.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The cost in the case's unit.
    pub cost: f64,
    /// Share of the window that the proxy was on the CPU, 0 to 1, where the case keeps it busy.
    pub busy: Option<f64>,
    /// Everything else worth keeping.
    pub details: BTreeMap<&'static str, f64>,
}

/// All cases, in the order they are measured and printed.
pub const ALL: [Case; 4] = [
    tcp_request::CASE,
    tcp_connection::CASE,
    tcp_gigabyte::CASE,
    tcp_idle_memory::CASE,
];

/// The case of this name.
pub fn find(name: &str) -> Result<&'static Case, String> {
    let names: Vec<&str> = ALL.iter().map(|case| case.name).collect();
    ALL.iter()
        .find(|case| case.name == name)
        .ok_or_else(|| format!("one of {}", names.join(", ")))
}

/// The CPU time that one unit of work costs while the traffic saturates the proxy. `scale` is the case's unit of cost in
/// seconds over its unit of work.
fn cpu_cost<T: Traffic>(subject: &Subject<'_>, traffic: T, scale: f64) -> Result<Sample, LoadError> {
    let window = subject.options.window();
    let core = subject.options.proxy_core;
    let mut driver = Driver::start(traffic, subject.stop)?;
    // Buffers are grown, pages touched, windows opened.
    driver.run_for(window / 5)?;

    let processes = subject.running.processes()?;
    let (done_before, accepted_before) = (driver.done(), driver.accepted());
    let before = processes.moment(core)?;
    driver.run_for(window)?;
    let (done, accepted) = (driver.done() - done_before, driver.accepted() - accepted_before);
    let after = processes.moment(core)?;
    processes.unchanged()?;

    if done == 0 {
        return Err(LoadError::TooSlow {
            seconds: window.as_secs_f64(),
            done,
            wanted: 1,
        });
    }
    let window = after.since(&before);
    let details = BTreeMap::from([
        ("work", done as f64),
        ("backend_connections", accepted as f64),
        ("wall_seconds", window.wall.as_secs_f64()),
        ("cpu_seconds", window.cpu.as_secs_f64()),
        ("core_idle", window.idle),
    ]);
    Ok(Sample {
        cost: window.cpu.as_secs_f64() / done as f64 * scale,
        busy: Some(window.busy()),
        details,
    })
}
