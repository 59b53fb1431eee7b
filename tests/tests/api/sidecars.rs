//! Pods that ask for a proxy: the real API server calls the operator's
//! webhook. What a kubelet makes of such pods is the cluster tests' subject.

mod elsewhere;
mod scene;
mod trust;
mod who;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use switchyard_crds::ProxyPool;
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;

use crate::shared::{SOON, Shared};
use crate::site::{asked, chain_spec, served_by};
use scene::{Scene, WEBHOOK, injected, pod};

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "sidecars::a_pod_that_asks_gets_a_proxy_and_is_told_where_chains_are",
            told as fn(&Lab, &Shared),
        ),
        ("sidecars::nobody_else_is_touched", untouched),
        ("sidecars::a_proxy_in_a_pod_serves_its_pod_alone", served),
        ("sidecars::pods_start_when_the_webhook_is_down", down),
        ("sidecars::an_operator_that_starts_again_injects_again", again),
        ("sidecars::the_ca_changes_and_no_pod_is_left_out", trust::rotation),
        (
            "sidecars::a_configuration_that_is_applied_anew_is_mended",
            trust::mended,
        ),
        (
            "sidecars::clients_of_a_dead_chain_are_relayed_by_what_the_operator_tells",
            elsewhere::relayed,
        ),
        ("sidecars::a_label_alone_gets_no_configuration", who::strangers),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

/// In a namespace that admits only what is restricted.
fn told(lab: &Lab, shared: &Shared) {
    let scene = Scene::new(lab, shared, &["--proxy-image=registry.example/proxy:v1"]);
    let made = scene.create(&pod("app", &json!({"switchyard.dev/inject": "true"})));
    let spec = &made["spec"];
    let proxy = &spec["initContainers"][0];
    assert_eq!(proxy["name"], "switchyard-proxy");
    assert_eq!(proxy["restartPolicy"], "Always", "a native sidecar");
    assert_eq!(proxy["image"], "registry.example/proxy:v1");
    let pool = format!("--pool={}/side", scene.namespace());
    let args = proxy["args"].as_array().unwrap();
    assert!(args.contains(&json!(pool)), "{args:?}");
    let env = spec["containers"][0]["env"].as_array().unwrap();
    let value = |name: &str| {
        let found = env.iter().find(|variable| variable["name"] == name);
        found
            .map(|variable| variable["value"].clone())
            .unwrap_or_default()
    };
    assert_eq!(value("SWITCHYARD_ORDERS_DB_ADDRESS"), "127.0.0.1:8001");
    assert_eq!(value("SWITCHYARD_ORDERS_DB_HOST"), "127.0.0.1");
    assert_eq!(value("SWITCHYARD_ORDERS_DB_PORT"), "8001");
    assert_eq!(made["metadata"]["labels"]["switchyard.dev/pool"], "side");
    // What comes out goes in again unchanged: as from `kubectl get -o yaml`, or a backup.
    let mut copy = made.clone();
    copy["metadata"] = json!({"name": "copy", "labels": made["metadata"]["labels"]});
    copy["spec"].as_object_mut().unwrap().remove("nodeName");
    let copied = scene.create(&copy);
    assert_eq!(copied["spec"]["initContainers"], spec["initContainers"]);
    assert_eq!(copied["spec"]["containers"], spec["containers"]);
    let metrics = scene.site.operator.metrics();
    assert!(
        metrics.sum(
            "switchyard_operator_webhook_pods_total",
            &[("outcome", "injected")]
        ) >= 1.0
    );
}

fn untouched(lab: &Lab, shared: &Shared) {
    let scene = Scene::new(lab, shared, &[]);
    let plain = scene.create(&pod("plain", &json!({})));
    assert!(!injected(&plain), "{plain}");
    let no = scene.create(&pod("no", &json!({"switchyard.dev/inject": "false"})));
    assert!(!injected(&no), "{no}");
    // A pool that selects other pods; the maker is told.
    let spec = json!({
        "workload": {"kind": "Sidecar", "inject": {"podSelector": {"matchLabels": {"app": "mail"}}}},
        "listeners": [{"name": "db", "port": 8001, "protocol": "TCP"}],
    });
    scene.site.apply("ProxyPool", "side", &spec);
    let ask = json!({"switchyard.dev/inject": "true", "app": "web"});
    eventually("the pool selects other pods", SOON, || {
        let told = scene.try_create(&pod("web", &ask), &["--dry-run=server"])?;
        if told.warnings.contains("no Sidecar pool") && !injected(&told.pod) {
            Ok(())
        } else {
            Err(told.warnings)
        }
    });
    let mail = json!({"switchyard.dev/inject": "true", "app": "mail"});
    let dry = scene
        .try_create(&pod("mail", &mail), &["--dry-run=server"])
        .unwrap();
    assert!(injected(&dry.pod), "{}", dry.pod);
    assert_eq!(
        scene
            .space()
            .kubectl(&["get", "pod", "mail", "--ignore-not-found"]),
        "",
        "a dry run makes none"
    );
}

fn served(lab: &Lab, shared: &Shared) {
    let scene = Scene::new(lab, shared, &[]);
    let b1 = scene.site.backend("b1", 21);
    let mut spec = chain_spec("db", &[&b1]);
    spec["poolRef"]["name"] = json!("side");
    scene.site.apply("ProxyChain", "orders-db", &spec);
    let space = scene.space();
    let (host, mut member) = scene.beside(31);
    let inside = "127.0.0.1:8001".parse().unwrap();
    served_by(&host, inside, &b1);
    let refused = asked(&lab.host("neighbour", 32), host.at(8001)).unwrap_err();
    lab.say(format!("from another pod: {refused}"));
    assert_eq!(
        asked(&host, host.at(8001)).unwrap_err(),
        refused,
        "loopback alone is listened on"
    );
    space.await_object("side", "counts it", SOON, |pool: &ProxyPool| {
        let told = pool.status.clone().unwrap_or_default();
        match (told.ready.as_deref(), told.programmed.as_deref()) {
            (Some("1/1"), Some("1/1")) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    // The app has ended, and so has whoever it spoke to: nothing to wait for.
    let ended = member.stop(Duration::from_secs(5));
    assert!(ended.success(), "{ended}");
}

fn down(lab: &Lab, shared: &Shared) {
    let mut scene = Scene::new(lab, shared, &[]);
    let ask = json!({"switchyard.dev/inject": "true"});
    scene.inlet.cut();
    let made = scene.create(&pod("during", &ask));
    assert!(!injected(&made), "who injected that? {made}");
    scene.policy("Fail");
    let refused = eventually("failurePolicy Fail counts", SOON, || {
        match scene.try_create(&pod("strict", &ask), &["--dry-run=server"]) {
            Err(refused) => Ok(refused),
            Ok(told) => Err(format!("made: {}", told.pod["metadata"]["name"])),
        }
    });
    lab.say(&refused);
    assert!(refused.contains(WEBHOOK), "{refused}");
    // Whoever does not ask is not held up by it.
    scene.create(&pod("plain", &json!({})));
    scene.inlet.restore();
    let made = scene.create(&pod("after", &ask));
    assert!(injected(&made), "{made}");
}

fn again(lab: &Lab, shared: &Shared) {
    let mut scene = Scene::new(lab, shared, &[]);
    let ask = json!({"switchyard.dev/inject": "true"});
    let mark = scene.space().plane.audit().mark();
    scene.site.operator.kill();
    let made = scene.create(&pod("during", &ask));
    assert!(!injected(&made), "{made}");
    scene.site.operator.start_again();
    scene.site.operator.await_ready(SOON);
    let made = scene.create(&pod("after", &ask));
    assert!(injected(&made), "ready, and not injecting: {made}");
    assert_eq!(scene.configuration_writes(mark), 0, "the CA is the same");
    // The pod that it missed is a pod like others.
    let missed: Pod = scene
        .space()
        .plane
        .block_on(scene.space().all::<Pod>().get("during"))
        .unwrap();
    let missed = serde_json::to_value(missed).unwrap();
    assert_eq!(missed["metadata"]["labels"]["switchyard.dev/pool"], Value::Null);
}
