//! What a manifest says is what the types hold, and nothing else.

use serde_json::{Value, json};

use super::{nodes, schema};
use crate::{
    Kind, ProxyChain, ProxyPool,
    fixtures::{self, CHAIN, POOL, REMOTE, yaml},
    offline,
};

/// Through the types and back.
fn through(kind: Kind, value: &Value) -> Value {
    match kind {
        Kind::ProxyPool => {
            serde_json::to_value(serde_json::from_value::<ProxyPool>(value.clone()).unwrap()).unwrap()
        }
        Kind::ProxyChain => {
            serde_json::to_value(serde_json::from_value::<ProxyChain>(value.clone()).unwrap()).unwrap()
        }
    }
}

#[test]
fn manifests_with_every_field_are_valid_and_come_back_identical() {
    for (kind, text) in [(Kind::ProxyPool, POOL), (Kind::ProxyChain, CHAIN)] {
        let manifest = yaml(text);
        assert_eq!(offline::validate(kind, &manifest), [], "{kind}");
        assert_eq!(through(kind, &manifest), manifest, "{kind}");
    }
    assert_eq!(offline::validate(Kind::ProxyChain, &yaml(REMOTE)), []);
}

#[test]
fn manifests_with_every_field_have_every_field() {
    // Below these stand Kubernetes' own types, which are not ours to test.
    let foreign = [
        ".spec.workload.resources",
        ".spec.workload.affinity",
        ".spec.workload.tolerations",
        ".spec.workload.topologySpreadConstraints",
        ".spec.workload.inject",
        ".status.conditions",
        // Another way to say where a chain is: remote.yaml.
        ".spec.remote",
    ];
    for (kind, text) in [(Kind::ProxyPool, POOL), (Kind::ProxyChain, CHAIN)] {
        let manifest = yaml(text);
        for (path, _, _) in nodes(&schema(kind)) {
            if foreign.iter().any(|foreign| path.starts_with(foreign)) || path.contains("{}") {
                continue;
            }
            assert!(has(&manifest, &path), "the {kind} with every field lacks {path}");
        }
    }
}

/// Whether some value has the field that a schema's path names.
fn has(value: &Value, path: &str) -> bool {
    if let Some(rest) = path.strip_prefix("[]") {
        return value.as_array().unwrap().iter().any(|item| has(item, rest));
    }
    let Some(rest) = path.strip_prefix('.') else {
        return path.is_empty();
    };
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    value
        .get(&rest[..end])
        .is_some_and(|field| has(field, &rest[end..]))
}

#[test]
fn an_object_without_its_defaults_is_the_same_object_with_them() {
    for (kind, bare) in fixtures::bare() {
        assert_eq!(offline::validate(kind, &bare), []);
        let mut filled = bare.clone();
        offline::apply_defaults(kind, &mut filled);
        assert_eq!(offline::validate(kind, &filled), []);
        // serde's defaults and the schema's are two tellings of one story.
        assert_eq!(through(kind, &bare), filled);
        assert_eq!(through(kind, &filled), filled);
        let again = filled.clone();
        offline::apply_defaults(kind, &mut filled);
        assert_eq!(filled, again);
    }
}

#[test]
fn constant_defaults_are_those_of_the_interface() {
    let mut pool = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyPool", "metadata": {"name": "x"},
        "spec": {"listeners": [{"name": "sync", "port": 443}], "affinity": {}, "accessPoint": {}}});
    offline::apply_defaults(Kind::ProxyPool, &mut pool);
    assert_eq!(
        pool["spec"],
        json!({
            "site": "default",
            "replicas": 2,
            "workload": {"kind": "Deployment", "hostNetwork": false},
            "accessPoint": {"service": {"type": "ClusterIP", "annotations": {}, "externalTrafficPolicy": "Local"}},
            "listeners": [{
                "name": "sync", "port": 443, "addresses": [], "protocol": "Auto", "httpsRedirect": false, "proxyProtocol": "None",
                "trustedSources": [], "allowedSources": [], "monitorSources": [], "idleTimeout": "10m", "handshakeTimeout": "10s",
                "maxConnections": 10000,
            }],
            "affinity": {"by": "SourceIP", "ttl": "1h", "prefixV4": 32, "prefixV6": 64},
            "dns": {"ttl": "1s", "maxAnswers": 8},
            "snat": {"addresses": []},
            "guests": {"max": "50%"},
            "peers": {"port": 17946, "seeds": []},
            "drain": {"timeout": "5m"},
        })
    );
    let mut chain = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyChain", "metadata": {"name": "x"},
        "spec": {"poolRef": {"name": "p"}, "backends": [{"name": "a", "host": "h", "port": 1}], "drainVanished": {}}});
    offline::apply_defaults(Kind::ProxyChain, &mut chain);
    assert_eq!(
        chain["spec"],
        json!({
            "poolRef": {"name": "p"},
            "hostnames": [],
            "serverFirst": false,
            "backends": [{"name": "a", "host": "h", "port": 1, "tier": 0, "weight": 1, "protocol": "HTTP1", "proxyProtocol": "None"}],
            "resolution": {
                "minTTL": "1s", "maxTTL": "30s", "missingFor": "0s", "staleFor": "1h", "onNXDOMAIN": "Stale", "onEmpty": "Stale",
                "nameservers": [], "families": "Any",
            },
            "balance": "RoundRobin",
            "slowStart": "0s",
            "health": {
                "interval": "2s", "timeout": "1s", "rise": 2, "fall": 2, "monitors": [],
                "passive": {"consecutiveFailures": 3, "ejectFor": "10s"},
            },
            "connect": {"timeout": "3s", "attempts": 3, "happyEyeballsDelay": "250ms"},
            "failover": {
                "mode": "Automatic", "minHealthy": 1, "failback": "Sticky", "delay": "1m", "onDown": "Keep", "pace": 50,
            },
            "priority": 0,
            "redirect": {"dialects": [], "fallback": "Relay", "minStay": "5m", "grace": "1h"},
            "drainVanished": {"after": "30s"},
            "suspend": false,
        })
    );
}
