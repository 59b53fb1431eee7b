//! What trials share: one cluster, and in it the operator, installed by the chart when the first trial asks for it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use switchyard_tests::apiserver::User;
use switchyard_tests::cluster::{Cluster, Shared, Space};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::pages;
use switchyard_tests::suite::Suite;

/// For states that are awaited, not promised.
pub const SOON: Duration = Duration::from_mins(1);
/// The operator's namespace, and the release's name.
pub const RELEASE: &str = "switchyard";

/// What trials share.
#[derive(Default)]
pub struct World {
    shared: Shared,
    operator: OnceLock<()>,
}

impl World {
    /// The cluster, without anything of ours as long as no trial has asked for that.
    pub fn cluster(&self) -> &Cluster {
        self.shared.cluster()
    }

    /// The cluster, with the operator.
    pub fn with_operator(&self) -> &Cluster {
        let cluster = self.cluster();
        self.operator.get_or_init(|| install(cluster));
        cluster
    }

    /// The names of the operator's pods, those that end included.
    pub fn operators(&self) -> Vec<String> {
        let pods = self.cluster().plane().kubectl(&[
            "-n",
            RELEASE,
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/name=switchyard-operator",
            "-o",
            "name",
        ]);
        pods.lines().map(str::to_owned).collect()
    }

    /// Awaits that the namespaces of the trials that have ended are gone, with all that was in them.
    pub fn await_cleared(&self) {
        let phases = "jsonpath={range .items[*]}{.metadata.name} {.status.phase}{\"\\n\"}{end}";
        eventually("the namespaces of ended trials are gone", SOON, || {
            let all = self
                .cluster()
                .plane()
                .kubectl(&["get", "namespaces", "-o", phases]);
            if all.contains(" Terminating") {
                Err(all)
            } else {
                Ok(())
            }
        });
    }

    /// A namespace of a trial's own, in the cluster with the operator.
    pub fn space(&self, trial: &str) -> Space<'_> {
        Space::new(self.with_operator(), trial)
    }
}

fn install(cluster: &Cluster) {
    cluster.plane().kubectl(&["create", "namespace", RELEASE]);
    let label = "pod-security.kubernetes.io/enforce=restricted";
    cluster.plane().kubectl(&["label", "namespace", RELEASE, label]);
    // By the README's words alone.
    let words = pages::commands("README.md", "In a cluster");
    pages::run(&words[0], &cluster.plane().kubeconfig(&User::Admin));
}

/// A trial that runs beside others.
pub fn beside(suite: &mut Suite, world: &Arc<World>, name: &str, body: fn(&Lab, &World)) {
    let world = Arc::clone(world);
    suite.test(name, move |lab| body(lab, &world));
}

/// A trial that has the cluster for itself.
pub fn alone(suite: &mut Suite, world: &Arc<World>, name: &str, body: fn(&Lab, &World)) {
    let world = Arc::clone(world);
    suite.alone(name, move |lab| body(lab, &world));
}
