//! Chains that share a group, and the proxies of their pools.

use super::*;
use crate::pods::Place;
use crate::pods::Pod;

fn pod_change(name: &str, pod: impl Into<Option<Pod>>) -> Change {
    Change::Pod {
        namespace: "edge".into(),
        name: name.into(),
        pod: pod.into().map(Box::new),
    }
}

fn seen(pool: &str, ip: Option<&str>, terminating: bool) -> Pod {
    Pod {
        uid: "u".into(),
        pool: (!pool.is_empty()).then(|| pool_key(pool)),
        terminating,
        account: format!("{pool}-proxy"),
        wish: None,
        place: ip.map(|ip| Place {
            ip: ip.parse().unwrap(),
            node: "n1".into(),
            node_ip: Some("192.0.2.1".parse().unwrap()),
            ready: true,
        }),
        ready_since: None,
    }
}

/// A pod of the pool, at this address.
pub fn pod(name: &str, pool: &str, ip: &str) -> Change {
    pod_change(name, seen(pool, Some(ip), false))
}

pub fn fetched_keys(name: &str) -> Change {
    let data = BTreeMap::from([("current".to_owned(), vec![7; 32])]);
    let fetched = Fetched::Found {
        version: "1".into(),
        secret: Arc::new(Secret::new(data)),
    };
    Change::Fetched(secret_id(name), fetched)
}

/// The proxies of every pool there is.
pub fn all_proxies(index: &Index) -> BTreeMap<PoolId, Vec<switchyard_snapshot::PeerProxy>> {
    let pools = index.pools.iter();
    let each = pools.map(|(id, pool)| {
        let proxies = index.roster.proxies(id, &pool.object.spec, &index.services);
        (id.clone(), proxies)
    });
    each.collect()
}

/// The `n`-th of a crowd: two groups, some of their chains beyond this cluster, some with prime time of their own.
pub fn member(n: usize, pool: &str, target: &Value) -> Change {
    let mut backend = json!({"name": "one"});
    for (field, value) in target.as_object().unwrap() {
        backend[field] = value.clone();
    }
    let mut spec = json!({"group": format!("g{}", n / 3 % 2), "priority": n % 2, "suspend": n.is_multiple_of(7),
        "hostnames": [format!("C{n}.example")]});
    if n.is_multiple_of(6) {
        spec["schedule"] =
            json!({"timeZone": "UTC", "starts": [{"days": ["Mon"], "at": format!("0{}:00", n % 10)}]});
        spec["redirect"] = json!({"return": "Scheduled"});
    }
    if n % 12 == 3 {
        spec["remote"] = json!({"addresses": [format!("dr{n}.example:443")]});
        // only another chain of its group may have a schedule
        spec["redirect"] = json!({"return": "Scheduled"});
    } else {
        spec["backends"] = json!([backend]);
        if !pool.is_empty() {
            spec["poolRef"] = json!({"name": pool});
        }
    }
    Change::Chain(object("ProxyChain", &format!("c{n}"), 1, &spec))
}

/// A chain whose spec is the usual one with these fields.
fn with(name: &str, generation: i64, pool: &str, fields: &Value) -> Change {
    let mut spec =
        json!({"poolRef": {"name": pool}, "backends": [{"name": "one", "host": "one.example", "port": 80}]});
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    if !spec["remote"].is_null() {
        let fields = spec.as_object_mut().unwrap();
        fields.remove("poolRef");
        fields.remove("backends");
    }
    Change::Chain(object("ProxyChain", name, generation, &spec))
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn what_the_chains_of_a_group_see_of_each_other_dirties_all_of_their_pools() {
    let mut index = index();
    let in_g = json!({"group": "g"});
    let table: Vec<(&str, Change, &[&str])> = vec![
        ("a pool", pool("a", 1, "a"), &["pool a"]),
        ("another", pool("b", 1, "b"), &["pool b"]),
        ("a third, in no group", pool("z", 1, "z"), &["pool z"]),
        ("the first of a group", with("c1", 1, "a", &in_g), &["pool a"]),
        (
            "the second joins",
            with("c2", 1, "b", &in_g),
            &["pool a", "pool b"],
        ),
        ("the same again", with("c2", 1, "b", &in_g), &[]),
        (
            "it changes in what its mates do not see",
            with("c2", 2, "b", &json!({"group": "g", "serverFirst": true})),
            &["pool b"],
        ),
        (
            "its priority",
            with("c2", 3, "b", &json!({"group": "g", "priority": 3})),
            &["pool a", "pool b"],
        ),
        (
            "it is suspended",
            with(
                "c2",
                4,
                "b",
                &json!({"group": "g", "priority": 3, "suspend": true}),
            ),
            &["pool a", "pool b"],
        ),
        (
            "its schedule",
            with(
                "c2",
                5,
                "b",
                &json!({"group": "g", "schedule": {"starts": [{"days": ["Mon"], "at": "07:00"}]}}),
            ),
            &["pool a", "pool b"],
        ),
        (
            "its first hostname",
            with("c2", 6, "b", &json!({"group": "g", "hostnames": ["one.example"]})),
            &["pool a", "pool b"],
        ),
        (
            "a second hostname",
            with(
                "c2",
                7,
                "b",
                &json!({"group": "g", "hostnames": ["One.example", "two.example"]}),
            ),
            &["pool b"],
        ),
        (
            "it moves to another pool",
            with("c2", 8, "z", &json!({"group": "g", "hostnames": ["one.example"]})),
            &["pool a", "pool b", "pool z"],
        ),
        (
            "and back",
            with("c2", 9, "b", &json!({"group": "g", "hostnames": ["one.example"]})),
            &["pool a", "pool b", "pool z"],
        ),
        (
            "one beyond this cluster",
            with(
                "dr",
                1,
                "",
                &json!({"group": "g", "remote": {"addresses": ["dr.example:443"]}}),
            ),
            &["pool a", "pool b", "chain dr"],
        ),
        (
            "has another address",
            with(
                "dr",
                2,
                "",
                &json!({"group": "g", "remote": {"addresses": ["dr.example:444"]}}),
            ),
            &["pool a", "pool b", "chain dr"],
        ),
        (
            "and is gone",
            Change::ChainGone(chain_key("dr")),
            &["pool a", "pool b", "chain dr"],
        ),
        ("a pool of the group", pool("a", 2, "a"), &["pool a", "pool b"]),
        ("is gone", Change::PoolGone(pool_key("a")), &["pool a", "pool b"]),
        ("and is back", pool("a", 1, "a"), &["pool a", "pool b"]),
        (
            "cannot be read",
            Change::PoolUnreadable(pool_key("a")),
            &["pool a", "pool b"],
        ),
        ("can again", pool("a", 3, "a"), &["pool a", "pool b"]),
        ("the pool of no group", pool("z", 2, "z"), &["pool z"]),
        (
            "it may contradict one of the group now",
            pool("z", 3, "b"),
            &["pool a", "pool b", "pool z"],
        ),
        ("and no more", pool("z", 4, "z"), &["pool a", "pool b", "pool z"]),
        (
            "another group",
            with("c3", 1, "z", &json!({"group": "h"})),
            &["pool z"],
        ),
        (
            "a chain goes over to it",
            with("c2", 10, "b", &json!({"group": "h"})),
            &["pool a", "pool b", "pool z"],
        ),
        ("a pool of the group that it left", pool("a", 4, "a"), &["pool a"]),
        (
            "it is in none",
            with("c2", 11, "b", &json!({})),
            &["pool b", "pool z"],
        ),
        ("it is gone", Change::ChainGone(chain_key("c2")), &["pool b"]),
    ];
    for (what, change, expected) in table {
        assert_eq!(apply(&mut index, change), expected, "{what}");
    }
}

#[test]
fn a_chain_that_is_made_again_is_the_youngest_of_its_group() {
    let mut index = index();
    for change in [
        pool("a", 1, "a"),
        pool("b", 1, "b"),
        with("c1", 1, "a", &json!({"group": "g"})),
        with("c2", 1, "b", &json!({"group": "g"})),
    ] {
        apply(&mut index, change);
    }
    let Change::Chain(again) = with("c1", 1, "a", &json!({"group": "g"})) else {
        unreachable!()
    };
    let mut again = (*again).clone();
    again.metadata.uid = Some("another".into());
    let created = "2026-02-01T00:00:00Z".parse().unwrap();
    again.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(created));
    assert_eq!(
        apply(&mut index, Change::Chain(Arc::new(again))),
        ["pool a", "pool b"]
    );
}

#[test]
fn pods_dirty_their_pool_and_those_that_share_a_group_with_it() {
    let mut index = index();
    for change in [
        pool("a", 1, "a"),
        pool("b", 1, "b"),
        pool("z", 1, "z"),
        with("c1", 1, "a", &json!({"group": "g"})),
        with("c2", 1, "b", &json!({"group": "g"})),
    ] {
        apply(&mut index, change);
    }
    let sidecar = json!({"workload": {"kind": "Sidecar"}, "listeners": [{"name": "a", "port": 8443}]});
    apply(&mut index, Change::Pool(object("ProxyPool", "side", 1, &sidecar)));
    let both: &[&str] = &["pool a", "pool b"];
    let table: Vec<(&str, Change, &[&str])> = vec![
        ("no address yet", pod_change("a-0", seen("a", None, false)), &[]),
        ("an address", pod("a-0", "a", "10.0.0.1"), both),
        ("the same again", pod("a-0", "a", "10.0.0.1"), &[]),
        ("another", pod("a-0", "a", "10.0.0.2"), both),
        ("a second pod", pod("a-1", "a", "10.0.0.3"), both),
        (
            "it shall end",
            pod_change("a-1", seen("a", Some("10.0.0.3"), true)),
            both,
        ),
        ("it is gone", pod_change("a-1", None), &[]),
        (
            "one that runs no more",
            pod_change("a-0", seen("a", None, false)),
            both,
        ),
        ("runs again", pod("a-0", "a", "10.0.0.2"), both),
        ("gone at once", pod_change("a-0", None), both),
        ("of a pool in no group", pod("z-0", "z", "10.0.1.1"), &["pool z"]),
        (
            "it is another pool's now",
            pod("z-0", "a", "10.0.1.1"),
            &["pool a", "pool b", "pool z"],
        ),
        (
            "and nobody's",
            pod_change("z-0", seen("", Some("10.0.1.1"), false)),
            both,
        ),
        (
            "of a pool that is not there",
            pod("n-0", "nowhere", "10.0.2.1"),
            &[],
        ),
        ("a sidecar", pod("s-0", "side", "10.0.3.1"), &[]),
    ];
    for (what, change, expected) in table {
        assert_eq!(apply(&mut index, change), expected, "{what}");
    }
}

#[test]
fn a_unit_holds_its_mates_their_pools_and_the_proxies_of_all_of_them() {
    let mut index = index();
    for change in [
        pod("b-1", "b", "10.0.0.4"),
        pod("b-0", "b", "10.0.0.3"),
        pod("a-0", "a", "10.0.0.1"),
        pod("z-0", "z", "10.0.1.1"),
        pod_change("b-2", seen("b", Some("10.0.0.5"), true)),
        pool("a", 1, "a"),
        pool("b", 1, "shared"),
        pool("c", 1, "shared"),
        pool("z", 1, "z"),
        with("c1", 1, "a", &json!({"group": "g"})),
        with("c2", 1, "b", &json!({"group": "g"})),
        with("c3", 1, "b", &json!({})),
        with(
            "dr",
            1,
            "",
            &json!({"group": "g", "remote": {"addresses": ["dr.example:443"]}}),
        ),
        with("z1", 1, "z", &json!({"group": "other"})),
    ] {
        apply(&mut index, change);
    }
    let resources = index.resources(&Unit::Pool(pool_key("a")));
    let names = |all: &[Arc<Given<ProxyChain>>]| -> Vec<String> {
        all.iter()
            .map(|it| it.object.metadata.name.clone().unwrap())
            .collect()
    };
    assert_eq!(names(&resources.chains), ["c1"]);
    assert_eq!(names(&resources.group_mates), ["c2", "dr"]);
    let pools: Vec<_> = resources
        .pools
        .iter()
        .map(|it| it.object.metadata.name.clone().unwrap())
        .collect();
    assert_eq!(pools, ["a", "b", "c"], "c may contradict b");
    let proxies: Vec<(&str, Vec<String>)> = resources
        .proxies
        .iter()
        .map(|(pool, proxies)| {
            (
                pool.name.as_str(),
                proxies
                    .iter()
                    .map(|it| format!("{} {}", it.name, it.ip))
                    .collect(),
            )
        })
        .collect();
    assert_eq!(
        proxies,
        [
            ("a", vec!["a-0 10.0.0.1".to_owned()]),
            ("b", vec!["b-0 10.0.0.3".to_owned(), "b-1 10.0.0.4".to_owned()])
        ]
    );
    let stray = index.resources(&Unit::Chain(chain_key("dr")));
    assert_eq!(names(&stray.group_mates), ["c1", "c2"]);
}

#[test]
fn the_service_of_a_single_proxy_dirties_where_guests_come_by_it() {
    let mut index = index();
    let direct = json!({"workload": {"kind": "StatefulSet"}, "accessPoint": {"name": "a"},
        "directAddress": [{"type": "NodePort"}], "listeners": [{"name": "a", "port": 8443}]});
    for change in [
        Change::Pool(object("ProxyPool", "a", 1, &direct)),
        pool("b", 1, "b"),
        pool("z", 1, "z"),
        with("c1", 1, "a", &json!({"group": "g"})),
        with("c2", 1, "b", &json!({"group": "g"})),
        pod("a-0", "a", "10.0.0.1"),
        pod("z-0", "z", "10.0.0.2"),
    ] {
        apply(&mut index, change);
    }
    let service = |name: &str, pool: &str, node_port: u16| {
        let object = json!({"metadata": {"labels": {"switchyard.dev/pool": pool}}, "spec": {"type": "NodePort",
            "ports": [{"name": "a", "port": 18443, "nodePort": node_port}]}});
        let definition = Definition::of(&serde_json::from_value(object).unwrap());
        Change::Service(service_id(name), Some(definition))
    };
    let both: &[&str] = &["pool a", "pool b"];
    let table: Vec<(&str, Change, &[&str])> = vec![
        ("a proxy's", service("a-0", "a", 30001), both),
        ("the same again", service("a-0", "a", 30001), &[]),
        ("another port", service("a-0", "a", 30002), both),
        ("of a pod that is not there", service("a-1", "a", 30003), &[]),
        (
            "of a pool whose guests come otherwise",
            service("z-0", "z", 30004),
            &[],
        ),
        ("gone", Change::Service(service_id("a-0"), None), both),
    ];
    for (what, change, expected) in table {
        assert_eq!(apply(&mut index, change), expected, "{what}");
    }
}
