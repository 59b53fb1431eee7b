//! Tests in network namespaces, with real DNS servers, real backends, and
//! clients that measure from outside. `tests/README.md` has the ladder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "a test fails by panicking"
)]

use std::process::ExitCode;

use switchyard_tests::suite::Suite;

mod dns;
mod failover;
mod harness;
mod http;
mod redirect;
mod reload;
mod scene;
mod traffic;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    dns::add(&mut suite); // takes longest
    redirect::add(&mut suite);
    failover::add(&mut suite);
    http::add(&mut suite);
    reload::add(&mut suite);
    traffic::add(&mut suite);
    harness::add(&mut suite);
    suite.run()
}
