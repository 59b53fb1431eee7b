//! What holds whatever the users write.

use proptest::prelude::*;

use super::*;

const API: &str = include_str!("../../../testdata/api.yaml");

/// Manifests that agree and disagree with each other in every way that the compile step settles.
fn documents() -> impl Strategy<Value = Vec<Value>> {
    let pools = prop::collection::vec(any_pool(), 1..4);
    let chains = prop::collection::vec(any_chain(), 0..10);
    (pools, chains).prop_map(|(pools, chains)| {
        let named = |prefix: &str, kind: &str, specs: Vec<(Value, Option<u32>)>| {
            let document = |(i, (spec, age)): (usize, (Value, Option<u32>))| {
                let mut document = object(kind, &format!("{prefix}-{i}"), spec);
                if let Some(age) = age {
                    document["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:00:{age:02}Z"));
                }
                document
            };
            specs.into_iter().enumerate().map(document).collect::<Vec<_>>()
        };
        let mut documents = named("pool", "ProxyPool", pools);
        documents.extend(named("chain", "ProxyChain", chains));
        documents
    })
}

fn age() -> impl Strategy<Value = Option<u32>> {
    prop::option::of(0..3u32)
}

/// Mostly `usual`, sometimes one of the others: with a fault in every object, nothing would be left to compare.
fn mostly(usual: Value, others: Vec<Value>) -> impl Strategy<Value = Value> {
    prop_oneof![9 => Just(usual), 1 => prop::sample::select(others)]
}

fn any_pool() -> impl Strategy<Value = (Value, Option<u32>)> {
    let protocol = prop::sample::select(vec![
        json!("TCP"),
        json!("Auto"),
        json!("Auto"),
        json!("HTTP"),
        json!("HTTPS"),
        json!("SOCKS"),
    ]);
    let port = prop::sample::select(vec![80, 81, 82, 83]);
    let proxy = mostly(json!("None"), vec![json!("Require")]);
    let direct = mostly(json!(null), vec![json!(80), json!(90)]);
    let named = |name: &str| json!({"certificateRefs": [{"name": "good"}, {"name": name}]});
    let tls = mostly(
        named("good"),
        vec![
            named("gone"),
            json!({"certificateRefs": [{"name": "good"}], "clientCARef": {"name": "gone"}}),
        ],
    );
    let listener = (port, protocol, proxy, direct, tls);
    let host = mostly(json!("x.example"), vec![json!("y.example")]);
    let dns = mostly(json!(null), vec![json!({})]);
    (prop::collection::vec(listener, 1..4), host, dns, age()).prop_map(|(listeners, host, dns, age)| {
        let each = |(i, (port, protocol, proxy, direct, tls)): (usize, (u16, Value, Value, Value, Value))| {
            let name = format!("l{i}");
            given_fields(json!({
                "name": name, "port": port, "protocol": protocol, "proxyProtocol": proxy, "directPort": direct,
                "tls": if protocol == "HTTPS" { tls } else { Value::Null },
            }))
        };
        let listeners: Vec<Value> = listeners.into_iter().enumerate().map(each).collect();
        let access_point = json!({"name": "shared", "host": host});
        (
            given_fields(json!({"listeners": listeners, "accessPoint": access_point, "dns": dns})),
            age,
        )
    })
}

fn any_chain() -> impl Strategy<Value = (Value, Option<u32>)> {
    let some = ["a.example", "A.example", "b.example", "*.example"];
    let names = prop::collection::vec(prop::sample::select(some.to_vec()), 0..3);
    let pool = mostly(json!("pool-0"), vec![json!("pool-1"), json!("pool-9")]);
    let listener = prop::sample::select(vec![
        json!("l0"),
        json!("l0"),
        json!("l1"),
        json!("l2"),
        json!(null),
    ]);
    let second = mostly(json!(1), vec![json!(0), json!(2)]);
    let zone = mostly(json!("UTC"), vec![json!("Europe/London"), json!("Nowhere")]);
    let active = mostly(json!("b0"), vec![json!(null), json!("b1"), json!("b9")]);
    let server_first = mostly(json!(false), vec![json!(true)]);
    let backend = mostly(
        json!({}),
        vec![
            json!({"protocol": "HTTP2"}),
            json!({"tls": {"caRef": {"name": "good"}}}),
            json!({"tls": {"caRef": {"name": "gone"}}}),
        ],
    );
    (
        pool,
        listener,
        names,
        second,
        zone,
        active,
        server_first,
        backend,
        age(),
    )
        .prop_map(
            |(pool, listener, names, second, zone, active, server_first, backend, age)| {
                let mut first = backend;
                first["name"] = json!("b0");
                first["host"] = json!("x.example");
                first["port"] = json!(80);
                let spec = json!({
                    "poolRef": given_fields(json!({"name": pool, "listener": listener})),
                    "hostnames": names,
                    "serverFirst": server_first,
                    "backends": [
                        first,
                        {"name": format!("b{second}"), "srv": "_x._tcp.example", "tier": second},
                    ],
                    "schedule": {"timeZone": zone, "starts": [{"days": ["Mon"], "at": "07:00"}]},
                    "failover": given_fields(json!({"mode": "Manual", "active": active})),
                });
                (spec, age)
            },
        )
}

/// Without the fields that are null.
fn given_fields(mut value: Value) -> Value {
    value.as_object_mut().unwrap().retain(|_, field| !field.is_null());
    value
}

fn given(documents: &[Value]) -> Resources {
    let mut resources = Resources {
        secrets: [super::tls::usable("good")].into_iter().collect(),
        ..Resources::default()
    };
    for document in documents {
        add(&mut resources, document);
    }
    resources
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_order_of_the_lists_does_not_matter(documents in documents(), seed in any::<u64>()) {
        let resources = given(&documents);
        let mut shuffled = resources.clone();
        // Deterministic for proptest's shrinking: rotate and reverse by the seed.
        let (p, c) = (shuffled.pools.len(), shuffled.chains.len().max(1));
        shuffled.pools.rotate_left(seed as usize % p);
        shuffled.chains.rotate_left((seed >> 8) as usize % c);
        if seed & 1 == 1 {
            shuffled.pools.reverse();
            shuffled.chains.reverse();
        }
        prop_assert_eq!(compile(&resources, Profile::Standalone), compile(&shuffled, Profile::Standalone));
    }

    #[test]
    fn the_proxy_rejects_nothing_that_was_compiled(documents in documents()) {
        for profile in [Profile::Standalone, Profile::Cluster] {
            for snapshot in compile(&given(&documents), profile).snapshots.into_values() {
                let (kept, invalid) = snapshot.clone().validate();
                prop_assert_eq!(invalid, []);
                prop_assert_eq!(kept, snapshot);
            }
        }
    }

    #[test]
    fn each_object_is_used_or_refused(documents in documents()) {
        let compiled = compile(&given(&documents), Profile::Standalone);
        for document in documents.iter().filter(|document| document["kind"] == "ProxyChain") {
            let name = document["metadata"]["name"].as_str().unwrap();
            let used = compiled.snapshots.values().flat_map(|s| &s.chains).filter(|c| c.id.name == name).count();
            let refused = compiled.refused.iter().any(|r| {
                // a chain is used without what its Secrets would do
                r.object.kind == Kind::ProxyChain && r.object.name == name && r.reason != Reason::InvalidCertificateRef
            });
            prop_assert_eq!(used == 1, !refused, "{}", name);
        }
    }

    #[test]
    fn odd_values_anywhere_are_used_or_refused_but_never_panic(changes in prop::collection::vec(change(), 1..6)) {
        let mut documents: Vec<Value> = serde_saphyr::from_multiple(API).unwrap();
        for (at, value) in changes {
            let mut pointers = Vec::new();
            let mut whole = Value::Array(documents);
            places(&whole, String::new(), &mut pointers);
            *whole.pointer_mut(&pointers[at % pointers.len()]).unwrap() = value;
            documents = serde_json::from_value(whole).unwrap();
        }
        let mut resources = Resources::default();
        for document in &documents {
            let written = Fields::written(document);
            // What breaks its type never comes here.
            if let Ok(object) = serde_json::from_value(document.clone()) {
                resources.pools.push(Arc::new(Given { object: Arc::new(object), written: written.clone(), order: 0 }));
            }
            if let Ok(object) = serde_json::from_value(document.clone()) {
                resources.chains.push(Arc::new(Given { object: Arc::new(object), written, order: 1 }));
            }
        }
        for profile in [Profile::Standalone, Profile::Cluster] {
            compile(&resources, profile);
        }
    }
}

/// Which place of the manifests, and what to write there.
fn change() -> impl Strategy<Value = (usize, Value)> {
    let texts = [
        "",
        "0s",
        "99999h",
        "x",
        "*",
        "-",
        "10.0.0.0/8",
        "::",
        "[::1]:0",
        "24:00",
        "2026-02-30",
        "Ünïcödé",
    ];
    let mut values: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
    values.extend([
        json!(0),
        json!(1),
        json!(65535),
        json!(-1),
        json!(true),
        json!([]),
        json!({}),
    ]);
    (any::<usize>(), prop::sample::select(values))
}

/// A JSON pointer to every scalar and collection below a `spec`.
fn places(value: &Value, pointer: String, found: &mut Vec<String>) {
    let steps: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, item)| (i.to_string(), item))
            .collect(),
        _ => Vec::new(),
    };
    for (step, value) in steps {
        places(value, format!("{pointer}/{step}"), found);
    }
    if pointer.contains("/spec/") {
        found.push(pointer);
    }
}
