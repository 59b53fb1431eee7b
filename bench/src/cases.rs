//! What is measured: one module for each case. A new case is a module with a `CASE`, and a line in [`ALL`].

use std::collections::BTreeMap;
use std::net::TcpListener;

use crate::load::exchange::{Exchange, Plan, Speech, Then};
use crate::load::wire::Tls;
use crate::load::{Driver, LoadError, Traffic};
use crate::options::Options;
use crate::proxies::Running;
use crate::stop::Stop;
use crate::tls::Trust;

mod http2_request;
mod http_request;
mod tcp_connection;
mod tcp_gigabyte;
mod tcp_idle_memory;
mod tcp_request;
mod tls_gigabyte;
mod tls_handshake;
mod tls_resume;

/// One kind of cost.
#[derive(Debug)]
pub struct Case {
    /// Its name on the command line and in the results.
    pub name: &'static str,
    /// The unit of its cost. Lower is better.
    pub unit: &'static str,
    /// One line for the table's reader.
    pub about: &'static str,
    /// What the proxy speaks towards its clients.
    pub front: Front,
    /// Measures it once.
    pub measure: fn(&Subject<'_>) -> Result<Sample, LoadError>,
}

/// What a proxy speaks towards its clients; each has a configuration of its own. Towards the backend it is never TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// TCP, whatever it carries.
    Tcp,
    /// HTTP/1.1 and HTTP/2, in the clear.
    Http,
    /// TLS, whatever it carries.
    Tls,
}

/// What a case needs: a proxy that was started for it alone, and the means to put load on it.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The proxy.
    pub running: &'a Running,
    /// The certificate that the proxy serves.
    pub trust: &'a Trust,
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
pub const ALL: [Case; 9] = [
    tcp_request::CASE,
    tcp_connection::CASE,
    tcp_gigabyte::CASE,
    tcp_idle_memory::CASE,
    http_request::CASE,
    http2_request::CASE,
    tls_handshake::CASE,
    tls_resume::CASE,
    tls_gigabyte::CASE,
];

/// The case of this name.
pub fn find(name: &str) -> Result<&'static Case, String> {
    let names: Vec<&str> = ALL.iter().map(|case| case.name).collect();
    ALL.iter()
        .find(|case| case.name == name)
        .ok_or_else(|| format!("one of {}", names.join(", ")))
}

/// The CPU time of a connection with TLS, as `tcp-connection` is in the clear.
fn secure_connection(subject: &Subject<'_>, resume: bool) -> Result<Sample, LoadError> {
    let plan = Plan {
        target: subject.running.address(),
        clients: 64,
        speech: Speech::Opaque(100, 200),
        then: Then::Reopen,
    };
    let wire = Tls::new(subject.trust.clone(), resume);
    cpu_cost(subject, Exchange::over(wire, plan, subject.backend), 1e6)
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
