//! Tests against a real API server. `tests/README.md` has the ladder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "a test fails by panicking"
)]

use std::process::ExitCode;

use switchyard_tests::apiserver::programs;
use switchyard_tests::suite::Suite;

mod certificates;
mod chart;
mod definitions;
mod harness;
mod identity;
mod leadership;
mod outage;
mod rbac;
mod ready;
mod redirect;
mod release;
mod reports;
mod rights;
mod shared;
mod sidecars;
mod site;
mod steady;
mod stream;
mod succession;
mod tls_secrets;
mod tls_tickets;
mod workloads;

use shared::Shared;

fn main() -> ExitCode {
    let mut suite = Suite::new().needing(programs::lacking());
    // It lives as long as the last test that may want it, and is stopped below.
    let shared = Shared::new();
    steady::add(&mut suite, &shared); // takes longest
    chart::add(&mut suite, &shared);
    outage::add(&mut suite, &shared);
    certificates::add(&mut suite, &shared);
    // They measure how long a takeover takes: a machine that runs everything else beside them says nothing about that.
    if std::env::var_os("SWITCHYARD_SOAK").is_some() {
        succession::add(&mut suite, &shared);
    }
    reports::add(&mut suite, &shared);
    stream::add(&mut suite, &shared);
    tls_secrets::add(&mut suite, &shared);
    tls_tickets::add(&mut suite, &shared);
    redirect::add(&mut suite, &shared);
    sidecars::add(&mut suite, &shared);
    ready::add(&mut suite, &shared);
    release::add(&mut suite, &shared);
    identity::add(&mut suite, &shared);
    rbac::add(&mut suite, &shared);
    definitions::add(&mut suite, &shared);
    harness::add(&mut suite, &shared);
    workloads::add(&mut suite, &shared);
    leadership::add(&mut suite, &shared);
    tls_secrets::add_alone(&mut suite, &shared);
    let code = suite.run();
    drop(shared);
    code
}
