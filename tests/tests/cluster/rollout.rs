//! Changes of what runs, under clients that never stop: no new connection and no request fails, sessions leave in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_tests::apiserver::User;
use switchyard_tests::client::End;
use switchyard_tests::cluster::images;
use switchyard_tests::eventually::eventually;
use switchyard_tests::helm::{self, Helm};
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;

use crate::edge::{Clients, DRAIN, Edge, PRE_STOP};
use crate::world::{RELEASE, SOON, World, alone};

/// For a rollout: a few pods, one after the other.
const ROLLOUT: Duration = Duration::from_mins(3);
/// Sessions that stay.
const SESSIONS: usize = 40;

pub fn add(suite: &mut Suite, world: &Arc<World>) {
    alone(
        suite,
        world,
        "rollout::pool_and_operator_are_upgraded_under_load",
        upgrade,
    );
    alone(suite, world, "rollout::a_pool_is_scaled_under_load", scale);
    alone(suite, world, "rollout::a_node_is_drained_under_load", drain);
}

fn upgrade(lab: &Lab, world: &World) {
    let edge = Edge::apply(world.space("upgrade"), 21, "  replicas: 2");
    let cluster = edge.space.cluster();
    for node in cluster.workers() {
        node.tag(images::PROXY, "switchyard/proxy:next");
        node.tag(images::OPERATOR, "switchyard/operator:next");
    }
    let clients = edge.clients(SESSIONS);
    let patch = r#"{"spec": {"workload": {"image": "switchyard/proxy:next"}}}"#;
    edge.space
        .kubectl(&["patch", "proxypool/edge", "--type=merge", "-p", patch]);
    edge.space.kubectl(&[
        "wait",
        "--for=jsonpath={.spec.template.spec.containers[0].image}=switchyard/proxy:next",
        "deployment/edge",
        "--timeout=30s",
    ]);
    edge.space.await_rollout("deployment/edge", ROLLOUT);
    lab.say(format!("the pool is upgraded after {:.1?}", lab.age()));
    await_departure(&clients);
    let limit = format!("--timeout={}s", ROLLOUT.as_secs());
    Helm::of(&cluster.plane().kubeconfig(&User::Admin)).run(&[
        "upgrade",
        RELEASE,
        &helm::chart().to_string_lossy(),
        "--namespace",
        RELEASE,
        "--reuse-values",
        "--set=image.tag=next",
        "--wait",
        &limit,
    ]);
    // The old leader leads until it ends, and makes pools as it knows them.
    eventually("the old operators are gone", SOON, || {
        match world.operators().as_slice() {
            [_, _] => Ok(()),
            more => Err(format!("{more:?}")),
        }
    });
    lab.say(format!("the operator is upgraded after {:.1?}", lab.age()));
    let sessions = clients.must_not_have_noticed(lab);
    let by_fin = sessions
        .iter()
        .filter(|it| matches!(it.ended, Some((_, End::Fin))))
        .count();
    assert_eq!(
        by_fin, SESSIONS,
        "each session was told to leave by FIN: {sessions:#?}"
    );
    edge.space.wait("proxypool/edge", "Programmed", SOON);
}

fn scale(lab: &Lab, world: &World) {
    let edge = Edge::apply(world.space("scale"), 21, "  replicas: 2");
    let clients = edge.clients(SESSIONS);
    for replicas in [5, 1] {
        edge.space
            .kubectl(&["scale", "proxypool/edge", &format!("--replicas={replicas}")]);
        let wanted = format!("--for=jsonpath={{.status.readyReplicas}}={replicas}");
        edge.space
            .kubectl(&["wait", &wanted, "deployment/edge", "--timeout=120s"]);
        await_pods(&edge, replicas);
        lab.say(format!("{replicas} after {:.1?}", lab.age()));
    }
    let sessions = clients.must_not_have_noticed(lab);
    let fine = |end: &End| matches!(end, End::Fin | End::Finished);
    let odd: Vec<_> = sessions
        .iter()
        .filter(|it| !it.ended.as_ref().is_some_and(|(_, end)| fine(end)))
        .collect();
    assert!(odd.is_empty(), "{odd:#?}");
}

fn drain(lab: &Lab, world: &World) {
    let edge = Edge::apply(world.space("drain"), 21, "  replicas: 2");
    let cluster = edge.space.cluster();
    let clients = edge.clients(SESSIONS);
    let begun = Instant::now();
    cluster.plane().kubectl(&[
        "drain",
        "node-1",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--timeout=180s",
    ]);
    lab.say(format!("the node is drained after {:.1?}", begun.elapsed()));
    cluster.plane().kubectl(&["uncordon", "node-1"]);
    edge.space.await_rollout("deployment/edge", ROLLOUT);
    let sessions = clients.must_not_have_noticed(lab);
    let left: Vec<_> = sessions
        .iter()
        .filter_map(|it| it.ended.clone())
        .filter(|(_, end)| *end != End::Finished)
        .collect();
    let latest = left
        .iter()
        .map(|(at, _)| at.saturating_duration_since(begun))
        .max()
        .unwrap_or_default();
    lab.say(format!(
        "{} of {SESSIONS} sessions left, the last after {latest:.1?}",
        left.len()
    ));
    assert!(!left.is_empty(), "one proxy was on the node");
    assert!(left.iter().all(|(_, end)| *end == End::Fin), "{left:?}");
    assert!(latest < PRE_STOP + DRAIN + Duration::from_secs(10), "{latest:?}");
}

/// Every session was on a proxy that goes: awaits that all have left, within the time they have.
fn await_departure(clients: &Clients) {
    let within = PRE_STOP + DRAIN + Duration::from_secs(10);
    eventually(
        "sessions of the old proxies have left",
        within,
        || match clients.sessions.open_now() {
            0 => Ok(()),
            open => Err(format!("{open} are there")),
        },
    );
}

fn await_pods(edge: &Edge<'_>, count: usize) {
    let within = PRE_STOP + DRAIN + SOON;
    eventually("no other pod is there", within, || {
        let pods = edge.space.pods("switchyard.dev/pool=edge").len();
        if pods == count {
            Ok(())
        } else {
            Err(format!("{pods}"))
        }
    });
}
