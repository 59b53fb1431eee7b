#![allow(clippy::needless_pass_by_value, reason = "`json!` makes values")]

mod group;
mod properties;
mod sidecar;
mod tls;

use serde_json::{Value, json};

use super::*;

/// Resources of YAML documents in the order given.
fn resources(text: &str) -> Resources {
    let mut resources = Resources::default();
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    for document in &documents {
        add(&mut resources, document);
    }
    resources
}

fn add(resources: &mut Resources, document: &Value) {
    let written = Fields::written(document);
    let order = (resources.pools.len() + resources.chains.len()) as u64;
    let object = document.clone();
    match document["kind"].as_str() {
        Some("ProxyPool") => {
            let object = serde_json::from_value(object).unwrap();
            resources.pools.push(Arc::new(Given {
                object: Arc::new(object),
                written,
                order,
            }));
        }
        Some("ProxyChain") => {
            let object = serde_json::from_value(object).unwrap();
            resources.chains.push(Arc::new(Given {
                object: Arc::new(object),
                written,
                order,
            }));
        }
        other => panic!("{other:?}"),
    }
}

fn pool(name: &str, spec: Value) -> Value {
    object("ProxyPool", name, spec)
}

fn chain(name: &str, spec: Value) -> Value {
    object("ProxyChain", name, spec)
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let metadata = json!({"name": name, "namespace": "edge"});
    json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

fn compiled(documents: &[Value]) -> Compiled {
    let mut resources = Resources::default();
    for document in documents {
        add(&mut resources, document);
    }
    compile(&resources, Profile::Standalone)
}

/// What is refused, as `name field Reason: message`.
fn refused(compiled: &Compiled) -> Vec<String> {
    let words = |r: &Refusal| format!("{} {} {}: {}", r.object.name, r.field, r.reason, r.message);
    compiled.refused.iter().map(words).collect()
}

/// One pool with these listeners, called `dmz`.
fn dmz(listeners: Value) -> Value {
    pool("dmz", json!({"listeners": listeners}))
}

/// A chain on `dmz` with one backend and these fields besides.
fn to_dmz(name: &str, fields: Value) -> Value {
    let mut spec = json!({
        "poolRef": {"name": "dmz"},
        "backends": [{"name": "one", "host": "one.example", "port": 80}],
    });
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    chain(name, spec)
}

fn chains_of(compiled: &Compiled, pool: &str) -> Vec<String> {
    let key = PoolId {
        namespace: "edge".into(),
        name: pool.into(),
    };
    compiled.snapshots[&key]
        .chains
        .iter()
        .map(|chain| chain.id.name.clone())
        .collect()
}

#[test]
fn whole_manifests_become_whole_snapshots() {
    for (yaml, golden, key) in [
        (
            include_str!("../../testdata/api.yaml"),
            include_str!("../../testdata/api.json"),
            "edge/dmz-a",
        ),
        (
            include_str!("../../testdata/least.yaml"),
            include_str!("../../testdata/least.json"),
            "default/web",
        ),
    ] {
        let compiled = compile(&resources(yaml), Profile::Standalone);
        assert_eq!(compiled.refused, []);
        let (compiled_key, snapshot) = compiled.snapshots.into_iter().next().unwrap();
        assert_eq!(compiled_key.to_string(), key);
        let golden: Value = serde_json::from_str(golden).unwrap();
        assert_eq!(serde_json::to_value(&snapshot).unwrap(), golden, "{key}");
        assert_eq!(snapshot.validate().1, []);
    }
}

#[test]
fn in_a_cluster_a_low_port_is_bound_higher_up() {
    let resources = resources(include_str!("../../testdata/least.yaml"));
    let port = |profile| {
        let compiled = compile(&resources, profile);
        assert_eq!(compiled.refused, []);
        compiled.snapshots.values().next().unwrap().listeners[0].port
    };
    assert_eq!((port(Profile::Standalone), port(Profile::Cluster)), (443, 8443));
}

#[test]
fn what_is_about_the_cluster_is_said_to_have_no_effect_and_only_standalone() {
    let resources = resources(include_str!("../../testdata/api.yaml"));
    let notes = compile(&resources, Profile::Standalone).notes;
    let fields: Vec<String> = notes.iter().map(|note| note.field.to_string()).collect();
    assert_eq!(fields, ["spec.listeners[0].bindPort", "spec.workload",]);
    assert_eq!(compile(&resources, Profile::Cluster).notes, []);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn what_is_not_built_yet_is_refused_by_name() {
    let listener = |fields: Value| {
        let mut listener = json!({"name": "a", "port": 8443});
        fields
            .as_object()
            .unwrap()
            .iter()
            .for_each(|(field, value)| listener[field] = value.clone());
        dmz(json!([listener]))
    };
    let backend = |fields: Value| {
        let mut backend = json!({"name": "one"});
        fields
            .as_object()
            .unwrap()
            .iter()
            .for_each(|(field, value)| backend[field] = value.clone());
        to_dmz("c", json!({"backends": [backend]}))
    };
    let of_pool = |field: &str, value: Value| {
        pool(
            "dmz",
            json!({"listeners": [{"name": "a", "port": 8443}], field: value}),
        )
    };
    for (document, field) in [
        (
            listener(json!({"protocol": "SOCKS"})),
            "spec.listeners[0].protocol: SOCKS",
        ),
        (
            listener(json!({"protocol": "HTTPProxy"})),
            "spec.listeners[0].protocol: HTTPProxy",
        ),
        (listener(json!({"forward": {}})), "spec.listeners[0].forward"),
        (of_pool("dns", json!({"ttl": "1s"})), "spec.dns"),
        (
            backend(json!({"service": {"name": "s", "port": 1}})),
            "spec.backends[0].service",
        ),
        (
            backend(json!({"dialIn": {"listener": "l"}})),
            "spec.backends[0].dialIn",
        ),
    ] {
        let mut documents = vec![document.clone()];
        if document["kind"] == "ProxyChain" {
            documents.push(dmz(json!([{"name": "a", "port": 8443}])));
        }
        let compiled = compiled(&documents);
        let messages: Vec<&str> = compiled.refused.iter().map(|r| r.message.as_str()).collect();
        assert_eq!(messages, [format!("not supported by this version: {field}")]);
        assert_eq!(compiled.refused[0].reason, Reason::UnsupportedValue);
        let path = compiled.refused[0].field.to_string();
        assert!(
            field == path || field.starts_with(&format!("{path}: ")),
            "{path} {field}"
        );
    }
}

#[test]
fn a_refused_listener_or_chain_leaves_the_others_alone() {
    let compiled = compiled(&[
        dmz(
            json!([{"name": "socks", "port": 80, "protocol": "SOCKS"}, {"name": "tcp", "port": 81, "protocol": "TCP"}]),
        ),
        to_dmz(
            "on-socks",
            json!({"poolRef": {"name": "dmz", "listener": "socks"}}),
        ),
        to_dmz("on-tcp", json!({"poolRef": {"name": "dmz", "listener": "tcp"}})),
    ]);
    assert_eq!(
        refused(&compiled),
        [
            "dmz spec.listeners[0].protocol UnsupportedValue: not supported by this version: spec.listeners[0].protocol: SOCKS",
            "on-socks spec.poolRef.listener Pending: listener socks of ProxyPool edge/dmz is refused",
        ]
    );
    assert_eq!(chains_of(&compiled, "dmz"), ["on-tcp"]);
}

#[test]
fn a_pool_reference_leads_to_a_pool_and_a_listener_or_says_why_not() {
    let two = dmz(json!([{"name": "a", "port": 81}, {"name": "b", "port": 82}]));
    let compiled = compiled(&[
        two,
        to_dmz("elsewhere", json!({"poolRef": {"name": "gone"}})),
        to_dmz("which", json!({})),
        to_dmz("wrong", json!({"poolRef": {"name": "dmz", "listener": "c"}})),
        chain(
            "none",
            json!({"backends": [{"name": "one", "host": "one.example", "port": 80}]}),
        ),
        to_dmz("right", json!({"poolRef": {"name": "dmz", "listener": "b"}})),
    ]);
    assert_eq!(
        refused(&compiled),
        [
            "elsewhere spec.poolRef.name NoMatchingParent: there is no ProxyPool gone in namespace edge",
            "none spec Invalid: poolRef must be given: name the pool whose clients come here",
            "which spec.poolRef.listener NoMatchingParent: must be given, since pool dmz has several: a, b",
            "wrong spec.poolRef.listener NoMatchingParent: pool dmz has no such listener; it has: a, b",
        ]
    );
    assert_eq!(chains_of(&compiled, "dmz"), ["right"]);
}

#[test]
fn a_pool_that_cannot_be_read_is_not_called_missing() {
    let mut resources = Resources::default();
    add(&mut resources, &to_dmz("c", json!({})));
    let dmz = ObjectKey {
        kind: Kind::ProxyPool,
        namespace: "edge".into(),
        name: "dmz".into(),
    };
    let spec = json!({"spec": {"dns": {}, "listeners": [{"port": 1}, {"forward": {}}]}});
    resources.unreadable.insert(dmz, Fields::written(&spec));
    let compiled = compile(&resources, Profile::Standalone);
    assert_eq!(
        refused(&compiled),
        [
            "dmz spec.dns UnsupportedValue: not supported by this version: spec.dns",
            "dmz spec.listeners[1].forward UnsupportedValue: not supported by this version: spec.listeners[1].forward",
            "c spec.poolRef.name Pending: ProxyPool edge/dmz cannot be read",
        ]
    );
}

#[test]
fn of_chains_that_want_the_same_name_the_oldest_gets_it() {
    let dated = |mut document: Value, time: &str| {
        document["metadata"]["creationTimestamp"] = json!(time);
        document
    };
    let compiled = compiled(&[
        dmz(json!([{"name": "a", "port": 81}])),
        to_dmz("undated", json!({"hostnames": ["other.example", "A.example"]})),
        dated(
            to_dmz("younger", json!({"hostnames": ["a.example"]})),
            "2026-02-01T00:00:00Z",
        ),
        dated(
            to_dmz("older", json!({"hostnames": ["a.example"]})),
            "2026-01-01T00:00:00Z",
        ),
        to_dmz("wildcard", json!({"hostnames": ["*.example"]})),
        to_dmz("default-1", json!({})),
        to_dmz("default-2", json!({})),
    ]);
    assert_eq!(
        refused(&compiled),
        [
            "default-2 spec.hostnames Conflicted: listener a has a default chain already: the older edge/default-1",
            "undated spec.hostnames[1] Conflicted: the name a.example leads to another chain already: the older edge/older",
            "younger spec.hostnames[0] Conflicted: the name a.example leads to another chain already: the older edge/older",
        ]
    );
    assert_eq!(chains_of(&compiled, "dmz"), ["default-1", "older", "wildcard"]);
}

#[test]
fn a_chain_that_is_refused_holds_no_name() {
    let compiled = compiled(&[
        dmz(json!([{"name": "a", "port": 81}])),
        to_dmz(
            "first",
            json!({"hostnames": ["a.example"], "failover": {"active": "nobody"}}),
        ),
        to_dmz("second", json!({"hostnames": ["a.example"]})),
    ]);
    assert_eq!(refused(&compiled).len(), 1);
    assert_eq!(chains_of(&compiled, "dmz"), ["second"]);
}

#[test]
fn a_listener_takes_only_what_it_can_tell_apart() {
    let compiled = compiled(&[
        dmz(json!([
            {"name": "tcp", "port": 81, "protocol": "TCP"},
            {"name": "tls", "port": 82, "protocol": "TLS", "tls": {"mode": "Passthrough"}},
            {"name": "auto", "port": 83},
        ])),
        to_dmz("tcp-1", json!({"poolRef": {"name": "dmz", "listener": "tcp"}})),
        to_dmz("tcp-2", json!({"poolRef": {"name": "dmz", "listener": "tcp"}})),
        to_dmz(
            "tcp-3",
            json!({"poolRef": {"name": "dmz", "listener": "tcp"}, "hostnames": ["a.example"]}),
        ),
        to_dmz(
            "tls-1",
            json!({"poolRef": {"name": "dmz", "listener": "tls"}, "serverFirst": true}),
        ),
        to_dmz(
            "auto-1",
            json!({"poolRef": {"name": "dmz", "listener": "auto"}, "serverFirst": true}),
        ),
    ]);
    assert_eq!(
        refused(&compiled),
        [
            "tcp-2 spec.poolRef Conflicted: listener tcp is TCP and takes one chain: the older edge/tcp-1",
            "tcp-3 spec.hostnames Invalid: listener tcp is TCP and sees no names: leave them out, or make its protocol TLS or Auto",
            "tcp-3 spec.poolRef Conflicted: listener tcp is TCP and takes one chain: the older edge/tcp-1",
            "tls-1 spec.serverFirst Invalid: listener tls is TLS, where the client speaks first",
        ]
    );
    assert_eq!(chains_of(&compiled, "dmz"), ["auto-1", "tcp-1"]);
}

#[test]
fn pools_that_share_an_access_point_agree_or_the_younger_is_refused() {
    let sharing = |name: &str, access_point: Value| {
        pool(
            name,
            json!({"accessPoint": access_point, "listeners": [{"name": "a", "port": 81}]}),
        )
    };
    let compiled = compiled(&[
        sharing("first", json!({"name": "sync", "host": "sync.example"})),
        sharing("same", json!({"name": "sync", "host": "sync.example"})),
        sharing("other-host", json!({"name": "sync", "host": "other.example"})),
        sharing(
            "sync",
            json!({"host": "sync.example", "service": {"type": "NodePort"}}),
        ),
        sharing("alone", json!({"host": "other.example"})),
    ]);
    let shared =
        "Conflicted: differs from the older ProxyPool edge/first, which has the same access point \"sync\"";
    let all = refused(&compiled);
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(
        all[0].starts_with(&format!("other-host spec.accessPoint.host {shared}")),
        "{}",
        all[0]
    );
    assert!(
        all[1].starts_with(&format!("sync spec.accessPoint.service {shared}")),
        "{}",
        all[1]
    );
    let pools: Vec<&str> = compiled.snapshots.keys().map(|key| key.name.as_str()).collect();
    assert_eq!(pools, ["alone", "first", "same"]);
}

#[test]
fn ports_of_one_pool_do_not_clash() {
    let standalone: [(Value, &str); 7] = [
        (
            json!([{"name": "a", "port": 81}, {"name": "b", "port": 81}]),
            "spec.listeners[1].port",
        ),
        (
            json!([{"name": "a", "port": 81, "addresses": ["0.0.0.0"]}, {"name": "b", "port": 81, "addresses": ["192.0.2.1"]}]),
            "spec.listeners[1].port",
        ),
        (
            json!([{"name": "a", "port": 81, "addresses": ["192.0.2.2"]}, {"name": "b", "port": 81, "addresses": ["192.0.2.1"]}]),
            "",
        ),
        (
            json!([{"name": "a", "port": 81, "directPort": 82}, {"name": "b", "port": 82}]),
            "spec.listeners[1].port",
        ),
        (json!([{"name": "a", "port": 17000}]), "spec.listeners[0].port"),
        (
            json!([{"name": "a", "port": 81, "directPort": 81}]),
            "spec.listeners[0].directPort",
        ),
        (json!([{"name": "a", "port": 60000}]), ""),
    ];
    let cluster: [(Value, &str); 4] = [
        (
            json!([{"name": "a", "port": 60000}]),
            "spec.listeners[0].directPort",
        ),
        (
            json!([{"name": "a", "port": 81}, {"name": "b", "port": 8081}]),
            "spec.listeners[1].port",
        ),
        (
            json!([{"name": "a", "port": 18081}, {"name": "b", "port": 81}]),
            "spec.listeners[1].port",
        ),
        (
            json!([{"name": "a", "port": 81, "bindPort": 2000}, {"name": "b", "port": 81, "bindPort": 2001}]),
            "",
        ),
    ];
    let cases = standalone.map(|(l, f)| (Profile::Standalone, l, f)).into_iter();
    for (profile, listeners, field) in cases.chain(cluster.map(|(l, f)| (Profile::Cluster, l, f))) {
        let mut resources = Resources::default();
        add(&mut resources, &dmz(listeners.clone()));
        let refused = compile(&resources, profile).refused;
        let mut fields: Vec<String> = refused.iter().map(|r| r.field.to_string()).collect();
        fields.dedup();
        let expected: &[&str] = if field.is_empty() { &[] } else { &[field] };
        assert_eq!(fields, expected, "{profile:?} {listeners} {refused:?}");
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn rules_of_one_chain_name_the_field() {
    let start = json!({"days": ["Mon"], "at": "07:00"});
    for (fields, field, words) in [
        (json!({"backends": []}), "spec.backends", "needs a backend"),
        (
            json!({"backends": [{"name": "a", "host": "h", "port": 1, "tier": 1}]}),
            "spec.backends",
            "tier 0",
        ),
        (
            json!({"backends": [{"name": "a"}]}),
            "spec.backends[0]",
            "exactly one",
        ),
        (
            json!({"backends": [{"name": "a", "host": "h", "port": 1}, {"name": "a", "host": "i", "port": 1}]}),
            "spec.backends[1].name",
            "another backend",
        ),
        (
            json!({"failover": {"active": "two"}}),
            "spec.failover.active",
            "there are: one",
        ),
        (
            json!({"failover": {"failback": "Scheduled"}}),
            "spec.failover.failback",
            "needs a schedule",
        ),
        (
            json!({"schedule": {"timeZone": "Europe/Londn", "starts": [start]}}),
            "spec.schedule.timeZone",
            "Europe/London",
        ),
        (
            json!({"schedule": {"starts": [{"days": ["Mon"], "at": "25:00"}]}}),
            "spec.schedule.starts[0].at",
            "no time of day",
        ),
        (
            json!({"schedule": {"starts": [{"days": [], "at": "07:00"}]}}),
            "spec.schedule.starts[0].days",
            "one day",
        ),
        (
            json!({"schedule": {"starts": []}}),
            "spec.schedule.starts",
            "at least once",
        ),
        (
            json!({"schedule": {"starts": [start], "except": ["2026-02-29"]}}),
            "spec.schedule.except[0]",
            "no day of the calendar",
        ),
        (
            json!({"health": {"monitors": [{}]}}),
            "spec.health.monitors[0]",
            "exactly one",
        ),
        (
            json!({"health": {"interval": "0s"}}),
            "spec.health.interval",
            "above zero",
        ),
        (
            json!({"health": {"timeout": "0s"}}),
            "spec.health.timeout",
            "above zero",
        ),
        (
            json!({"connect": {"timeout": "0s"}}),
            "spec.connect.timeout",
            "above zero",
        ),
        (
            json!({"resolution": {"minTTL": "0s"}}),
            "spec.resolution.minTTL",
            "above zero",
        ),
        (
            json!({"resolution": {"minTTL": "1m"}}),
            "spec.resolution.minTTL",
            "at most maxTTL, 30s",
        ),
        (
            json!({"resolution": {"nameservers": ["ns.example"]}}),
            "spec.resolution.nameservers[0]",
            "no address",
        ),
    ] {
        let pool = dmz(json!([{"name": "a", "port": 81}]));
        let compiled = compiled(&[pool, to_dmz("c", fields.clone())]);
        let [
            Refusal {
                field: at,
                reason: Reason::Invalid,
                message,
                ..
            },
        ] = compiled.refused.as_slice()
        else {
            panic!("{fields}: {:?}", compiled.refused)
        };
        assert_eq!(at.to_string(), field);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn manual_names_its_backend_and_automatic_none() {
    for (mode, active) in [("Manual", Some("one".to_owned())), ("Automatic", None)] {
        let pool = dmz(json!([{"name": "a", "port": 81}]));
        let compiled = compiled(&[
            pool,
            to_dmz("c", json!({"failover": {"mode": mode, "active": "one"}})),
        ]);
        assert_eq!(
            compiled.snapshots.values().next().unwrap().chains[0]
                .failover
                .active,
            active
        );
    }
}
