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

fn any_pool() -> impl Strategy<Value = (Value, Option<u32>)> {
    let protocol = prop::sample::select(vec!["TCP", "TLS", "Auto", "HTTP"]);
    let proxy = prop::sample::select(vec!["None", "Require"]);
    let listener = (
        80..84u16,
        protocol,
        proxy,
        prop::option::of(90..93u16),
        any::<bool>(),
    );
    let access_point = prop::option::of(prop::sample::select(vec!["x.example", "y.example"]));
    let listeners = prop::collection::vec(listener, 1..4);
    (listeners, access_point, any::<bool>(), age()).prop_map(|(listeners, host, dns, age)| {
        let listener =
            |(i, (port, protocol, proxy, direct, sources)): (usize, (u16, &str, &str, Option<u16>, bool))| {
                let mut listener = json!({"name": format!("l{i}"), "port": port, "protocol": protocol});
                listener["proxyProtocol"] = json!(proxy);
                if protocol == "TLS" {
                    listener["tls"] = json!({"mode": "Passthrough"});
                }
                if let Some(direct) = direct {
                    listener["directPort"] = json!(direct);
                }
                if sources {
                    listener["trustedSources"] = json!(["10.0.0.0/8"]);
                }
                listener
            };
        let listeners: Vec<Value> = listeners.into_iter().enumerate().map(listener).collect();
        let mut spec = json!({"listeners": listeners});
        if let Some(host) = host {
            spec["accessPoint"] = json!({"name": "shared", "host": host});
        }
        if dns {
            spec["dns"] = json!({});
        }
        (spec, age)
    })
}

fn any_chain() -> impl Strategy<Value = (Value, Option<u32>)> {
    let names = prop::collection::vec(
        prop::sample::select(vec!["a.example", "A.example", "*.example", "b"]),
        0..3,
    );
    let reference = (0..4usize, prop::option::of(0..3usize));
    let backends = prop::collection::vec((0..3u32, 0..3usize, any::<bool>()), 0..4);
    let zone = prop::sample::select(vec!["UTC", "Europe/London", "Nowhere"]);
    let active = prop::option::of(0..3usize);
    (reference, names, backends, zone, active, any::<bool>(), age()).prop_map(
        |((pool, listener), names, backends, zone, active, server_first, age)| {
            let backend = |(tier, name, srv): (u32, usize, bool)| {
                let mut backend = json!({"name": format!("b{name}"), "tier": tier});
                if srv {
                    backend["srv"] = json!("_x._tcp.example");
                } else {
                    backend["host"] = json!("x.example");
                    backend["port"] = json!(80);
                }
                backend
            };
            let backends: Vec<Value> = backends.into_iter().map(backend).collect();
            let mut spec = json!({
                "poolRef": {"name": format!("pool-{pool}")},
                "hostnames": names,
                "serverFirst": server_first,
                "backends": backends,
                "schedule": {"timeZone": zone, "starts": [{"days": ["Mon"], "at": "07:00"}]},
                "failover": {"mode": "Manual"},
            });
            if let Some(listener) = listener {
                spec["poolRef"]["listener"] = json!(format!("l{listener}"));
            }
            if let Some(active) = active {
                spec["failover"]["active"] = json!(format!("b{active}"));
            }
            (spec, age)
        },
    )
}

fn given(documents: &[Value]) -> Resources {
    let mut resources = Resources::default();
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
            let refused = compiled.refused.iter().any(|r| r.object.kind == Kind::ProxyChain && r.object.name == name);
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
                resources.pools.push(Given { object, written: written.clone(), order: 0 });
            }
            if let Ok(object) = serde_json::from_value(document.clone()) {
                resources.chains.push(Given { object, written, order: 1 });
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
