//! When nothing changes, nothing is written.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use switchyard_tests::apiserver::{ControlPlane, Entry, User};
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;

use crate::shared::{Shared, Space, manifest};
use crate::site::Site;

const POOLS: usize = 20;
const CHAINS: usize = 500;
/// How long it takes until all has been told, on a busy machine.
const SETTLED: Duration = Duration::from_mins(2);
/// Nothing may be written for so long; `SWITCHYARD_STEADY_SECONDS` says otherwise.
const STEADY: u64 = 60;

pub fn add(suite: &mut Suite, _: &Shared) {
    suite.test("steady::with_500_chains_nothing_is_written", steady);
}

fn steady(lab: &Lab) {
    let plane = Arc::new(ControlPlane::start());
    plane.install_definitions();
    plane.start_controllers();
    let site = Site::new(lab, Space::new(&plane));
    let mut all = Vec::new();
    for pool in 0..POOLS {
        let listeners: Vec<_> = (0..CHAINS / POOLS)
            .map(|n| json!({"name": format!("l{n}"), "port": 8001 + n, "protocol": "TCP"}))
            .collect();
        all.push(manifest(
            "ProxyPool",
            &format!("pool-{pool}"),
            &json!({"listeners": listeners}),
        ));
        for n in 0..CHAINS / POOLS {
            let spec = json!({
                "poolRef": {"name": format!("pool-{pool}"), "listener": format!("l{n}")},
                "backends": [{"name": "a", "host": "10.77.0.21", "port": 1650}],
            });
            all.push(manifest("ProxyChain", &format!("chain-{pool}-{n}"), &spec));
        }
    }
    site.space.apply(&all.join("\n---\n"));
    let user = User::service_account(&site.space.namespace, "operator-1").name();
    // Every object has been told about, and then nothing for five seconds.
    eventually("every chain is accepted", SETTLED, || {
        let path =
            "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Accepted\")].status}{\"\\n\"}{end}";
        let told = site.space.kubectl(&["get", "pch", "-o", path]);
        match told.lines().filter(|line| *line == "True").count() {
            CHAINS => Ok(()),
            other => Err(format!("{other} of {CHAINS}")),
        }
    });
    eventually("it comes to rest", SETTLED, || {
        let mark = plane.audit().mark();
        let_pass(Duration::from_secs(5));
        match plane.audit().writes(&user, mark).len() {
            0 => Ok(()),
            other => Err(format!("{other} writes in 5 s")),
        }
    });
    let asked = std::env::var("SWITCHYARD_STEADY_SECONDS").ok();
    let period = Duration::from_secs(asked.and_then(|text| text.parse().ok()).unwrap_or(STEADY));
    let mark = plane.audit().mark();
    let_pass(period);
    let written: Vec<String> = plane
        .audit()
        .writes(&user, mark)
        .iter()
        .map(Entry::line)
        .collect();
    lab.say(format!(
        "{POOLS} pools, {CHAINS} chains: {} writes in {period:.0?}",
        written.len()
    ));
    assert_eq!(written, [] as [String; 0]);
}
