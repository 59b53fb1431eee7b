//! What each change dirties, by tables; and that a unit compiled by itself is what it is among all others.

mod groups;
mod sidecars;

use serde_json::{Value, json};

use super::*;
use crate::compile::{Fields, Profile, Resources, compile};
use crate::endpoints::{Definition, Slice};
use crate::secrets::{Fetched, Secret};

fn index() -> Index {
    Index::new(Pods::default(), Wants::default()).unwrap()
}

fn object<T: serde::de::DeserializeOwned>(kind: &str, name: &str, generation: i64, spec: &Value) -> Arc<T> {
    let metadata = json!({
        "name": name, "namespace": "edge", "generation": generation, "uid": format!("uid-of-{name}"),
        "creationTimestamp": "2026-01-01T00:00:00Z",
    });
    let object = json!({
        "apiVersion": "switchyard.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec,
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn pool(name: &str, generation: i64, access_point: &str) -> Change {
    let spec = json!({"accessPoint": {"name": access_point}, "listeners": [{"name": "a", "port": 8443}]});
    Change::Pool(object("ProxyPool", name, generation, &spec))
}

fn chain(name: &str, generation: i64, pool: &str, target: &Value) -> Change {
    let mut backend = json!({"name": "one"});
    for (field, value) in target.as_object().unwrap() {
        backend[field] = value.clone();
    }
    let mut spec = json!({"hostnames": [format!("{name}.example")], "backends": [backend]});
    if !pool.is_empty() {
        spec["poolRef"] = json!({"name": pool});
    }
    Change::Chain(object("ProxyChain", name, generation, &spec))
}

fn host() -> Value {
    json!({"host": "one.example", "port": 80})
}

fn service(name: &str) -> Value {
    json!({"service": {"name": name, "port": 80}})
}

fn service_id(name: &str) -> ServiceId {
    ServiceId {
        namespace: "edge".into(),
        name: name.into(),
    }
}

fn defined(name: &str, port: u16) -> Change {
    let object = json!({"metadata": {}, "spec": {"ports": [{"port": port}]}});
    Change::Service(
        service_id(name),
        Some(Definition::of(&serde_json::from_value(object).unwrap())),
    )
}

fn slice(service: &str, name: &str, address: &str, extra: &Value) -> Change {
    let object = json!({
        "metadata": {"name": name, "namespace": "edge", "labels": {"kubernetes.io/service-name": service, "extra": extra}},
        "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": [{"addresses": [address], "hints": {"forZones": []}}],
    });
    let (service, slice) = Slice::of(&serde_json::from_value(object).unwrap()).unwrap();
    Change::Slice {
        service,
        name: name.into(),
        slice: Some(slice),
    }
}

fn slice_gone(service: &str, name: &str) -> Change {
    Change::Slice {
        service: service_id(service),
        name: name.into(),
        slice: None,
    }
}

fn pool_with_tls(name: &str, generation: i64, secret: &str) -> Change {
    let listener = json!({"name": "a", "port": 8443, "tls": {"certificateRefs": [{"name": secret}]}});
    let spec = json!({"accessPoint": {"name": name}, "listeners": [listener]});
    Change::Pool(object("ProxyPool", name, generation, &spec))
}

fn with_ca(secret: &str) -> Value {
    json!({"host": "one.example", "port": 80, "tls": {"caRef": {"name": secret}}})
}

fn secret_id(name: &str) -> SecretId {
    SecretId {
        namespace: "edge".into(),
        name: name.into(),
    }
}

fn secret(name: &str, version: Option<&str>) -> Change {
    Change::Secret(secret_id(name), version.map(str::to_owned))
}

fn fetched(name: &str, version: &str, text: &str) -> Change {
    let data = BTreeMap::from([("ca.crt".to_owned(), text.as_bytes().to_vec())]);
    let fetched = Fetched::Found {
        version: version.into(),
        secret: Arc::new(Secret::new(data)),
    };
    Change::Fetched(secret_id(name), fetched)
}

fn pool_key(name: &str) -> PoolId {
    PoolId {
        namespace: "edge".into(),
        name: name.into(),
    }
}

fn chain_key(name: &str) -> ChainId {
    ChainId {
        namespace: "edge".into(),
        name: name.into(),
    }
}

/// What a change dirties, by name.
fn apply(index: &mut Index, change: Change) -> Vec<String> {
    let mut dirty = Dirty::new();
    index.apply(change, &mut dirty);
    dirty
        .iter()
        .map(|unit| unit.to_string().replace("edge/", ""))
        .collect()
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn each_change_dirties_what_depends_on_it_and_nothing_else() {
    let mut index = index();
    let table: Vec<(&str, Change, &[&str])> = vec![
        (
            "a chain before its pool",
            chain("c1", 1, "a", &host()),
            &["pool a"],
        ),
        ("a pool", pool("a", 1, "a"), &["pool a"]),
        ("the same again", pool("a", 1, "a"), &[]),
        ("its spec", pool("a", 2, "a"), &["pool a"]),
        ("a pool beside it", pool("b", 1, "b"), &["pool b"]),
        (
            "it shares the first one's access point",
            pool("b", 2, "a"),
            &["pool a", "pool b"],
        ),
        ("and has its own again", pool("b", 3, "b"), &["pool a", "pool b"]),
        ("shares again", pool("b", 4, "a"), &["pool a", "pool b"]),
        (
            "and is gone",
            Change::PoolGone(pool_key("b")),
            &["pool a", "pool b"],
        ),
        ("gone already", Change::PoolGone(pool_key("b")), &["pool b"]),
        (
            "a chain of the pool that is gone",
            chain("c2", 1, "b", &host()),
            &["pool b"],
        ),
        ("it moves", chain("c2", 2, "a", &host()), &["pool a", "pool b"]),
        ("its status changes", chain("c2", 2, "a", &host()), &[]),
        (
            "it names no pool",
            chain("c2", 3, "", &host()),
            &["pool a", "chain c2"],
        ),
        ("and is gone", Change::ChainGone(chain_key("c2")), &["chain c2"]),
        ("gone already", Change::ChainGone(chain_key("c2")), &[]),
        ("a Service that nobody names", defined("cms", 80), &[]),
        ("its slice", slice("cms", "x", "10.0.0.1", &json!("")), &[]),
        (
            "somebody names it",
            chain("c3", 1, "a", &service("cms")),
            &["pool a"],
        ),
        (
            "an endpoint more",
            slice("cms", "y", "10.0.0.2", &json!("")),
            &["pool a"],
        ),
        (
            "an endpoint changes",
            slice("cms", "y", "10.0.0.3", &json!("")),
            &["pool a"],
        ),
        (
            "only its labels do",
            slice("cms", "y", "10.0.0.3", &json!("z")),
            &[],
        ),
        ("the slice is gone", slice_gone("cms", "y"), &["pool a"]),
        ("gone already", slice_gone("cms", "y"), &[]),
        ("the Service has another port", defined("cms", 81), &["pool a"]),
        (
            "it is gone",
            Change::Service(service_id("cms"), None),
            &["pool a"],
        ),
        (
            "another Service is named",
            chain("c3", 2, "a", &service("other")),
            &["pool a"],
        ),
        ("the first comes back", defined("cms", 80), &[]),
        ("a Secret that nobody names", secret("tls", Some("1")), &[]),
        ("a pool that names it", pool_with_tls("a", 3, "tls"), &["pool a"]),
        ("what stands in it", fetched("tls", "1", "x"), &["pool a"]),
        ("it changes", secret("tls", Some("2")), &[]),
        ("what stands in it", fetched("tls", "2", "y"), &["pool a"]),
        (
            "a Secret that a chain names",
            chain("c4", 1, "a", &with_ca("ca")),
            &["pool a"],
        ),
        ("is made", secret("ca", Some("1")), &[]),
        ("and fetched", fetched("ca", "1", "x"), &["pool a"]),
        ("and gone", secret("ca", None), &["pool a"]),
        ("and made again", secret("ca", Some("2")), &[]),
        ("and fetched again", fetched("ca", "2", "x"), &["pool a"]),
        (
            "the chain names no pool",
            chain("c4", 2, "", &with_ca("ca")),
            &["pool a", "chain c4"],
        ),
        ("the Secret is another", secret("ca", Some("3")), &[]),
        (
            "which concerns the chain alone",
            fetched("ca", "3", "y"),
            &["chain c4"],
        ),
        (
            "a pool that cannot be read",
            Change::PoolUnreadable(pool_key("a")),
            &["pool a"],
        ),
        ("still", Change::PoolUnreadable(pool_key("a")), &[]),
        ("its Secret changes", secret("tls", Some("3")), &[]),
        ("it can again", pool("a", 4, "a"), &["pool a"]),
    ];
    for (what, change, expected) in table {
        assert_eq!(apply(&mut index, change), expected, "{what}");
    }
    assert_eq!(
        index.sizes(),
        Sizes {
            pools: 1,
            chains: 3,
            services: 1,
            secrets: 2,
            secrets_held: 1,
        }
    );
}

#[test]
fn who_was_deleted_and_made_again_is_another() {
    let mut index = index();
    apply(&mut index, pool("a", 1, "a"));
    let Change::Pool(again) = pool("a", 1, "a") else {
        unreachable!()
    };
    let mut again = (*again).clone();
    again.metadata.uid = Some("another".into());
    assert_eq!(apply(&mut index, Change::Pool(Arc::new(again))), ["pool a"]);
}

#[test]
fn a_status_that_changed_is_kept_though_nothing_is_compiled() {
    let mut index = index();
    apply(&mut index, chain("c1", 1, "a", &host()));
    let Change::Chain(seen) = chain("c1", 1, "a", &host()) else {
        unreachable!()
    };
    let mut seen = (*seen).clone();
    seen.metadata.resource_version = Some("77".into());
    assert_eq!(
        apply(&mut index, Change::Chain(Arc::new(seen))),
        Vec::<String>::new()
    );
    let unit = Unit::Pool(pool_key("a"));
    let members = index.members(&unit);
    assert_eq!(members[0].meta.resource_version.as_deref(), Some("77"));
}

/// Many objects that share and contradict each other.
fn crowd() -> Vec<Change> {
    let mut all = Vec::new();
    for n in 0..12 {
        // pools of one access point with different hosts: the oldest is right
        let access_point = format!("ap{}", n % 4);
        let spec = json!({
            "accessPoint": {"name": access_point, "host": format!("h{}.example", n / 4 % 2)},
            "listeners": [{"name": "a", "port": 8443, "protocol": if n % 5 == 0 { "TCP" } else { "Auto" }}],
            "workload": {"kind": if n == 9 { "Sidecar" } else { "Deployment" }},
        });
        let spec = if n == 9 {
            // a sidecar has no access point
            json!({"listeners": spec["listeners"], "workload": spec["workload"]})
        } else {
            spec
        };
        all.push(groups::pod(
            &format!("pod{n}"),
            &format!("p{n}"),
            &format!("10.0.1.{n}"),
        ));
        if n != 7 {
            all.push(Change::Pool(object("ProxyPool", &format!("p{n}"), 1, &spec)));
        }
    }
    all.push(Change::PoolUnreadable(pool_key("p7")));
    for n in 0..120 {
        let target = match n % 4 {
            0 => service(&format!("s{}", n % 3)),
            1 => with_ca(&format!("ca{}", n % 3)),
            _ => host(),
        };
        let pool = if n % 11 == 0 {
            String::new()
        } else {
            format!("p{}", n % 14)
        };
        all.push(if n % 3 == 0 {
            groups::member(n, &pool, &target)
        } else {
            chain(&format!("c{n}"), 1, &pool, &target)
        });
    }
    all.push(secret("switchyard-gossip-keys", Some("1")));
    all.push(groups::fetched_keys("switchyard-gossip-keys"));
    for n in 0..2 {
        all.push(secret(&format!("ca{n}"), Some("1")));
        all.push(fetched(&format!("ca{n}"), "1", "no certificate"));
        all.push(defined(&format!("s{n}"), 80));
        all.push(slice(&format!("s{n}"), "x", &format!("10.0.0.{n}"), &json!("")));
    }
    all
}

#[test]
fn units_by_themselves_are_what_they_are_together() {
    let mut index = index();
    let mut dirty = Dirty::new();
    for change in crowd() {
        index.apply(change, &mut dirty);
    }
    assert_eq!(dirty, index.units(), "everything is new");
    let mut whole = Resources {
        pools: index.pools.values().cloned().collect(),
        chains: index.chains.values().cloned().collect(),
        services: Some(index.services.clone()),
        secrets: index.secrets.only(
            (0..3)
                .map(|n| secret_id(&format!("ca{n}")))
                .chain([secret_id("switchyard-gossip-keys")]),
        ),
        proxies: groups::all_proxies(&index),
        ..Resources::default()
    };
    whole
        .unreadable
        .insert(ObjectKey::pool(&pool_key("p7")), Fields::default());
    let together = compile(&whole, Profile::Cluster);
    assert!(
        together.refused.len() > 10 && together.snapshots.len() > 5,
        "a crowd worth comparing: {} refusals, {} snapshots",
        together.refused.len(),
        together.snapshots.len()
    );
    let grouped = together.snapshots.values().filter(|it| it.peers.len() > 1);
    let conflicts = together.refused.iter();
    let conflicts = conflicts.filter(|it| it.message.contains("must agree: this one has"));
    let counted = (grouped.count(), conflicts.count());
    assert!(
        counted.0 > 2 && counted.1 > 1,
        "a crowd with groups, some of them in disagreement: {counted:?}"
    );
    let mut refused = Vec::new();
    let mut snapshots = BTreeMap::new();
    for unit in &dirty {
        let mut alone = compile(&index.resources(unit), Profile::Cluster);
        let members: Vec<ObjectKey> = index.members(unit).into_iter().map(|member| member.key).collect();
        refused.extend(
            alone
                .refused
                .into_iter()
                .filter(|refusal| members.contains(&refusal.object)),
        );
        if let Unit::Pool(id) = unit {
            snapshots.extend(alone.snapshots.remove_entry(id));
        }
    }
    refused.sort();
    assert_eq!(snapshots, together.snapshots);
    assert_eq!(refused, together.refused);
}
