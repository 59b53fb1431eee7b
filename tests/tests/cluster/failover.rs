//! As a new user would: the example of a primary and a standby, applied as it stands but for the names of the servers; what
//! `kubectl` says at each step; and clients that never stop.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_tests::backend::{Backend, Mode, Nginx};
use switchyard_tests::client::{Load, LoadPlan};
use switchyard_tests::cluster::Space;
use switchyard_tests::cluster::node::NAMESERVER;
use switchyard_tests::dns::{DnsServer, Kind};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::suite::Suite;

use crate::world::{SOON, World, alone};

pub fn add(suite: &mut Suite, world: &Arc<World>) {
    alone(suite, world, "failover::the_example_does_what_it_says", example);
}

/// A server of the example: it says its name at port 1650, and that it is well at port 8080.
struct Server {
    line: Backend,
    health: Nginx,
}

impl Server {
    fn start(host: &Host) -> Self {
        Self {
            line: Backend::start(host, 1650, Mode::ClientFirst),
            health: Nginx::start(host, 8080),
        }
    }
}

/// The example as it stands, but for the domain of its servers; awaits that it serves.
fn apply<'a>(lab: &Lab, world: &'a World) -> Space<'a> {
    let space = world.space("failover");
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .with_file_name("examples")
        .join("failover.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.replace("corp.example", "example.test");
    assert!(text.contains("sync-1.example.test"), "{text}");
    space.apply(&text);
    space.wait("proxypool/sync", "Ready", SOON);
    space.wait("proxychain/sync", "Ready", SOON);
    space.await_rollout("deployment/sync", SOON);
    space.await_ways("sync", &[("sync", 8443)], SOON);
    lab.say(format!(
        "ready after {:.1?}\n{}",
        lab.age(),
        space.kubectl(&["get", "pp,pch"])
    ));
    space
}

fn example(lab: &Lab, world: &World) {
    let cluster = world.with_operator();
    let (first, second) = (cluster.outside("sync-1", 31), cluster.outside("sync-2", 32));
    let number = NAMESERVER.rsplit('.').next().unwrap().parse().unwrap();
    let _dns = DnsServer::start(&cluster.outside("dns", number), Kind::Bind, |zone| {
        for host in [&first, &second] {
            zone.set(host.name(), 5, &[format!("A {}", host.ip())]);
        }
    });
    let mut primary = Server::start(&first);
    let standby = Server::start(&second);

    let space = apply(lab, world);
    let load = Load::start(cluster.control(), LoadPlan::new(space.service("sync", 8443), 50));
    eventually("the primary serves", SOON, || match load.so_far().len() {
        0..100 => Err("few connections yet".to_owned()),
        _ => Ok(()),
    });
    let before = Instant::now();
    primary.line.kill();
    let after = Instant::now();
    space.kubectl(&[
        "wait",
        "--for=condition=PrimaryActive=False",
        "proxychain/sync",
        "--timeout=30s",
    ]);
    space.kubectl(&[
        "wait",
        "--for=jsonpath={.status.active.backend}=standby",
        "proxychain/sync",
        "--timeout=30s",
    ]);
    let shown = space.kubectl(&["get", "pch"]);
    assert!(shown.contains("standby"), "{shown}");
    lab.say(shown);
    let events = eventually("an event tells of it", SOON, || {
        let events = space.kubectl(&["get", "events"]);
        if events.contains("FailedOver") {
            Ok(events)
        } else {
            Err(events)
        }
    });
    lab.say(events);
    primary.line.revive();
    // Sticky: the primary comes back, and the standby goes on.
    eventually("the primary is well again", SOON, || {
        let told = space.kubectl(&["get", "pch", "sync", "-o", "jsonpath={.status.healthy}"]);
        if told == "2/2" { Ok(()) } else { Err(told) }
    });
    let described = space.kubectl(&["describe", "pch", "sync"]);
    assert!(described.contains("OnBackup"), "{described}");
    let seen = load.stop();
    lab.say(seen.to_string());
    // Nobody else has noticed more than a wait.
    seen.must_all_be_served_but_who_was_there(before, after);
    assert!(seen.longest_wait() < Duration::from_secs(5), "{seen}");
    let served = seen.by_name();
    assert_eq!(served.keys().collect::<Vec<_>>(), [first.name(), second.name()]);
    assert!(
        seen.last_begun_to(first.name()) < seen.last_begun_to(second.name()),
        "{seen}"
    );
    drop((primary.health, standby));
}
