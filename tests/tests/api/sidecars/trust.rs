//! Whom the API server trusts at the webhook: the operator's CA, as it changes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::Lab;

use super::scene::{Scene, injected, pod};
use crate::shared::{SOON, Shared};

/// A certificate is renewed at two thirds of its life, and lives until a whole second: what is left of it is for a machine that
/// does not let the operator run meanwhile.
const LIFETIMES: [&str; 3] = [
    "--certificate-lifetime=8s",
    "--ca-propagation=8s",
    "--ca-lifetime=48s",
];

/// The first CA has expired, and is trusted no longer.
const EXPIRED: Duration = Duration::from_secs(90);

/// Pods go on being made after that, while the operator's certificate is renewed.
const BEYOND: Duration = Duration::from_secs(8);

/// Pods are made all the time while CAs come and go, every few seconds.
pub fn rotation(lab: &Lab, shared: &Shared) {
    let scene = Scene::new(lab, shared, &LIFETIMES);
    // A pod whose webhook cannot be asked is refused then, and the API server says why.
    scene.policy("Fail");
    let text = |bundle: &[u8]| String::from_utf8_lossy(bundle).into_owned();
    let first = text(&scene.bundle());
    let ask = pod("app", &json!({"switchyard.dev/inject": "true"}));
    let (begun, mut made, mut missed, mut bundles) = (Instant::now(), 0, Vec::new(), vec![first.clone()]);
    let mut gone = None;
    while gone.is_none_or(|gone: Instant| gone.elapsed() < BEYOND) {
        let with_proxy = |pod: Value| {
            injected(&pod)
                .then_some(())
                .ok_or_else(|| "it was let through as it was".to_owned())
        };
        made += 1;
        if let Err(why) = scene.dry_run(&ask).and_then(with_proxy) {
            missed.push(format!("after {:.1?}: {why}", begun.elapsed()));
        }
        let_pass(Duration::from_millis(100));
        let now = text(&scene.bundle());
        if bundles.last() != Some(&now) {
            bundles.push(now);
        }
        if gone.is_none() && !bundles.last().unwrap().contains(first.trim()) {
            gone = Some(Instant::now());
        }
        assert!(
            begun.elapsed() < EXPIRED,
            "the first CA is still trusted: {missed:?}"
        );
    }
    lab.say(format!(
        "{made} pods, {} bundles one after the other, {} pods without a proxy",
        bundles.len(),
        missed.len()
    ));
    assert!(bundles.len() >= 3, "one CA beside the other, then alone");
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
