//! What proxies report becomes status: which backend serves, and what has
//! happened, told once each and not too often.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use switchyard_crds::{ProxyChain, ProxyChainStatus};
use switchyard_tests::apiserver::{Entry, Mark, User};
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;

use crate::shared::{SOON, Shared};
use crate::site::{Site, chain_spec, served_by};

/// From a backend's end to the status that says so: two probes of 300 ms that fail, a second between two writes, and what a
/// busy machine needs.
const TOLD: Duration = Duration::from_secs(5);
/// Between two status writes of one object.
const PAUSE: Duration = Duration::from_secs(1);
/// How long backends come and go, and how often.
const UNREST: Duration = Duration::from_secs(8);
const TURN: Duration = Duration::from_millis(1400);

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "reports::a_dead_backend_is_told_in_status_and_by_one_event",
            told as fn(&Lab, &Shared),
        ),
        ("reports::unrest_is_one_status_write_per_second", unrest),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

/// A chain with a standby that goes back at once when its primary is there again.
fn spec(backends: &[&switchyard_tests::backend::Backend]) -> Value {
    let mut spec = chain_spec("one", backends);
    spec["failover"] = json!({"failback": "Immediate"});
    spec
}

/// Condition, status, reason.
type Conditions<'a> = &'a [(&'a str, &'a str, &'a str)];

fn tells(status: &ProxyChainStatus, backend: Option<(&str, u32)>, conditions: Conditions<'_>) -> bool {
    let active = status
        .active
        .as_ref()
        .map(|active| (active.backend.as_str(), active.tier));
    let holds = |(condition, status_, reason): &(&str, &str, &str)| {
        let found = status.conditions.iter().find(|it| it.type_ == *condition);
        found.is_some_and(|it| it.status == *status_ && it.reason == *reason)
    };
    active == backend && conditions.iter().all(holds)
}

#[track_caller]
fn await_status(
    site: &Site<'_>,
    backend: Option<(&str, u32)>,
    conditions: Conditions<'_>,
) -> ProxyChainStatus {
    let what = format!("{backend:?} serves, {conditions:?}");
    site.space.await_object("one", &what, TOLD, |chain: &ProxyChain| {
        let status = chain.status.clone().unwrap_or_default();
        if tells(&status, backend, conditions) {
            Ok(status)
        } else {
            Err(format!("{status:#?}"))
        }
    })
}

/// What `kubectl get events` has of the chain: reason and backend, and how often.
fn events(site: &Site<'_>) -> BTreeMap<String, u64> {
    let all = site.space.kubectl(&["get", "events.events.k8s.io", "-o", "json"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    let mut count = BTreeMap::new();
    for event in all["items"].as_array().unwrap() {
        if event["regarding"]["kind"] == "ProxyChain" && event["regarding"]["name"] == "one" {
            let at = event["regarding"]["fieldPath"].as_str().unwrap_or_default();
            let backend = at.trim_start_matches("spec.backends");
            let key = format!("{}{backend}", event["reason"].as_str().unwrap());
            *count.entry(key).or_default() += event["series"]["count"].as_u64().unwrap_or(1);
        }
    }
    count
}

#[track_caller]
fn await_events(site: &Site<'_>, wanted: &[(&str, u64)]) {
    let wanted: BTreeMap<String, u64> = wanted.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect();
    eventually(&format!("events are {wanted:?}"), TOLD, || {
        let found = events(site);
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
}

/// Status writes of the chain that came through since then.
fn writes(site: &Site<'_>, since: Mark) -> Vec<Entry> {
    let user = User::service_account(&site.space.namespace, site.operator.name()).name();
    let mut all = site.space.plane.audit().writes(&user, since);
    all.retain(|entry| {
        let object = &entry.object_ref;
        object.resource == "proxychains"
            && object.subresource == "status"
            && entry.response_status.code == 200
    });
    all
}

#[track_caller]
fn one_write_per_second(writes: &[Entry]) {
    for pair in writes.windows(2) {
        let apart = Duration::try_from(pair[1].came.duration_since(pair[0].came)).unwrap_or_default();
        assert!(
            apart >= PAUSE,
            "{apart:.3?} apart: {} {}",
            pair[0].came,
            pair[1].came
        );
    }
}

fn told(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let client = lab.host("client", 100);
    let (mut b1, mut b2) = (site.backend("b1", 21), site.backend("b2", 22));
    let listeners = json!([{"name": "one", "port": 8001, "protocol": "TCP"}]);
    site.apply(
        "ProxyPool",
        "edge",
        &json!({"replicas": 3, "listeners": listeners}),
    );
    site.apply("ProxyChain", "one", &spec(&[&b1, &b2]));
    let members = [site.member(31), site.member(32), site.member(33)];
    let serving = [("PrimaryActive", "True", "Serving"), ("Ready", "True", "Serving")];
    site.await_chain("one", "Programmed", "True", SOON);
    await_status(&site, Some(("b1", 0)), &serving);
    await_events(&site, &[]);
    let mark = site.space.plane.audit().mark();

    let at = Instant::now();
    b1.kill();
    let on_backup = [
        ("PrimaryActive", "False", "OnBackup"),
        ("Ready", "True", "OnBackup"),
    ];
    let status = await_status(&site, Some(("b2", 1)), &on_backup);
    lab.say(format!("on the standby: told after {:.1?}", at.elapsed()));
    let last = status.transitions.last().expect("a transition");
    assert_eq!((last.from.as_str(), last.to.as_str()), ("b1", "b2"), "{status:?}");
    for member in &members {
        served_by(&client, member.at(8001), &b2);
    }
    await_events(&site, &[("FailedOver{b2}", 1), ("BackendDown{b1}", 1)]);

    let at = Instant::now();
    b1.revive();
    await_status(&site, Some(("b1", 0)), &serving);
    lab.say(format!("back on the primary: told after {:.1?}", at.elapsed()));
    let back = [
        ("FailedOver{b2}", 1),
        ("BackendDown{b1}", 1),
        ("BackendUp{b1}", 1),
        ("FailedBack{b1}", 1),
    ];
    await_events(&site, &back);

    let at = Instant::now();
    b1.kill();
    b2.kill();
    let nobody = [
        ("PrimaryActive", "False", "NoHealthyBackends"),
        ("Ready", "False", "NoHealthyBackends"),
    ];
    await_status(&site, None, &nobody);
    lab.say(format!("nobody serves: told after {:.1?}", at.elapsed()));
    let down = |found: &BTreeMap<String, u64>| {
        ["BackendDown{b1}", "BackendDown{b2}"].map(|key| found.get(key).copied().unwrap_or_default())
    };
    eventually("both ends are told", TOLD, || match events(&site) {
        found if down(&found) == [2, 1] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // Three proxies have said each of these, at their own times: none of them is told again.
    let_pass(2 * PAUSE);
    let found = events(&site);
    lab.say(format!("{found:?}"));
    assert_eq!(found["BackendDown{b1}"], 2, "{found:?}");
    assert_eq!(found["BackendDown{b2}"], 1, "{found:?}");
    let written = writes(&site, mark);
    lab.say(format!("{} status writes in {:.1?}", written.len(), lab.age()));
    one_write_per_second(&written);
}

fn unrest(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let (mut b1, b2) = (site.backend("b1", 21), site.backend("b2", 22));
    let listeners = json!([{"name": "one", "port": 8001, "protocol": "TCP"}]);
    site.apply(
        "ProxyPool",
        "edge",
        &json!({"replicas": 2, "listeners": listeners}),
    );
    let mut quick = spec(&[&b1, &b2]);
    quick["health"] = json!({"interval": "100ms", "timeout": "1s", "rise": 1, "fall": 1});
    site.apply("ProxyChain", "one", &quick);
    let _members = [site.member(31), site.member(32)];
    site.await_chain("one", "Programmed", "True", SOON);
    site.await_chain("one", "PrimaryActive", "True", SOON);
    let mark = site.space.plane.audit().mark();
    let begun = Instant::now();
    let mut turns = 0;
    while begun.elapsed() < UNREST {
        b1.kill();
        let_pass(TURN / 2);
        b1.revive();
        let_pass(TURN / 2);
        turns += 2;
    }
    let period = begun.elapsed();
    let written = writes(&site, mark);
    lab.say(format!(
        "{turns} changes in {period:.1?}: {} status writes",
        written.len()
    ));
    assert!(written.len() >= 3, "there is nothing to judge: {}", written.len());
    one_write_per_second(&written);
    // And ends with what is so.
    await_status(&site, Some(("b1", 0)), &[("PrimaryActive", "True", "Serving")]);
}
