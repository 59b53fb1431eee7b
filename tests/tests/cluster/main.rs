//! Trials on real nodes: kubelets, containerd, kube-proxy, cluster DNS, and ours installed by the chart.
//! `tests/README.md` has the ladder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "a test fails by panicking"
)]

use std::process::ExitCode;
use std::sync::Arc;

use switchyard_tests::cluster;
use switchyard_tests::suite::Suite;

mod command;
mod edge;
mod failover;
mod faults;
mod outages;
mod redirect;
mod release;
mod rollout;
mod sidecar;
mod smoke;
mod world;

use world::World;

/// Trials at a time that need not be alone: they share two nodes and their processors.
const AT_A_TIME: usize = 4;

fn main() -> ExitCode {
    let mut suite = Suite::new().needing(cluster::lacking()).at_a_time(AT_A_TIME);
    // It lives as long as the last trial that may want it, and is stopped below.
    let world = Arc::new(World::default());
    redirect::add(&mut suite, &world);
    faults::add(&mut suite, &world);
    smoke::add(&mut suite, &world);
    command::add(&mut suite, &world);
    sidecar::add(&mut suite, &world);
    release::add(&mut suite, &world);
    failover::add(&mut suite, &world);
    rollout::add(&mut suite, &world);
    outages::add(&mut suite, &world);
    release::add_last(&mut suite, &world);
    let code = suite.run();
    drop(world);
    code
}
