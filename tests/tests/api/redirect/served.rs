//! Where the clients of a chain go that is dead or suspended, and what its status says of that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use switchyard_crds::{ProxyChain, ProxyChainStatus};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::member::Member;

use super::{LISTENER, await_alive, chain, pool};
use crate::shared::{SOON, Shared};
use crate::site::{Site, served_by};

/// From a backend's end to the status that says where its clients are: two probes of 300 ms, a word from every proxy of the
/// pool, a report a second later, a write a second after the one before, and what a busy machine needs.
const TOLD: Duration = Duration::from_secs(10);
/// A redirect is held for 10 s at least.
const OVER: Duration = Duration::from_secs(25);

/// `Ready` with its reason, whether and where clients are sent.
type Told<'a> = (&'a str, &'a str, bool, Option<&'a str>);

fn tells(status: &ProxyChainStatus, (ready, reason, active, to): Told<'_>) -> bool {
    let condition = status.conditions.iter().find(|it| it.type_ == "Ready");
    let redirect = status.redirect.clone().unwrap_or_default();
    condition.is_some_and(|it| it.status == ready && it.reason == reason)
        && redirect.active == active
        && redirect.to.as_deref() == to
}

#[track_caller]
fn await_status(site: &Site<'_>, name: &str, wanted: Told<'_>, within: Duration) -> ProxyChainStatus {
    let what = format!("{wanted:?}");
    site.space
        .await_object(name, &what, within, |chain: &ProxyChain| {
            let status = chain.status.clone().unwrap_or_default();
            if tells(&status, wanted) {
                Ok(status)
            } else {
                Err(format!("{status:#?}"))
            }
        })
}

/// Events about redirects of a chain, and how often each came.
fn events(site: &Site<'_>, name: &str) -> BTreeMap<String, u64> {
    let all = site.space.kubectl(&["get", "events.events.k8s.io", "-o", "json"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    let mut count = BTreeMap::new();
    for event in all["items"].as_array().unwrap() {
        let reason = event["reason"].as_str().unwrap();
        if event["regarding"]["name"] == name && reason.starts_with("Redirect") {
            *count.entry(reason.to_owned()).or_default() += event["series"]["count"].as_u64().unwrap_or(1);
        }
    }
    count
}

#[track_caller]
fn await_events(site: &Site<'_>, name: &str, wanted: &[(&str, u64)]) {
    let wanted: BTreeMap<String, u64> = wanted.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect();
    eventually(&format!("events are {wanted:?}"), TOLD, || {
        match events(site, name) {
            found if found == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

pub fn dead(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let client = lab.host("client", 100);
    let (mut b1, b2) = (site.backend("b1", 21), site.backend("b2", 22));
    pool(&site, "edge", &json!({}));
    pool(&site, "far", &json!({}));
    chain(&site, "edge", &b1, &json!({}));
    chain(&site, "far", &b2, &json!({}));
    let here = [site.member(31), site.member(32)];
    let there = [site.member_of("far", 41), site.member_of("far", 42)];
    let all: Vec<&Member> = here.iter().chain(&there).collect();
    await_alive(&all);
    let serving = ("True", "Serving", false, None);
    for name in ["edge", "far"] {
        await_status(&site, name, serving, SOON);
    }
    for member in &here {
        served_by(&client, member.at(LISTENER), &b1);
    }
    await_events(&site, "edge", &[]);

    let at = Instant::now();
    b1.kill();
    for member in &here {
        served_by(&client, member.at(LISTENER), &b2);
    }
    lab.say(format!("served by the other pool after {:.1?}", at.elapsed()));
    let away = ("True", "Redirecting", true, Some("far"));
    let status = await_status(&site, "edge", away, TOLD);
    lab.say(format!("its status says so after {:.1?}", at.elapsed()));
    let primary = status
        .conditions
        .iter()
        .find(|it| it.type_ == "PrimaryActive")
        .unwrap();
    assert_eq!(
        (primary.status.as_str(), primary.reason.as_str()),
        ("False", "NoHealthyBackends")
    );
    assert!(status.redirect.as_ref().unwrap().since.is_some(), "{status:#?}");
    await_events(&site, "edge", &[("RedirectStarted", 1)]);
    let column = site.space.kubectl(&["get", "pch", "edge"]);
    lab.say(column.clone());
    assert!(
        column.lines().next().unwrap().contains("REDIRECT") && column.contains("far"),
        "{column}"
    );
    await_status(&site, "far", serving, TOLD);

    let at = Instant::now();
    b1.revive();
    await_status(&site, "edge", serving, OVER);
    lab.say(format!("over {:.1?} after the backend came back", at.elapsed()));
    for member in &here {
        served_by(&client, member.at(LISTENER), &b1);
    }
    await_events(&site, "edge", &[("RedirectStarted", 1), ("RedirectEnded", 1)]);
    await_events(&site, "far", &[]);
}

pub fn suspended(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let client = lab.host("client", 100);
    let (b1, mut b2) = (site.backend("b1", 21), site.backend("b2", 22));
    pool(&site, "edge", &json!({}));
    pool(&site, "far", &json!({}));
    chain(&site, "edge", &b1, &json!({}));
    chain(&site, "far", &b2, &json!({}));
    let (here, there) = (site.member(31), site.member_of("far", 41));
    await_alive(&[&here, &there]);
    await_status(&site, "edge", ("True", "Serving", false, None), SOON);
    served_by(&client, here.at(LISTENER), &b1);
    chain(&site, "edge", &b1, &json!({"suspend": true}));
    served_by(&client, here.at(LISTENER), &b2);
    await_status(&site, "edge", ("True", "Redirecting", true, Some("far")), TOLD);
    let words = site.await_chain("edge", "Ready", "True", SOON).1;
    assert!(
        words.starts_with("it is suspended; its clients are sent to far"),
        "{words}"
    );
    // Nobody stands in for one that nobody stands in for.
    b2.kill();
    await_status(&site, "edge", ("False", "Suspended", false, None), OVER);
    await_status(&site, "far", ("False", "NoHealthyBackends", false, None), TOLD);
    let words = site.await_chain("far", "Ready", "False", SOON).1;
    assert!(
        words.ends_with("no chain of group g takes its clients"),
        "{words}"
    );
    await_events(&site, "edge", &[("RedirectStarted", 1), ("RedirectEnded", 1)]);
    b2.revive();
    await_status(&site, "far", ("True", "Serving", false, None), OVER);
    chain(&site, "edge", &b1, &json!({"suspend": false}));
    await_status(&site, "edge", ("True", "Serving", false, None), OVER);
    served_by(&client, here.at(LISTENER), &b1);
}

pub fn misfits(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let backend = site.backend("b1", 21);
    pool(&site, "edge", &json!({}));
    let http = json!({"listeners": [{"name": "one", "port": LISTENER, "protocol": "HTTP"}]});
    pool(&site, "far", &http);
    chain(&site, "edge", &backend, &json!({}));
    site.await_chain("edge", "Accepted", "True", SOON);
    // Ages are whole seconds: of equally old ones the name decides, and this one's comes first.
    chain(&site, "far", &backend, &json!({}));
    let words = "chains of group g must agree: this one has protocol HTTP, the older";
    let (reason, message) = site.await_chain_saying("far", ("Accepted", "False"), words, SOON);
    assert_eq!(reason, "Conflicted", "{message}");
    assert!(
        message.starts_with("spec.group: ") && message.ends_with("has protocol TCP"),
        "{message}"
    );
    site.await_chain("edge", "Accepted", "True", SOON);
    let remote = json!({"remote": {"addresses": ["dr.example:443"]}, "group": "g"});
    site.apply("ProxyChain", "dr", &remote);
    site.await_chain("dr", "Accepted", "True", SOON);
    site.space.await_object(
        "dr",
        "has no other condition than it can",
        SOON,
        |chain: &ProxyChain| {
            let status = chain.status.clone().unwrap_or_default();
            let types: Vec<&str> = status.conditions.iter().map(|it| it.type_.as_str()).collect();
            match types[..] {
                ["Accepted", "ResolvedRefs"] => Ok(()),
                _ => Err(format!("{types:?}")),
            }
        },
    );
    // With the protocol that the others have it is taken.
    pool(&site, "far", &json!({}));
    site.await_chain("far", "Accepted", "True", SOON);
}
