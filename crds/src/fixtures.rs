//! Manifests that the tests of every step share: one of each kind with every field, and the table of what is refused and why.
//!
//! Out: the same cases for what judges offline and for a real API server, so that their verdicts can be compared one by one.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "for tests only: a mistake in the table should stop them"
)]

mod cases;

use serde_json::{Value, json};

use crate::Kind;

pub use cases::CASES;

/// A `ProxyPool` with every field.
pub const POOL: &str = include_str!("fixtures/pool.yaml");
/// A `ProxyChain` with every field but `remote`.
pub const CHAIN: &str = include_str!("fixtures/chain.yaml");
/// A `ProxyChain` outside the cluster.
pub const REMOTE: &str = include_str!("fixtures/remote.yaml");

/// A valid manifest to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A pool with the listeners `sync` and `web`.
    Pool,
    /// A Sidecar pool.
    Sidecar,
    /// A chain with the backends `a` (host) and `b` (srv).
    Chain,
    /// A chain with every field.
    FullChain,
    /// A chain outside the cluster.
    Remote,
}

impl Base {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Pool,
        Self::Sidecar,
        Self::Chain,
        Self::FullChain,
        Self::Remote,
    ];

    /// The manifest, which is called `x`, and its kind.
    pub fn manifest(self) -> (Kind, Value) {
        let kind = match self {
            Self::Pool | Self::Sidecar => Kind::ProxyPool,
            Self::Chain | Self::Remote | Self::FullChain => Kind::ProxyChain,
        };
        let spec = match self {
            Self::Pool => {
                json!({"listeners": [{"name": "sync", "port": 8443}, {"name": "web", "port": 80}]})
            }
            Self::Sidecar => {
                json!({"workload": {"kind": "Sidecar"}, "listeners": [{"name": "sync", "port": 8443}]})
            }
            Self::Chain => json!({"poolRef": {"name": "p"}, "backends": [
                {"name": "a", "host": "a.example", "port": 1}, {"name": "b", "srv": "_x._tcp.example"}]}),
            Self::Remote => yaml(REMOTE)["spec"].clone(),
            Self::FullChain => yaml(CHAIN)["spec"].clone(),
        };
        (kind, manifest(kind, "x", &spec))
    }
}

/// One change of a valid manifest, and what must be said about it.
#[derive(Debug)]
pub struct Case {
    /// What is changed.
    pub base: Base,
    /// JSON pointers, and the YAML that they get.
    pub changes: &'static [(&'static str, &'static str)],
    /// Pointers, and what the message about each must contain. Empty: the change is fine.
    pub violations: &'static [(&'static str, &'static str)],
}

impl Case {
    /// The changed manifest and its kind.
    pub fn manifest(&self) -> (Kind, Value) {
        let (kind, mut manifest) = self.base.manifest();
        for (pointer, new) in self.changes {
            set(&mut manifest, pointer, yaml(new));
        }
        (kind, manifest)
    }
}

/// Manifests that leave out what has a default: bare ones, and ones that name each map of fields and nothing in it.
pub fn bare() -> Vec<(Kind, Value)> {
    let specs = [
        (
            Kind::ProxyPool,
            json!({"listeners": [{"name": "sync", "port": 8443}]}),
        ),
        (
            Kind::ProxyPool,
            json!({
                "workload": {}, "accessPoint": {"service": {}}, "directAddress": [{"type": "PodIP"}],
                "listeners": [{"name": "sync", "port": 443, "tls": {"certificateRefs": [{"name": "c"}]}},
                              {"name": "socks", "port": 1080, "protocol": "SOCKS", "forward": {}}],
                "affinity": {}, "dns": {}, "snat": {}, "guests": {}, "peers": {}, "drain": {},
            }),
        ),
        (
            Kind::ProxyChain,
            json!({"poolRef": {"name": "p"}, "backends": [{"name": "a", "host": "h.example", "port": 1}]}),
        ),
        (
            Kind::ProxyChain,
            json!({
                "poolRef": {"name": "p"}, "backends": [{"name": "a", "host": "h.example", "port": 1, "tls": {}}], "resolution": {},
                "health": {"monitors": [{"tcp": {}}, {"http": {}}, {"tls": {}}, {"grpc": {}}], "passive": {}},
                "connect": {}, "failover": {}, "schedule": {"starts": [{"days": ["Mon"], "at": "07:00"}]}, "redirect": {},
                "drainVanished": {},
            }),
        ),
        (
            Kind::ProxyChain,
            json!({"group": "g", "remote": {"addresses": ["h.example:1"]}}),
        ),
    ];
    let named = |(kind, spec): (Kind, Value)| (kind, manifest(kind, "x", &spec));
    specs.into_iter().map(named).collect()
}

/// An object of this kind and name.
pub fn manifest(kind: Kind, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "switchyard.dev/v1alpha1", "kind": kind.as_str(), "metadata": {"name": name}, "spec": spec,
    })
}

/// Sets what a JSON pointer names, making the maps on the way; `-` appends to a list; `null` removes.
pub fn set(value: &mut Value, pointer: &str, new: Value) {
    let (parents, last) = pointer.rsplit_once('/').unwrap();
    let mut at = value;
    for segment in parents.split('/').skip(1) {
        at = match at {
            Value::Array(items) => &mut items[segment.parse::<usize>().unwrap()],
            other => {
                if other[segment].is_null() {
                    other[segment] = json!({});
                }
                &mut other[segment]
            }
        };
    }
    match (at, new) {
        (Value::Array(items), new) if last == "-" => items.push(new),
        (Value::Array(items), new) => items[last.parse::<usize>().unwrap()] = new,
        (Value::Object(fields), Value::Null) => drop(fields.remove(last)),
        (other, new) => other[last] = new,
    }
}

/// A manifest's text as a value.
pub fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}
