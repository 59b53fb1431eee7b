//! Whose configuration a pod gets: a label alone is no proof.

use serde_json::json;
use switchyard_tests::lab::Lab;
use switchyard_tests::member::Member;

use super::scene::Scene;
use crate::shared::{SOON, Shared};

pub fn strangers(lab: &Lab, shared: &Shared) {
    let scene = Scene::new(lab, shared, &[]);
    let site = &scene.site;
    site.pool(&["one"]);
    let mail = json!({
        "workload": {"kind": "Sidecar", "inject": {"podSelector": {"matchLabels": {"app": "mail"}}}},
        "listeners": [{"name": "db", "port": 8001, "protocol": "TCP"}],
    });
    site.apply("ProxyPool", "mail", &mail);
    let wish = ("switchyard.dev/inject", "true");
    // The webhook says whose a pod is that asks; whoever does not ask says so himself.
    let cases = [
        (
            "another account",
            "edge",
            ("switchyard.dev/pool", "edge"),
            "service account",
        ),
        (
            "no wish",
            "side",
            ("switchyard.dev/pool", "side"),
            "switchyard.dev/inject",
        ),
        ("not selected", "mail", wish, "belongs to pool"),
    ];
    for ((what, pool, label, words), number) in cases.into_iter().zip(31..) {
        let space = scene.space();
        let name = format!("stranger-{number}");
        let pod = space.plane.pod(
            (&space.namespace, &name),
            "default",
            &[label],
            &format!("10.77.0.{number}"),
        );
        let plan = site.plan(&pod, pool);
        let mut member = Member::begin(&lab.host(&name, number), plan);
        let line = member.program().await_line(words, SOON);
        lab.say(format!("{what}: {line}"));
        if let Ok((status, _)) = member.get("/readyz") {
            assert_ne!(status, 200, "{what}: ready without a configuration");
        }
    }
}
