//! Chains that stand in for each other.

use switchyard_snapshot::{Dialect, Fallback, GroupPlace, Return};

use super::*;

fn of(compiled: &Compiled, pool: &str) -> Snapshot {
    let key = PoolId {
        namespace: "edge".into(),
        name: pool.into(),
    };
    compiled.snapshots[&key].clone()
}

fn site(name: &str, listener: Value, fields: Value) -> Value {
    let mut spec = json!({"listeners": [listener], "site": name});
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    pool(name, spec)
}

fn on(pool: &str, name: &str, fields: Value) -> Value {
    let mut document = to_dmz(name, fields);
    document["spec"]["poolRef"] = json!({"name": pool});
    document
}

fn plain() -> Value {
    json!({"name": "sync", "port": 8443})
}

#[test]
fn members_come_by_priority_and_carry_the_oldest_schedule() {
    let prime = json!({"timeZone": "UTC", "starts": [{"days": ["Mon"], "at": "07:00"}]});
    let later = json!({"timeZone": "UTC", "starts": [{"days": ["Tue"], "at": "09:00"}]});
    let compiled = compiled(&[
        site("a", plain(), json!({"accessPoint": {"host": "sync.example.com"}})),
        site("b", plain(), json!({})),
        on(
            "a",
            "one",
            json!({"group": "g", "priority": 5, "hostnames": ["One.example"]}),
        ),
        on("b", "two", json!({"group": "g", "schedule": prime})),
        on("b", "alone", json!({"hostnames": ["alone.example"]})),
        chain(
            "three",
            json!({"group": "g", "priority": 9, "schedule": later, "remote": {"addresses": ["dr.example:1"]}}),
        ),
    ]);
    assert_eq!(compiled.refused, []);
    let one = &of(&compiled, "a").chains[0];
    let group = one.group.as_ref().unwrap();
    let names: Vec<&str> = group.members.iter().map(|m| m.chain.name.as_str()).collect();
    assert_eq!(names, ["two", "one", "three"]);
    assert_eq!(
        group.members[1].at,
        GroupPlace::Pool {
            pool: PoolId {
                namespace: "edge".into(),
                name: "a".into()
            },
            listener: "sync".into(),
            hostname: Some("one.example".into()),
        }
    );
    assert!(
        matches!(&group.members[2].at, GroupPlace::Remote { addresses, .. } if addresses == &["dr.example:1"])
    );
    let start = &group.schedule.as_ref().unwrap().starts[0];
    assert_eq!(String::from(start.at), "07:00", "the oldest that has one");
    assert_eq!(
        one.redirect.return_,
        Return::Scheduled,
        "the group has a schedule"
    );
    assert_eq!(
        (one.redirect.fallback, one.redirect.dialects.len()),
        (Fallback::Relay, 0)
    );
    let two = of(&compiled, "b");
    let peers: Vec<&str> = two.peers.iter().map(|peer| peer.id.name.as_str()).collect();
    assert_eq!(peers, ["a", "b"]);
    let home = &two.peers[0].listeners[0];
    assert_eq!(
        (home.access_host.as_deref(), home.access_port, home.direct_port),
        (Some("sync.example.com"), 8443, 18443)
    );
    let alone = two.chains.iter().find(|chain| chain.id.name == "alone").unwrap();
    assert_eq!(alone.group, None);
}

#[test]
fn only_listeners_that_guests_may_come_to_have_a_direct_port() {
    let listeners = json!([plain(), {"name": "other", "port": 9443}]);
    let compiled = compiled(&[
        pool("a", json!({"listeners": listeners, "guests": {"max": "10%"}})),
        on(
            "a",
            "one",
            json!({"group": "g", "poolRef": {"name": "a", "listener": "sync"}}),
        ),
    ]);
    // `on` names the pool alone; with two listeners that is refused
    assert_eq!(compiled.refused.len(), 1);
    let mut document = to_dmz("one", json!({"group": "g"}));
    document["spec"]["poolRef"] = json!({"name": "a", "listener": "sync"});
    let listeners = json!([plain(), {"name": "other", "port": 9443}]);
    let compiled = super::compiled(&[
        pool("a", json!({"listeners": listeners, "guests": {"max": "10%"}})),
        document,
    ]);
    let ports: Vec<(Option<u16>, u32)> = of(&compiled, "a")
        .listeners
        .iter()
        .map(|listener| (listener.direct_port, listener.max_guests))
        .collect();
    assert_eq!(ports, [(None, 0), (Some(18443), 1_000)]);
}

#[test]
fn chains_of_a_group_agree_with_the_oldest_in_protocol_and_tls() {
    let compiled = compiled(&[
        site(
            "a",
            json!({"name": "sync", "port": 81, "protocol": "TCP"}),
            json!({}),
        ),
        site(
            "b",
            json!({"name": "sync", "port": 82, "protocol": "HTTP"}),
            json!({}),
        ),
        on("a", "one", json!({"group": "g"})),
        on("b", "two", json!({"group": "g"})),
    ]);
    assert_eq!(
        refused(&compiled),
        [
            "two spec.group Conflicted: chains of group g must agree: this one has protocol HTTP, the older edge/one has protocol TCP"
        ]
    );
    let group = of(&compiled, "a").chains[0].group.clone().unwrap();
    assert_eq!(group.members.len(), 1);
}

#[test]
fn dialects_are_those_that_the_listener_can_speak() {
    let compiled = compiled(&[
        site(
            "a",
            json!({"name": "sync", "port": 81, "protocol": "TCP"}),
            json!({}),
        ),
        site(
            "b",
            json!({"name": "sync", "port": 82, "protocol": "HTTP"}),
            json!({}),
        ),
        on("a", "one", json!({"redirect": {"dialects": ["XMPP", "HTTP"]}})),
        on(
            "b",
            "two",
            json!({"redirect": {"dialects": ["MQTT", "WebSocket"]}}),
        ),
        on(
            "b",
            "three",
            json!({"hostnames": ["x.example"], "redirect": {"dialects": ["WebSocket", "HTTP"], "return": "OnDemand"}}),
        ),
    ]);
    assert_eq!(
        refused(&compiled),
        [
            "one spec.redirect.dialects[1] Invalid: listener sync reads no requests: leave it out, or make its protocol HTTP, HTTPS or Auto",
            "two spec.redirect.dialects[0] Invalid: listener sync takes HTTP only: leave it out, or make its protocol TCP, TLS or Auto",
        ]
    );
    let three = &of(&compiled, "b").chains[0];
    assert_eq!(three.redirect.dialects, [Dialect::Http, Dialect::WebSocket]);
    assert_eq!(three.redirect.return_, Return::OnDemand);
}

#[test]
fn a_return_by_schedule_needs_one() {
    let compiled = compiled(&[
        dmz(json!([plain()])),
        to_dmz("one", json!({"group": "g", "redirect": {"return": "Scheduled"}})),
    ]);
    assert_eq!(compiled.refused[0].field.to_string(), "spec.redirect.return");
}
