//! Whom the API server trusts at the webhook: the operator's CA, as it changes.

use std::time::{Duration, Instant};

use serde_json::json;
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::Lab;

use super::scene::{Scene, injected, pod};
use crate::shared::{SOON, Shared};

/// Two CAs end in it.
const WATCHED: Duration = Duration::from_secs(45);

/// Pods are made all the time while CAs come and go, every few seconds.
pub fn rotation(lab: &Lab, shared: &Shared) {
    let scene = Scene::new(
        lab,
        shared,
        &[
            "--certificate-lifetime=4s",
            "--ca-propagation=4s",
            "--ca-lifetime=24s",
        ],
    );
    let first = scene.bundle();
    let ask = pod("app", &json!({"switchyard.dev/inject": "true"}));
    let (begun, mut made, mut missed, mut bundles) = (Instant::now(), 0, Vec::new(), vec![first.clone()]);
    while begun.elapsed() < WATCHED {
        let pod = scene.dry_run(&ask);
        made += 1;
        if !injected(&pod) {
            missed.push(format!("after {:.1?}", begun.elapsed()));
        }
        let_pass(Duration::from_millis(100));
        let now = scene.bundle();
        if bundles.last() != Some(&now) {
            bundles.push(now);
        }
    }
    lab.say(format!(
        "{made} pods, {} bundles one after the other, {} pods without a proxy",
        bundles.len(),
        missed.len()
    ));
    assert!(bundles.len() >= 3, "one CA beside the other, then alone");
    let text = |bundle: &[u8]| String::from_utf8_lossy(bundle).into_owned();
    let last = bundles.last().unwrap();
    assert!(
        !text(last).contains(text(&first).trim()),
        "the first CA is still trusted"
    );
    assert_eq!(missed, [] as [String; 0]);
}

/// Somebody applies the configuration again, without a bundle, or with another.
pub fn mended(lab: &Lab, shared: &Shared) {
    let scene = Scene::new(lab, shared, &[]);
    let right = scene.bundle();
    assert!(!right.is_empty());
    let path = "/webhooks/0/clientConfig/caBundle";
    for patch in [
        json!([{"op": "remove", "path": path}]),
        json!([{"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": "https://127.0.0.1:1/inject"},
            {"op": "remove", "path": path}]),
    ] {
        let mark = scene.space().plane.audit().mark();
        scene.patch(&patch);
        let begun = Instant::now();
        eventually("the bundle is back", SOON, || {
            let there = scene.bundle();
            if there == right {
                Ok(())
            } else {
                Err(format!("{} bytes", there.len()))
            }
        });
        lab.say(format!("mended after {:.1?}", begun.elapsed()));
        // The audit log has a request once it is answered, which is after others can see what it did.
        eventually("the write is in the audit log", SOON, || {
            let writes = scene.configuration_writes(mark);
            (writes > 0).then_some(()).ok_or_else(|| "none".to_owned())
        });
        assert_eq!(scene.configuration_writes(mark), 1);
    }
    // Where pods are sent is the chart's: it is left as it was changed.
    let url = scene.url();
    assert_eq!(url, "https://127.0.0.1:1/inject");
}
