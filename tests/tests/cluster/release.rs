//! The release as a whole: what `helm test` says of it, and what is left when the page for uninstalling has been followed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use switchyard_tests::apiserver::User;
use switchyard_tests::eventually::eventually;
use switchyard_tests::helm::Helm;
use switchyard_tests::lab::Lab;
use switchyard_tests::pages;
use switchyard_tests::suite::Suite;

use crate::world::{RELEASE, World, alone, beside};

/// Namespaces and the proxies in them end.
const GONE: Duration = Duration::from_mins(2);

pub fn add(suite: &mut Suite, world: &Arc<World>) {
    beside(suite, world, "release::helm_test_says_that_it_works", works);
}

/// The last trial of all: there is no operator after it.
pub fn add_last(suite: &mut Suite, world: &Arc<World>) {
    alone(
        suite,
        world,
        "release::uninstalled_by_the_page_nothing_is_left",
        gone,
    );
}

/// The operators stand on different nodes, and answer from inside what proxies, kubelets and the API server would ask.
fn works(lab: &Lab, world: &World) {
    let cluster = world.with_operator();
    let helm = Helm::of(&cluster.plane().kubeconfig(&User::Admin));
    lab.say(helm.run(&["test", RELEASE, "--namespace", RELEASE, "--timeout=2m"]));
    let said = cluster
        .plane()
        .kubectl(&["-n", RELEASE, "logs", "switchyard-operator-check"]);
    for words in [
        "serves ProxyPool and ProxyChain",
        "an operator is ready",
        "a leader serves proxies",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let selector = "app.kubernetes.io/name=switchyard-operator";
    let nodes = "jsonpath={range .items[*]}{.spec.nodeName}{\"\\n\"}{end}";
    let nodes = cluster
        .plane()
        .kubectl(&["-n", RELEASE, "get", "pods", "-l", selector, "-o", nodes]);
    assert_eq!(nodes.lines().count(), 2, "{nodes}");
    assert_eq!(nodes.lines().collect::<BTreeSet<_>>().len(), 2, "{nodes}");
}

/// With a pool and its proxies in place.
fn gone(lab: &Lab, world: &World) {
    let space = world.space("last");
    let plane = space.cluster().plane();
    space.apply(
        "apiVersion: switchyard.dev/v1alpha1\nkind: ProxyPool\nmetadata: {name: edge}\n\
         spec: {drain: {timeout: 1s}, listeners: [{name: line, port: 8443, protocol: TCP}]}\n",
    );
    space.wait("proxypool/edge", "Ready", GONE);
    for command in pages::commands("docs/install.md", "Uninstall") {
        lab.say(command.clone());
        pages::run(&command, &plane.kubeconfig(&User::Admin));
    }
    eventually("nothing of ours is left", GONE, || {
        let left: Vec<String> = plane
            .inventory()
            .into_iter()
            .filter(|object| {
                object.contains("switchyard") || object.contains(&format!(" {} edge", space.name))
            })
            .collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:#?}"))
        }
    });
}
