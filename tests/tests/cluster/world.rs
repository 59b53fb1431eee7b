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
/// The operator's pods.
const OPERATORS: &str = "app.kubernetes.io/name=switchyard-operator";
/// What makes them.
const DEPLOYMENT: &str = "deployment/switchyard-operator";

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
        let pods = self.kubectl(&["get", "pods", "-l", OPERATORS, "-o", "name"]);
        pods.lines().map(str::to_owned).collect()
    }

    /// The addresses of the operator's pods, those that end included.
    pub fn operator_addresses(&self) -> Vec<String> {
        let addresses = "jsonpath={range .items[*]}{.status.podIP}{\"\\n\"}{end}";
        let pods = self.kubectl(&["get", "pods", "-l", OPERATORS, "-o", addresses]);
        pods.lines().map(str::to_owned).collect()
    }

    /// Ends every operator; returns once their pods are gone.
    pub fn stop_operators(&self) {
        self.scale_operators("--replicas=0");
        let gone = ["wait", "--for=delete", "pod", "-l", OPERATORS, "--timeout=60s"];
        self.kubectl(&gone);
    }

    /// Has them started again.
    pub fn start_operators(&self) {
        self.scale_operators("--replicas=2");
    }

    /// Awaits that they are there again.
    pub fn await_operators(&self) {
        self.kubectl(&["rollout", "status", DEPLOYMENT, "--timeout=120s"]);
    }

    fn scale_operators(&self, replicas: &str) {
        self.kubectl(&["scale", DEPLOYMENT, replicas]);
    }

    /// In the operator's namespace.
    fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["-n", RELEASE], arguments].concat();
        self.with_operator().plane().kubectl(&arguments)
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
