//! An application in a pod that knows nothing of ours but a variable: its proxy is put beside it when the pod is made.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::cluster::{Space, images};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::tool;

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

/// Where operators answer the API server about pods.
const WEBHOOK: &str = "9443/inject";

/// Awaits that every operator gives a pod of the Job a proxy and the variable: the API server asks any of them, and none has heard
/// of pool and chain because another has.
fn await_injection(world: &World, space: &Space<'_>) {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "a-question", "operation": "CREATE", "namespace": space.name,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "object": {
                "metadata": {"name": "asks", "labels": {"app": "asks", "switchyard.dev/inject": "true"}},
                "spec": {"containers": [{"name": "asks", "image": images::BACKEND}]},
            },
        },
    })
    .to_string();
    eventually("every operator injects", SOON, || {
        let operators = world.operator_addresses();
        if operators.is_empty() {
            return Err("there is none".to_owned());
        }
        for operator in operators {
            let url = format!("https://{operator}:{WEBHOOK}");
            let mut curl = space.cluster().control().command("curl");
            curl.args(["-skSf", "--max-time", "5", "--data-binary", &review, &url]);
            let told = tool::try_output(&mut curl)?;
            let answer: Value = serde_json::from_str(&told).map_err(|e| format!("{e}: {told}"))?;
            let patch = answer["response"]["patch"].as_str().unwrap_or_default();
            let patch = BASE64.decode(patch).map_err(|e| e.to_string())?;
            let patch = String::from_utf8_lossy(&patch);
            let given = ["switchyard-proxy", "SWITCHYARD_ORDERS_DB_ADDRESS"];
            if !given.iter().all(|it| patch.contains(it)) {
                return Err(format!("{operator}: {told} {patch}"));
            }
        }
        Ok(())
    });
}

fn job(lab: &Lab, world: &World) {
    let space = world.space("sidecar");
    let cluster = space.cluster();
    let mut primary = Backend::start(&cluster.outside("db-1", 51), 1650, Mode::ClientFirst);
    let standby = Backend::start(&cluster.outside("db-2", 52), 1650, Mode::ClientFirst);
    let pool = POOL.replace("PRIMARY", &primary.address().ip().to_string());
    space.apply(&pool.replace("STANDBY", &standby.address().ip().to_string()));
    space.wait("proxypool/side", "Accepted", SOON);
    space.wait("proxychain/orders-db", "Accepted", SOON);
    await_injection(world, &space);
    apply_job(&space, "asks", "$(SWITCHYARD_ORDERS_DB_ADDRESS)", 200, 1);
    // `kubectl wait` ends at once where there is nothing that it could wait for.
    eventually("the Job has a pod", SOON, || {
        let pods = space.pods("app=asks");
        if pods.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(())
        }
    });
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
