//! The control plane itself: what the other tests build on.

use k8s_openapi::api::authorization::v1::ResourceAttributes;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use switchyard_crds::ProxyChain;
use switchyard_tests::apiserver::{ControlPlane, User};
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::tool;

use crate::shared::{SOON, Shared, Space, manifest};

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "harness::rights_are_checked_and_writes_are_counted",
            rights as fn(&Lab, &Shared),
        ),
        ("harness::tokens_are_bound_to_pods", tokens),
        ("harness::a_relay_is_cut_and_restored", relay),
        ("harness::pod_security_is_on", pod_security),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
    suite.test("harness::what_is_stored_survives_a_restart", restart);
}

fn rights(_: &Lab, shared: &Shared) {
    let space = shared.space();
    let plane = &space.plane;
    let user = User::Named(format!("reader-of-{}", space.namespace));
    space.kubectl(&[
        "create",
        "role",
        "reader",
        "--verb=get,list",
        "--resource=configmaps",
    ]);
    space.kubectl(&[
        "create",
        "rolebinding",
        "reader",
        "--role=reader",
        &format!("--user={}", user.name()),
    ]);
    let right = ResourceAttributes {
        namespace: Some(space.namespace.clone()),
        resource: Some("configmaps".to_owned()),
        verb: Some("list".to_owned()),
        ..ResourceAttributes::default()
    };
    space.await_right(&user, &right);
    let mark = plane.audit().mark();
    let theirs: Api<ConfigMap> = Api::namespaced(plane.client(&user), &space.namespace);
    // The controllers put one into every namespace, if another trial has started them.
    let none = kube::api::ListParams::default().fields("metadata.name!=kube-root-ca.crt");
    let listed = plane.block_on(theirs.list(&none)).unwrap();
    assert_eq!(listed.items, []);
    let object = json!({"metadata": {"name": "x"}});
    let object: ConfigMap = serde_json::from_value(object).unwrap();
    let asked = kube::api::PostParams::default();
    let refused = plane.block_on(theirs.create(&asked, &object)).unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(s) if s.is_forbidden()),
        "{refused}"
    );
    let audit = plane.audit();
    assert_eq!(audit.writes(&user.name(), mark).len(), 1);
    assert_eq!(audit.forbidden(&user.name(), mark).len(), 1);
    plane
        .block_on(space.all::<ConfigMap>().create(&asked, &object))
        .unwrap();
    assert_eq!(audit.writes(&user.name(), mark).len(), 1, "another's write");
    let mut admins = audit.writes("admin", mark);
    // Others write as administrator too, and the controllers write into every namespace.
    admins.retain(|entry| entry.object_ref.namespace == space.namespace && entry.object_ref.name == "x");
    let lines: Vec<String> = admins
        .iter()
        .map(switchyard_tests::apiserver::Entry::line)
        .collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(
        audit.writes(&user.name(), audit.mark()).len(),
        0,
        "before the mark"
    );
}

fn tokens(_: &Lab, shared: &Shared) {
    let space = shared.space();
    let plane = &space.plane;
    let pod = plane.pod(
        (&space.namespace, "proxy-0"),
        "default",
        &[("switchyard.dev/pool", "edge")],
        "10.77.0.2",
    );
    let token = plane.pod_token(&pod, "switchyard");
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["aud"], json!(["switchyard"]));
    assert_eq!(claims["iss"], switchyard_tests::apiserver::ISSUER);
    assert_eq!(
        claims["kubernetes.io"]["pod"],
        json!({"name": "proxy-0", "uid": pod.uid})
    );
    plane.delete_pod(&pod);
    let found = space.kubectl(&["get", "pods", "-o", "name"]);
    assert_eq!(found, "");
}

fn relay(lab: &Lab, shared: &Shared) {
    let plane = shared.plane();
    let host = lab.host("operator", 10);
    let url = format!("https://{}/livez", plane.address());
    let ask = || {
        let mut curl = host.command("curl");
        tool::try_output(curl.args([
            "-sk",
            "--max-time",
            "5",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &url,
        ]))
    };
    assert!(ask().is_err(), "a lab has no way out by itself");
    let mut relay = plane.reach_from(&host);
    assert_eq!(ask().unwrap(), "200");
    relay.cut();
    assert!(ask().is_err());
    relay.restore();
    assert_eq!(ask().unwrap(), "200");
}

fn pod_security(_: &Lab, shared: &Shared) {
    let space = shared.space();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "c", "image": "i.example/i"}], "hostNetwork": true}});
    let mut kubectl = space.plane.kubectl_as(&User::Admin);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pod.to_string()).unwrap();
    kubectl
        .args(["-n", &space.namespace, "create", "-f"])
        .arg(file.path());
    let refused = tool::try_output(&mut kubectl).unwrap_err();
    assert!(
        refused.contains("violates PodSecurity \"restricted:latest\""),
        "{refused}"
    );
}

fn restart(lab: &Lab) {
    let plane = std::sync::Arc::new(ControlPlane::start());
    lab.say(format!("ready after {:.1?}", lab.age()));
    plane.install_definitions();
    let space = Space::new(&plane);
    let spec =
        json!({"poolRef": {"name": "edge"}, "backends": [{"name": "a", "host": "a.example", "port": 1}]});
    space.apply(&manifest("ProxyChain", "app", &spec));
    let before = lab.age();
    plane.stop();
    let gone = plane.block_on(space.all::<ProxyChain>().get("app")).unwrap_err();
    assert!(!matches!(gone, kube::Error::Api(_)), "{gone}");
    plane.start_again();
    lab.say(format!("again after {:.1?}", lab.age() - before));
    space.await_object("app", "is there", SOON, |chain: &ProxyChain| {
        match chain.spec.backends.len() {
            1 => Ok(()),
            other => Err(format!("{other} backends")),
        }
    });
}
