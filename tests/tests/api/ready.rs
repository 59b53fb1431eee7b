//! What `kubectl` tells of both kinds: `wait` returns when a client is served
//! and not before, and the columns say what is so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;
use switchyard_tests::apiserver::User;
use switchyard_tests::apiserver::pods::SpokenFor;
use switchyard_tests::eventually::{eventually, throughout};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::member::Member;
use switchyard_tests::process::Program;
use switchyard_tests::suite::Suite;

use crate::shared::{SOON, Shared};
use crate::site::{Site, asked, chain_spec, served_by};

/// `kubectl wait` must not return for so long.
const PATIENT: Duration = Duration::from_secs(2);
/// What it may take until `kubectl wait` has returned, from the moment on that it is true. A status is written at most once a
/// second, a backend is believed after two probes, and kubectl itself takes its time to end.
const PROMPT: Duration = Duration::from_secs(5);

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "ready::kubectl_wait_returns_when_it_is_served_and_not_before",
            waits as fn(&Lab, &Shared),
        ),
        ("ready::columns_tell_the_truth", columns),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

/// `kubectl wait` for the condition `Ready` of an object.
struct Waiting {
    object: String,
    program: Program,
}

impl Waiting {
    fn begin(site: &Site<'_>, host: &Host, object: &str) -> Self {
        let mut kubectl = site.space.plane.kubectl_as(&User::Admin);
        kubectl.args(["-n", &site.space.namespace, "wait", "--timeout=90s"]);
        kubectl.args(["--for=condition=Ready", object]);
        let directory = host.directory("kubectl");
        let name = format!("wait-{}", object.replace('/', "-"));
        Self {
            object: object.to_owned(),
            program: Program::on_this_machine(&name, &directory, kubectl),
        }
    }

    #[track_caller]
    fn goes_on(&mut self) {
        throughout(&format!("waits for {}", self.object), PATIENT, || {
            if self.program.runs() {
                Ok(())
            } else {
                Err(self.program.output())
            }
        });
    }

    #[track_caller]
    fn returns(&mut self) {
        let ended = self.program.await_end(PROMPT);
        assert!(ended.success(), "{ended}: {}", self.program.output());
    }
}

/// The pod that the Deployment controller has made for the pool `edge`.
fn made_pod(site: &Site<'_>) -> SpokenFor {
    let pods = site.space.all::<Pod>();
    let mine = ListParams::default().labels("switchyard.dev/pool=edge");
    let pod = eventually("the pool's Deployment has its pod", SOON, || {
        let found = site
            .space
            .plane
            .block_on(pods.list(&mine))
            .map_err(|e| e.to_string())?;
        found.items.into_iter().next().ok_or_else(|| "none".to_owned())
    });
    SpokenFor {
        namespace: site.space.namespace.clone(),
        name: pod.name_any(),
        uid: pod.uid().expect("a uid"),
        account: pod
            .spec
            .and_then(|spec| spec.service_account_name)
            .expect("an account"),
    }
}

fn waits(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    site.space.plane.start_controllers();
    let client = lab.host("client", 100);
    let mut backend = site.backend("b1", 21);
    backend.kill();
    let listeners = json!([{"name": "one", "port": 8001, "protocol": "TCP"}]);
    site.apply(
        "ProxyPool",
        "edge",
        &json!({"replicas": 1, "listeners": listeners}),
    );
    site.chain("one", &[&backend]);
    let mut pool = Waiting::begin(&site, &client, "pp/edge");
    let mut chain = Waiting::begin(&site, &client, "pch/one");
    let pod = made_pod(&site);
    site.await_chain("one", "Ready", "False", SOON);
    pool.goes_on();
    chain.goes_on();
    // A proxy runs; nobody has said yet that its pod is ready.
    let plan = site.plan(&pod, "edge");
    let member = Member::start(&lab.host("proxy-31", 31), plan);
    member.await_ready(SOON);
    site.await_chain("one", "Programmed", "True", SOON);
    pool.goes_on();
    let at = Instant::now();
    site.space.plane.pod_ready(&pod, "10.77.0.31", true);
    pool.returns();
    lab.say(format!(
        "the pool: returned {:.1?} after its pod was ready",
        at.elapsed()
    ));
    // The proxy is up, and has nobody to serve its clients.
    let (reason, message) = site.await_chain("one", "Ready", "False", SOON);
    assert_eq!(reason, "NoHealthyBackends", "{message}");
    chain.goes_on();
    assert!(asked(&client, member.at(8001)).is_err(), "the backend is dead");
    let at = Instant::now();
    backend.revive();
    chain.returns();
    lab.say(format!(
        "the chain: returned {:.1?} after its backend was back",
        at.elapsed()
    ));
    // Not a moment before a client is served: the first that comes is.
    assert_eq!(asked(&client, member.at(8001)).unwrap(), "b1");
}

/// What `kubectl get` prints, by the object's name: column to text.
fn table(site: &Site<'_>, kind: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let text = site.space.kubectl(&["get", kind]);
    let mut lines = text.lines();
    let head = lines.next().expect("a line of names");
    // Columns begin where their names do; what is empty is spaces.
    let mut begins: Vec<usize> = Vec::new();
    for (at, character) in head.char_indices() {
        if character != ' ' && (at == 0 || head[..at].ends_with(' ')) {
            begins.push(at);
        }
    }
    let cut = |line: &str| -> Vec<String> {
        let ends = begins.iter().skip(1).copied().chain([usize::MAX]);
        let cells = begins.iter().copied().zip(ends);
        let cell = |(from, to): (usize, usize)| line.get(from..to.min(line.len())).unwrap_or("").trim();
        cells.map(|cell_at| cell(cell_at).to_owned()).collect()
    };
    let names = cut(head);
    let row = |line| {
        let cells = cut(line);
        let row: BTreeMap<String, String> = names.iter().cloned().zip(cells).collect();
        (row["NAME"].clone(), row)
    };
    lines.map(row).collect()
}

/// Awaits that the row of `name` reads so, and that its age is there.
#[track_caller]
fn reads(site: &Site<'_>, (kind, name): (&str, &str), columns: &[&str], wanted: &[&str]) {
    eventually(&format!("kubectl get {kind} {name}: {wanted:?}"), SOON, || {
        let all = table(site, kind);
        let row = all.get(name).ok_or("no such row")?;
        let mut known: Vec<&str> = row.keys().map(String::as_str).collect();
        let mut expected: Vec<&str> = columns.iter().copied().chain(["NAME", "AGE"]).collect();
        known.sort_unstable();
        expected.sort_unstable();
        assert_eq!(known, expected, "the columns of {kind}");
        assert!(!row["AGE"].is_empty(), "{row:?}");
        let told: Vec<&str> = columns.iter().map(|column| row[*column].as_str()).collect();
        if told == wanted {
            Ok(())
        } else {
            Err(format!("{told:?}"))
        }
    });
}

fn columns(lab: &Lab, shared: &Shared) {
    const CHAIN: [&str; 6] = ["POOL", "GROUP", "ACTIVE", "HEALTHY", "READY", "REDIRECT"];
    const POOL: [&str; 5] = ["SITE", "KIND", "READY", "PROGRAMMED", "ADDRESS"];
    let site = Site::new(lab, shared.space());
    site.space.plane.start_controllers();
    let client = lab.host("client", 100);
    let b1 = site.backend("b1", 21);
    let (mut b2, b3) = (site.backend("b2", 22), site.backend("b3", 23));
    b2.kill();
    let listener =
        |(number, name): (usize, &str)| json!({"name": name, "port": 8001 + number, "protocol": "TCP"});
    let listeners: Vec<_> = ["one", "two"].into_iter().enumerate().map(listener).collect();
    let spec = json!({"site": "london", "replicas": 1, "listeners": listeners});
    site.apply("ProxyPool", "edge", &spec);
    site.chain("one", &[&b1]);
    site.chain("two", &[&b2, &b3]);
    // Its pool has no such listener.
    let mut refused = chain_spec("nowhere", &[&b1]);
    refused["group"] = json!("msuite");
    site.apply("ProxyChain", "nowhere", &refused);
    let pod = made_pod(&site);
    let address = format!("edge.{}.svc", site.space.namespace);
    let pool = |ready, programmed| {
        let row = ["london", "Deployment", ready, programmed, &address];
        reads(&site, ("pp", "edge"), &POOL, &row);
    };
    let chain = |name, group, active, healthy, ready| {
        let row = ["edge", group, active, healthy, ready, ""];
        reads(&site, ("pch", name), &CHAIN, &row);
    };
    // Nothing runs yet.
    pool("0/1", "0/1");
    chain("one", "", "", "", "False");
    let member = Member::start(&lab.host("proxy-31", 31), site.plan(&pod, "edge"));
    member.await_ready(SOON);
    site.space.plane.pod_ready(&pod, "10.77.0.31", true);
    pool("1/1", "1/1");
    chain("one", "", "b1", "1/1", "True");
    chain("two", "", "b3", "1/2", "True");
    chain("nowhere", "msuite", "", "", "False");
    // What they say is what clients see.
    served_by(&client, member.at(8001), &b1);
    served_by(&client, member.at(8002), &b3);
    // And they follow what changes.
    b2.revive();
    chain("two", "", "b3", "2/2", "True");
    assert_eq!(
        asked(&client, member.at(8002)).unwrap(),
        "b3",
        "it stays: nobody asked it to go back"
    );
}
