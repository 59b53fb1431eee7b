//! The cluster itself: what the other trials build on.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use switchyard_tests::client::{Load, LoadPlan};
use switchyard_tests::cluster::{Space, images};
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;

use crate::world::{SOON, World, beside};

pub fn add(suite: &mut Suite, world: &Arc<World>) {
    beside(
        suite,
        world,
        "smoke::pods_are_reached_across_nodes_by_address_service_and_name",
        pods,
    );
}

fn pods(lab: &Lab, world: &World) {
    let cluster = world.cluster();
    lab.say(format!("the cluster is up after {:.1?}", lab.age()));
    let space = Space::new(cluster, "smoke");
    space.apply(&WHO.replace("BACKEND", images::BACKEND));
    let workers = cluster.workers().len();
    space.await_object("who", "one pod per node answers", SOON, |set: &DaemonSet| {
        let ready = set.status.as_ref().map_or(0, |status| status.number_ready);
        if usize::try_from(ready) == Ok(workers) {
            Ok(())
        } else {
            Err(format!("{ready} of {workers}"))
        }
    });
    lab.say(format!("pods are ready after {:.1?}", lab.age()));
    for pod in space.pods("app=who") {
        let status = pod.status.as_ref().unwrap();
        let at = format!("{}:8080", status.pod_ip.as_ref().unwrap());
        let plan = LoadPlan::new(at.parse().unwrap(), 10);
        let seen = Load::run(cluster.control(), plan, Duration::from_secs(1));
        seen.must_all_be_served();
        let node = pod.spec.as_ref().unwrap().node_name.clone().unwrap();
        assert_eq!(seen.by_name().keys().collect::<Vec<_>>(), [&node]);
    }
    space.await_ways_to("who", "app=who", &[("who", 8080)], SOON);
    let plan = LoadPlan::new(space.service("who", 80), 50);
    let seen = Load::run(cluster.control(), plan, Duration::from_secs(2));
    seen.must_all_be_served();
    assert_eq!(seen.by_name().len(), workers, "{seen}");
    space.wait("job/asks", "complete", SOON);
    let told = space.kubectl(&["logs", "job/asks"]);
    assert!(told.contains("served node-"), "{told}");
    assert!(!told.contains("failed"), "{told}");
}

const WHO: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: who}
spec:
  selector: {matchLabels: {app: who}}
  template:
    metadata: {labels: {app: who}}
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      terminationGracePeriodSeconds: 1
      containers:
      - name: who
        image: BACKEND
        imagePullPolicy: Never
        args: [--name=$(NODE), '--listen=0.0.0.0:8080', --log=/dev/null]
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: who}
spec:
  selector: {app: who}
  ports: [{name: who, port: 80, targetPort: 8080}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: asks}
spec:
  # It may be there before the Service has anybody behind it.
  backoffLimit: 20
  template:
    spec:
      restartPolicy: OnFailure
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: asks
        image: BACKEND
        imagePullPolicy: Never
        command: [/test-client, '--to=who:80', --visits=5]
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";
