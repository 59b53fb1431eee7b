//! What an administrator types while a site is gone: `switchyard` finds the proxies of the cluster by its kubeconfig, and speaks to
//! them as `kubectl port-forward` does.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use switchyard_tests::apiserver::User;
use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{End, Load, LoadPlan, Session, SessionPlan, Sessions};
use switchyard_tests::cluster::Space;
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::{switchyard, tool};

use crate::redirect::{apply_sites, await_redirect_of_here};
use crate::world::{SOON, World, beside};

/// Sessions of guests.
const GUESTS: usize = 5;

pub fn add(suite: &mut Suite, world: &Arc<World>) {
    beside(suite, world, "command::who_stands_in_why_return_and_drain", typed);
}

/// `switchyard ARGUMENTS -n NAMESPACE`, where kubectl would be typed.
fn run(lab: &Lab, space: &Space<'_>, arguments: &[&str]) -> String {
    let mut command = Command::new(switchyard::program());
    let kubeconfig = space.cluster().plane().kubeconfig(&User::Admin);
    command.env("KUBECONFIG", kubeconfig);
    command.args(arguments).args(["-n", &space.name]);
    let said = tool::output(&mut command);
    lab.say(format!("$ switchyard {}\n{said}", arguments.join(" ")));
    said
}

fn typed(lab: &Lab, world: &World) {
    let space = world.space("typed");
    let cluster = space.cluster();
    let mut here = Backend::start(&cluster.outside("c1", 61), 1650, Mode::ClientFirst);
    let there = Backend::start(&cluster.outside("c2", 62), 1650, Mode::ClientFirst);
    let more = "  redirect: {return: OnDemand, minStay: 1s}";
    apply_sites(&space, [("here", &here), ("there", &there)], more);
    let load = Load::start(cluster.control(), LoadPlan::new(space.service("here", 8443), 20));
    let said = run(lab, &space, &["explain", &here.address().to_string(), "here"]);
    assert!(said.contains("served: monitor tcp:1650 passes"), "{said}");
    let before = Instant::now();
    here.kill();
    let after = Instant::now();
    await_redirect_of_here(&space, true);
    // It is looked at anew: for a moment the other proxy may be suspected, and then nothing is known for sure.
    let headline = format!("its clients go to {}/there", space.name);
    eventually("the table says where its clients go, and why", SOON, || {
        let said = run(lab, &space, &["table", "here"]);
        if said.contains(": Dead (") && said.contains(&headline) {
            Ok(())
        } else {
            Err(said)
        }
    });
    let said = run(lab, &space, &["explain", &here.address().to_string(), "here"]);
    assert!(said.contains("connection refused"), "{said}");
    let plan = SessionPlan::busy(space.service("here", 8443), GUESTS, Duration::from_secs(1));
    let guests = Sessions::open(cluster.control(), &plan);
    here.revive();
    await_redirect_of_here(&space, false);
    // New clients are served here again; guests do not go home by themselves.
    assert_eq!(guests.open_now(), GUESTS);
    let said = run(lab, &space, &["return", "line"]);
    assert!(said.contains("its guests go back"), "{said}");
    eventually("the guests have gone", SOON, || match guests.open_now() {
        0 => Ok(()),
        open => Err(format!("{open} are there")),
    });
    let by_fin = |guest: &Session| matches!(guest.ended, Some((_, End::Fin)));
    assert!(guests.close().iter().all(by_fin));
    let pods = space.pods("switchyard.dev/pool=there");
    let proxy = pods[0].metadata.name.as_deref().unwrap();
    let said = run(lab, &space, &["drain", &format!("there/{proxy}")]);
    assert!(
        said.contains("drains; whoever is left at") || said.contains("has drained"),
        "{said}"
    );
    space.await_object(proxy, "is out of service", SOON, |pod: &Pod| {
        let status = pod
            .status
            .as_ref()
            .and_then(|it| it.container_statuses.as_ref()?.first());
        match status {
            Some(status) if !status.ready || status.restart_count > 0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let seen = load.stop();
    lab.say(seen.to_string());
    seen.must_all_be_served_but_who_was_there(before, after);
}
