//! Who is not needed for clients to be served: the operator, and the API server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_tests::client::End;
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;

use crate::edge::Edge;
use crate::world::{SOON, World, alone};

/// How long each is gone.
const OUTAGE: Duration = Duration::from_secs(20);

pub fn add(suite: &mut Suite, world: &Arc<World>) {
    alone(
        suite,
        world,
        "outages::operator_and_api_server_are_gone_while_a_backend_dies",
        gone,
    );
}

fn gone(lab: &Lab, world: &World) {
    // An API server that has just started does not name every kind for a moment: who deletes a namespace then leaves ours in it.
    world.await_cleared();
    let mut edge = Edge::apply(world.space("outage"), 21, "  replicas: 2");
    let cluster = world.with_operator();
    let clients = edge.clients(40);
    world.stop_operators();
    lab.say(format!("the operator is gone after {:.1?}", lab.age()));
    cluster.plane().stop();
    lab.say(format!("the API server is gone after {:.1?}", lab.age()));
    let_pass(OUTAGE / 2);
    // Sessions that it holds end with it: they are its subject.
    let before = Instant::now();
    edge.servers.line[1].kill();
    let after = Instant::now();
    edge.servers.web[1].kill();
    let_pass(OUTAGE / 2);
    edge.servers.line[1].revive();
    edge.servers.web[1].revive();
    cluster.plane().start_again();
    world.start_operators();
    cluster.await_nodes();
    let (seen, sessions) = clients.stop(lab);
    seen.must_all_be_served_but_who_was_there(before, after);
    let dead = edge.servers.line[1].name().to_owned();
    let noticed: Vec<_> = sessions
        .iter()
        .filter(|it| it.served_by.as_ref().is_none_or(|by| by.name != dead))
        .filter(|it| !matches!(it.ended, Some((_, End::Finished))))
        .collect();
    assert!(
        noticed.is_empty(),
        "sessions of the backend that lived: {noticed:#?}"
    );
    edge.space.wait("proxychain/line", "Programmed", SOON);
}
