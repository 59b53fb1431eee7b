//! An application in a pod that knows nothing of ours but a variable: its proxy is put beside it when the pod is made.

use std::sync::Arc;

use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::cluster::{Space, images};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;

use crate::world::{SOON, World, alone, beside};

pub fn add(suite: &mut Suite, world: &Arc<World>) {
    beside(
        suite,
        world,
        "sidecar::an_application_fails_over_and_its_job_ends",
        job,
    );
    alone(
        suite,
        world,
        "sidecar::pods_start_while_no_operator_answers",
        without,
    );
}

const POOL: &str = "
apiVersion: switchyard.dev/v1alpha1
kind: ProxyPool
metadata: {name: side}
spec:
  workload:
    kind: Sidecar
    inject: {podSelector: {matchLabels: {app: asks}}}
  listeners: [{name: line, port: 5432, protocol: TCP}]
---
apiVersion: switchyard.dev/v1alpha1
kind: ProxyChain
metadata: {name: orders-db}
spec:
  poolRef: {name: side}
  backends:
  - {name: primary, host: PRIMARY, port: 1650}
  - {name: standby, host: STANDBY, port: 1650, tier: 1}
";

/// A Job of a client that asks ten times a second; `NAME`, `TO`, `VISITS` and `FAIL` are put in.
const JOB: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: NAME}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {app: asks, switchyard.dev/inject: 'true'}}
    spec:
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: asks
        image: BACKEND
        imagePullPolicy: Never
        command: [/test-client, '--to=TO', '--visits=VISITS', '--every=100', '--may-fail=FAIL']
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";

fn apply_job(space: &Space<'_>, name: &str, to: &str, visits: u32, may_fail: u32) {
    let job = JOB
        .replace("NAME", name)
        .replace("BACKEND", images::BACKEND)
        .replace("TO", to);
    let job = job.replace("VISITS", &visits.to_string());
    space.apply(&job.replace("FAIL", &may_fail.to_string()));
}

fn job(lab: &Lab, world: &World) {
    let space = world.space("sidecar");
    let cluster = space.cluster();
    let mut primary = Backend::start(&cluster.outside("db-1", 51), 1650, Mode::ClientFirst);
    let standby = Backend::start(&cluster.outside("db-2", 52), 1650, Mode::ClientFirst);
    let pool = POOL.replace("PRIMARY", &primary.address().ip().to_string());
    space.apply(&pool.replace("STANDBY", &standby.address().ip().to_string()));
    space.wait("proxypool/side", "Accepted", SOON);
    apply_job(&space, "asks", "$(SWITCHYARD_ORDERS_DB_ADDRESS)", 200, 1);
    let log = || space.kubectl(&["logs", "job/asks", "-c", "asks", "--ignore-errors"]);
    space.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "pod",
        "-l",
        "app=asks",
        "--timeout=60s",
    ]);
    eventually("the application is served", SOON, || {
        let told = log();
        if told.matches("served db-1").count() > 20 {
            Ok(())
        } else {
            Err(told)
        }
    });
    primary.kill();
    space.wait("job/asks", "complete", SOON);
    let told = log();
    let totals: Vec<&str> = told.lines().filter(|line| line.starts_with("total")).collect();
    lab.say(totals.join("\n"));
    // Who was being served by the server that died has lost it; before that the other one had nobody, and since then all.
    let visits: Vec<&str> = told.lines().filter(|line| !line.starts_with("total")).collect();
    let before = visits.iter().take_while(|line| **line == "served db-1").count();
    let lost = visits.get(before).is_some_and(|line| line.starts_with("failed"));
    let after = &visits[before + usize::from(lost)..];
    assert!(
        !after.is_empty() && after.iter().all(|line| *line == "served db-2"),
        "{told}"
    );
}

fn without(lab: &Lab, world: &World) {
    let space = world.space("unhooked");
    let cluster = space.cluster();
    space.apply(
        &POOL
            .replace("PRIMARY", "10.77.0.51")
            .replace("STANDBY", "10.77.0.52"),
    );
    space.wait("proxypool/side", "Accepted", SOON);
    world.stop_operators();
    // It goes its own way: nobody has told it of a proxy.
    let server = Backend::start(&cluster.outside("db-3", 53), 1650, Mode::ClientFirst);
    apply_job(&space, "alone", &server.address().to_string(), 5, 0);
    space.wait("job/alone", "complete", SOON);
    let told = space.kubectl(&["logs", "job/alone"]);
    lab.say(told.clone());
    world.start_operators();
    world.await_operators();
    assert!(told.contains("total 5 served db-3"), "{told}");
}
