//! The API server is gone, comes back, forgets; one object is not what it
//! should be. Clients of the proxies notice nothing.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use switchyard_tests::admin;
use switchyard_tests::apiserver::{ControlPlane, definitions};
use switchyard_tests::client::{Load, LoadPlan};
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::Lab;
use switchyard_tests::member;
use switchyard_tests::process::Program;
use switchyard_tests::suite::Suite;
use switchyard_tests::tls::Certificate;

use crate::shared::{SOON, Shared, Space};
use crate::site::Site;

/// How long it is gone.
const OUTAGE: Duration = Duration::from_mins(1);
/// After an outage, clients that back off may wait this long before they look again.
const BACK: Duration = Duration::from_secs(45);
/// What a pod's grace period holds beyond preStop and drain, for the process to end: `END_SECONDS` of the operator.
const END: Duration = Duration::from_secs(5);

pub fn add(suite: &mut Suite, _: &Shared) {
    suite.test("outage::an_api_server_that_is_gone_for_a_minute", gone);
    suite.test("outage::an_api_server_that_restarts_and_has_forgotten", restarted);
    suite.test(
        "outage::an_object_that_cannot_be_read_stops_no_other",
        undecodable,
    );
    suite.test(
        "outage::a_proxy_ends_in_time_while_nobody_answers_for_names",
        nameless,
    );
}

fn plane() -> Arc<ControlPlane> {
    let plane = Arc::new(ControlPlane::start());
    plane.install_definitions();
    plane
}

fn gone(lab: &Lab) {
    let plane = plane();
    let mut site = Site::new(lab, Space::new(&plane));
    let client = lab.host("client", 100);
    let (b1, b2) = (site.backend("b1", 21), site.backend("b2", 22));
    site.pool(&["one", "two"]);
    site.chain("one", &[&b1]);
    let mut member = site.member(31);
    // Its pod and its token are known before the API server goes; it starts later.
    let late_pod = site.pod("edge", 32);
    let late_plan = site.plan(&late_pod, "edge");
    member.await_serving("one", &[b1.address()], SOON);
    let load = Load::start(&client, LoadPlan::new(member.at(8001), 50));
    plane.stop();
    let_pass(OUTAGE / 2);
    // The operator knows keys and pods: neither a new proxy nor one that starts again is locked out.
    let late = switchyard_tests::member::Member::start(&lab.host("proxy-32", 32), late_plan);
    late.await_serving("one", &[b1.address()], SOON);
    let_pass(OUTAGE / 2);
    let seen = load.stop();
    lab.say(seen.to_string());
    seen.must_all_be_served();
    member.kill();
    member.start_again();
    member.await_serving("one", &[b1.address()], SOON);
    plane.start_again();
    let back = Instant::now();
    site.chain("two", &[&b2]);
    member.await_serving("two", &[b2.address()], BACK);
    lab.say(format!(
        "a change is followed {:.1?} after it is back",
        back.elapsed()
    ));
    site.await_chain("two", "Programmed", "True", BACK);
    site.forgive();
}

fn restarted(lab: &Lab) {
    let plane = plane();
    let mut site = Site::new(lab, Space::new(&plane));
    let b1 = site.backend("b1", 21);
    let b2 = site.backend("b2", 22);
    site.pool(&["one", "two"]);
    site.chain("one", &[&b1]);
    let member = site.member(31);
    member.await_serving("one", &[b1.address()], SOON);
    for round in 0..3 {
        plane.restart();
        // What was known before is compacted away: who watches must begin anew.
        plane.compact();
        let begun = Instant::now();
        let (name, backend) = if round % 2 == 0 {
            ("two", &b2)
        } else {
            ("two", &b1)
        };
        site.chain(name, &[backend]);
        member.await_serving(name, &[backend.address()], BACK);
        lab.say(format!(
            "restart {round}: a change is followed after {:.1?}",
            begun.elapsed()
        ));
        site.forgive();
    }
}

fn undecodable(lab: &Lab) {
    let plane = Arc::new(ControlPlane::start());
    // Stored by an older definition, which let it pass.
    for file in ["proxypools.yaml", "proxychains.yaml"] {
        let text = std::fs::read_to_string(definitions().join(file)).unwrap();
        let mut definition = switchyard_crds::fixtures::yaml(&text);
        let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        *schema = json!({"type": "object", "properties": {"spec": spec, "status": spec}});
        plane.kubectl_feed(&["apply", "--server-side", "-f", "-"], &definition.to_string());
    }
    plane.await_definitions();
    let space = Space::new(&plane);
    for (kind, spec) in [
        ("ProxyPool", json!({"listeners": 7})),
        ("ProxyChain", json!({"backends": "none"})),
    ] {
        let text = crate::shared::manifest(kind, "broken", &spec);
        switchyard_tests::eventually::eventually("it is stored", SOON, || {
            let mut kubectl = plane.kubectl_as(&switchyard_tests::apiserver::User::Admin);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &text).unwrap();
            kubectl
                .args(["-n", &space.namespace, "apply", "-f"])
                .arg(file.path());
            switchyard_tests::tool::try_output(&mut kubectl).map(drop)
        });
    }
    plane.kubectl(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "-f",
        &definitions().to_string_lossy(),
    ]);
    plane.await_definitions();
    let site = Site::new(lab, space);
    let b1 = site.backend("b1", 21);
    site.pool(&["one"]);
    site.chain("one", &[&b1]);
    let member = site.member(31);
    member.await_serving("one", &[b1.address()], SOON);
    site.await_chain("one", "Programmed", "True", SOON);
}

/// The C library's lookup of the operator's name cannot be given up, and takes ten seconds and more.
fn nameless(lab: &Lab) {
    let names = lab.host("names", 53);
    let _silent = names.black_hole(Some(53));
    let host = lab.host("proxy-31", 31);
    let directory = host.directory("switchyard-proxy");
    let authority = Certificate::make(&directory, &["operator.test"]);
    let resolver = directory.join("resolv.conf");
    fs::write(&resolver, format!("nameserver {}\n", names.ip())).unwrap();
    fs::write(directory.join("token"), "a token").unwrap();
    let mut command = host.command("unshare");
    command
        .args([
            "--mount",
            "sh",
            "-c",
            "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"",
            "sh",
        ])
        .arg(&resolver)
        .arg(member::program())
        .args([
            "run",
            "--operator=operator.test:17010",
            "--pool=edge/edge",
            "--pod-name=one",
            "--pod-uid=1",
        ])
        .arg("--ca-file")
        .arg(&authority.file)
        .arg("--token-file")
        .arg(directory.join("token"));
    let mut proxy = Program::start(&host, "switchyard-proxy", &directory, command);
    proxy.await_port(admin::PORT, SOON);
    // Nothing tells that it has asked; it does so as soon as it has started.
    let_pass(Duration::from_secs(1));
    proxy.signal(Signal::SIGTERM);
    let begun = Instant::now();
    let ended = proxy.await_end(END);
    lab.say(format!("it has ended after {:.1?}", begun.elapsed()));
    assert!(ended.success(), "{ended}");
}
