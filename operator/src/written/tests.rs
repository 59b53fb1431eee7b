use serde_json::json;
use switchyard_crds::{ProxyChain, ProxyPool, offline};

use super::*;

/// What the API server would hold, as our types read it and write it again.
fn stored(kind: Kind, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "switchyard.dev/v1alpha1", "kind": kind.as_str(),
        "metadata": {"name": "x", "namespace": "edge"}, "spec": spec,
    });
    offline::apply_defaults(kind, &mut object);
    let spec = match kind {
        Kind::ProxyPool => serde_json::to_value(serde_json::from_value::<ProxyPool>(object).unwrap().spec),
        Kind::ProxyChain => serde_json::to_value(serde_json::from_value::<ProxyChain>(object).unwrap().spec),
    };
    spec.unwrap()
}

fn pool(fields: &Value) -> Value {
    let mut spec = json!({"listeners": [{"name": "a", "port": 8443}]});
    merge(&mut spec, fields);
    spec
}

fn chain(fields: &Value) -> Value {
    let mut spec =
        json!({"poolRef": {"name": "dmz"}, "backends": [{"name": "one", "host": "one.example", "port": 80}]});
    merge(&mut spec, fields);
    spec
}

fn merge(spec: &mut Value, fields: &Value) {
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
}

#[test]
fn what_the_schema_filled_in_was_not_written() {
    for (kind, spec) in [
        (Kind::ProxyPool, pool(&json!({}))),
        (Kind::ProxyChain, chain(&json!({}))),
    ] {
        let stored = stored(kind, &spec);
        assert!(
            stored.as_object().unwrap().len() > spec.as_object().unwrap().len() + 3,
            "defaults were filled in: {stored}"
        );
        let written = Defaults::new().unwrap().written(kind, &stored);
        let by_hand = Fields::written(&json!({"spec": spec}));
        // both count the object itself
        let all: Vec<FieldPath> = pointers(&json!({"spec": stored})).collect();
        for field in all
            .iter()
            .filter(|field| field.is_at_or_below(&FieldPath::spec()))
        {
            assert_eq!(written.has(field), by_hand.has(field), "{kind} {field}");
        }
    }
}

/// Every field of a value.
fn pointers(value: &Value) -> Box<dyn Iterator<Item = FieldPath> + '_> {
    fn walk(value: &Value, path: &FieldPath, all: &mut Vec<FieldPath>) {
        all.push(path.clone());
        match value {
            Value::Object(map) => map
                .iter()
                .for_each(|(name, value)| walk(value, &path.key(name), all)),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(i, value)| walk(value, &path.index(i), all)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    walk(value, &FieldPath::default(), &mut all);
    Box::new(all.into_iter())
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn what_differs_from_its_default_was_written_and_nothing_beside_it() {
    let spec = FieldPath::spec();
    let listener = spec.key("listeners").index(0);
    let backend = spec.key("backends").index(0);
    for (kind, fields, written, not_written) in [
        (
            Kind::ProxyPool,
            json!({"dns": {"ttl": "5s"}}),
            spec.key("dns").key("ttl"),
            spec.key("dns").key("maxAnswers"),
        ),
        (
            Kind::ProxyPool,
            json!({"guests": {"max": "10%"}}),
            spec.key("guests"),
            spec.key("peers"),
        ),
        (
            Kind::ProxyPool,
            json!({"listeners": [{"name": "a", "port": 1, "tls": {"mode": "Passthrough"}}]}),
            listener.key("tls").key("mode"),
            listener.key("tls").key("minVersion"),
        ),
        (
            Kind::ProxyPool,
            json!({"listeners": [{"name": "a", "port": 1, "forward": {}}]}),
            listener.key("forward"),
            listener.key("httpsRedirect"),
        ),
        (
            Kind::ProxyChain,
            json!({"priority": 3}),
            spec.key("priority"),
            spec.key("redirect"),
        ),
        (
            Kind::ProxyChain,
            json!({"priority": 0}),
            spec.key("poolRef"),
            spec.key("priority"),
        ),
        (
            Kind::ProxyChain,
            json!({"redirect": {"minStay": "1s"}}),
            spec.key("redirect").key("minStay"),
            spec.key("redirect").key("grace"),
        ),
        (
            Kind::ProxyChain,
            json!({"backends": [{"name": "one", "host": "h", "port": 1, "tls": {}}]}),
            backend.key("tls"),
            backend.key("weight"),
        ),
        // spelt otherwise, and the same
        (
            Kind::ProxyChain,
            json!({"failover": {"delay": "60s", "minHealthy": 2}}),
            spec.key("failover").key("minHealthy"),
            spec.key("failover").key("delay"),
        ),
    ] {
        let stored = stored(
            kind,
            &if kind == Kind::ProxyPool {
                pool(&fields)
            } else {
                chain(&fields)
            },
        );
        let found = Defaults::new().unwrap().written(kind, &stored);
        assert!(found.has(&written), "{fields}: {written} of {stored}");
        assert!(!found.has(&not_written), "{fields}: {not_written} of {stored}");
    }
}
