//! Whom proxies are told of, and by which keys they gossip.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use switchyard_tests::apiserver::pods::NODE_IP;
use switchyard_tests::eventually::{eventually, throughout};
use switchyard_tests::lab::Lab;
use switchyard_tests::member::Member;

use super::{await_alive, chain, pool};
use crate::shared::{SOON, Shared};
use crate::site::{Site, chain_spec};

/// Longer than it takes until one without a sign of life is taken for dead.
const UNHEARD: Duration = Duration::from_secs(6);

/// What a proxy is told of a pool's proxies: name and address.
fn peers(member: &Member, pool: &str) -> Vec<String> {
    let page = member.json("/snapshot");
    let pools = page["snapshot"]["peers"].as_array().cloned().unwrap_or_default();
    let proxies = pools.iter().find(|it| it["id"]["name"] == pool);
    let proxies = proxies.and_then(|it| it["proxies"].as_array()).cloned();
    let word = |it: &Value| format!("{} {}", it["name"].as_str().unwrap(), it["ip"].as_str().unwrap());
    proxies.unwrap_or_default().iter().map(word).collect()
}

#[track_caller]
fn await_peers(member: &Member, pool: &str, wanted: &[&str]) {
    eventually(
        &format!("{} is told of {pool}'s {wanted:?}", member.pod().name),
        SOON,
        || match peers(member, pool) {
            found if found == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}

pub fn told(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let backends = [site.backend("b1", 21), site.backend("b2", 22)];
    pool(&site, "edge", &json!({}));
    pool(&site, "far", &json!({}));
    pool(&site, "lone", &json!({}));
    chain(&site, "edge", &backends[0], &json!({}));
    chain(&site, "far", &backends[1], &json!({}));
    let members = [
        site.member(31),
        site.member_of("far", 41),
        site.member_of("far", 42),
    ];
    let lone = site.member_of("lone", 51);
    for member in &members {
        await_peers(member, "edge", &["edge-31 10.77.0.31"]);
        await_peers(member, "far", &["far-41 10.77.0.41", "far-42 10.77.0.42"]);
    }
    await_peers(&lone, "lone", &["lone-51 10.77.0.51"]);
    assert_eq!(
        peers(&lone, "far"),
        [""; 0],
        "no chain of theirs stands in for one of its own"
    );

    // One is told to end, and takes nobody any more though it is still there.
    site.space.plane.end_pod(members[2].pod());
    for member in &members[..2] {
        await_peers(member, "far", &["far-41 10.77.0.41"]);
    }
    let third = site.member_of("far", 43);
    for member in members[..2].iter().chain([&third]) {
        await_peers(member, "far", &["far-41 10.77.0.41", "far-43 10.77.0.43"]);
    }
    // Guests that come by the node are told its address.
    pool(
        &site,
        "far",
        &json!({"directAddress": [{"type": "NodeIP", "networks": ["10.0.0.0/8"]}]}),
    );
    eventually("far's nodes are told", SOON, || {
        let page = members[0].json("/snapshot");
        let pools = page["snapshot"]["peers"].as_array().cloned().unwrap_or_default();
        let far = pools.iter().find(|it| it["id"]["name"] == "far");
        match far.map(|far| &far["proxies"][0]["listed"]) {
            Some(listed) if *listed == json!([{"host": NODE_IP}]) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let before = generation(&members[0]);
    pool(&site, "lone", &json!({"drain": {"timeout": "60s"}}));
    eventually(
        "lone runs that",
        SOON,
        || match lone.json("/snapshot")["snapshot"]["pool"]["drainTimeout"].as_str() {
            Some("60s" | "1m") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    assert_eq!(
        generation(&members[0]),
        before,
        "what is another pool's matter alone is not sent"
    );
    // The group is left: nobody stands in any more.
    let mut spec = chain_spec("one", &[&backends[1]]);
    spec["poolRef"]["name"] = json!("far");
    site.apply("ProxyChain", "far", &spec);
    await_peers(&members[0], "far", &[]);
    await_peers(&members[0], "edge", &["edge-31 10.77.0.31"]);
}

fn generation(member: &Member) -> Value {
    member.json("/snapshot")["generation"].clone()
}

pub fn keys(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let backends = [site.backend("b1", 21), site.backend("b2", 22)];
    pool(&site, "edge", &json!({}));
    pool(&site, "far", &json!({}));
    chain(&site, "edge", &backends[0], &json!({}));
    chain(&site, "far", &backends[1], &json!({}));
    let members = [
        site.member(31),
        site.member_of("far", 41),
        site.member_of("far", 42),
    ];
    let members: Vec<&Member> = members.iter().collect();
    await_alive(&members);
    let first = ring(&site);
    assert_eq!(first.keys().collect::<Vec<_>>(), ["current", "next"]);
    let refused = |member: &&Member| {
        let why = |reason| {
            let metrics = member.metrics();
            metrics.sum("switchyard_gossip_refused_total", &[("reason", reason)])
        };
        why("no_key") + why("forged")
    };
    let before: f64 = members.iter().map(refused).sum();
    // Of the first keys none seals after the second step.
    let second = step(&site, &members, &first);
    let third = step(&site, &members, &second);
    let after: f64 = members.iter().map(refused).sum();
    assert!(
        (after - before).abs() < f64::EPSILON,
        "{before} and {after} datagrams that nobody could open"
    );
    let mut texts: Vec<String> = members
        .iter()
        .map(|member| member.json("/snapshot").to_string())
        .collect();
    texts.extend([
        site.operator.output(),
        site.operator.json("/snapshot").to_string(),
    ]);
    for key in third.values() {
        let hex = hex(key);
        assert!(
            texts.iter().all(|text| !text.contains(&hex)),
            "a key on a page or in a log"
        );
    }
}

type Ring = BTreeMap<String, Vec<u8>>;

fn ring(site: &Site<'_>) -> Ring {
    let all = site.space.all::<Secret>();
    let secret = site.space.plane.block_on(all.get("switchyard-gossip-keys"));
    let data = secret.unwrap().data.unwrap_or_default();
    data.into_iter().map(|(name, bytes)| (name, bytes.0)).collect()
}

/// Has the keys take the step that is due when the last one was eight days ago. Nobody is taken for dead meanwhile.
fn step(site: &Site<'_>, members: &[&Member], known: &Ring) -> Ring {
    let generations: Vec<Value> = members.iter().map(|member| generation(member)).collect();
    let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(8 * 24);
    let annotation = format!("switchyard.dev/rotated-at={long_ago}");
    site.space.kubectl(&[
        "annotate",
        "--overwrite",
        "secret",
        "switchyard-gossip-keys",
        &annotation,
    ]);
    let now = eventually("they take a step", SOON, || {
        let now = ring(site);
        if now.get("current") == known.get("next") {
            Ok(now)
        } else {
            Err("not yet".to_owned())
        }
    });
    assert_eq!(now["previous"], known["current"], "what sealed still opens");
    for (member, before) in members.iter().zip(generations) {
        eventually("the proxies are told", SOON, || match generation(member) {
            now if now != before => Ok(()),
            same => Err(format!("{same}")),
        });
    }
    throughout("everybody is heard", UNHEARD, || {
        let dead = |member: &&&Member| member.metrics().sum("switchyard_peers", &[("state", "dead")]) > 0.5;
        match members.iter().find(dead) {
            Some(member) => Err(member.json("/table").to_string()),
            None => Ok(()),
        }
    });
    await_alive(members);
    now
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
