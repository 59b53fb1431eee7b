//! What tests put together: a pool of some proxies and one chain with a primary and a standby, and time that passes when it is
//! told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};
use switchyard_crds::{Kind, ProxyChain, ProxyChainStatus, ProxyPool, ProxyPoolStatus, Reason};
use switchyard_discovery::Hash;
use switchyard_discovery::server::{Activity, ProxyId, What};
use switchyard_snapshot::{
    ActiveReport, ChainId, ChainReport, EndpointReport, EndpointState, PoolId, Report, ResourceId,
    TransitionReport,
};

use super::board::{Board, Object, Verdict};
use super::desk::{Desk, Look};
use super::events::Happening;
use super::{Reach, Workload};
use crate::compile::{FieldPath, ObjectKey, Refusal};

pub fn pool_id() -> PoolId {
    PoolId {
        namespace: "edge".into(),
        name: "dmz".into(),
    }
}

pub fn chain_id(name: &str) -> ChainId {
    ChainId {
        namespace: "edge".into(),
        name: name.into(),
    }
}

pub fn chain_resource(name: &str) -> ResourceId {
    ResourceId::Chain(chain_id(name))
}

pub fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey {
        kind,
        namespace: "edge".into(),
        name: name.into(),
    }
}

pub fn hash(text: &str) -> Hash {
    Hash::of(text.as_bytes())
}

pub fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub fn pool(spec: &Value) -> ProxyPool {
    let mut document = json!({
        "apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyPool",
        "metadata": {"namespace": "edge", "name": "dmz", "uid": "pool-uid", "generation": 1, "resourceVersion": "1"},
        "spec": {"listeners": [{"name": "sync", "port": 8443}]},
    });
    for (field, value) in spec.as_object().unwrap() {
        document["spec"][field] = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

pub fn chain(name: &str) -> ProxyChain {
    serde_json::from_value(json!({
        "apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyChain",
        "metadata": {"namespace": "edge", "name": name, "uid": format!("{name}-uid"), "generation": 1, "resourceVersion": "1"},
        "spec": {"poolRef": {"name": "dmz"}, "backends": [
            {"name": "primary", "host": "one.example", "port": 1650},
            {"name": "standby", "host": "two.example", "port": 1650, "tier": 1},
        ]},
    }))
    .unwrap()
}

pub fn refusal(key: &ObjectKey, field: &str, reason: Reason, message: &str) -> Refusal {
    Refusal {
        object: key.clone(),
        field: FieldPath::spec().key(field),
        reason,
        message: message.into(),
    }
}

/// What a proxy says of the chain `c`, generation 1, whose backends have one endpoint each.
pub fn seen(active: Option<(u32, i64)>, primary: EndpointState, standby: EndpointState) -> ChainReport {
    let names = ["primary", "standby"];
    let endpoint = |i: usize, state| EndpointReport {
        backend: names[i].into(),
        address: format!("10.0.0.{}:1650", i + 1).parse().unwrap(),
        state,
        reason: match state {
            EndpointState::Serving => "served: monitor tcp:1650 passes".into(),
            EndpointState::Stale => "served: stale 3 s, monitor tcp:1650 passes".into(),
            EndpointState::Ejected => {
                "ejected: monitor tcp:1650 failed 2 in a row: connection refused".into()
            }
            EndpointState::Draining => "draining: missing from DNS for 3 s".into(),
        },
        since: time(0),
    };
    let serving = |state| u32::from(matches!(state, EndpointState::Serving | EndpointState::Stale));
    ChainReport {
        id: chain_id("c"),
        generation: 1,
        active: active.map(|(tier, since)| ActiveReport {
            backend: names[tier as usize].into(),
            tier,
            epoch: u64::from(tier),
            since: time(since),
        }),
        suspended: false,
        sessions: 0,
        endpoints: vec![endpoint(0, primary), endpoint(1, standby)],
        endpoints_total: 2,
        endpoints_serving: serving(primary) + serving(standby),
        transitions: Vec::new(),
        standing: None,
        redirect: None,
        guests: 0,
        guests_of: Vec::new(),
        returns_at: None,
    }
}

/// As [`seen`] when all is well.
pub fn well() -> ChainReport {
    seen(Some((0, 0)), EndpointState::Serving, EndpointState::Serving)
}

/// As [`seen`] after a failover at this time.
pub fn failed_over(at: i64) -> ChainReport {
    let mut report = seen(Some((1, at)), EndpointState::Ejected, EndpointState::Serving);
    report.transitions = vec![change(at, "primary", "standby")];
    report
}

pub fn change(at: i64, from: &str, to: &str) -> TransitionReport {
    TransitionReport {
        at: time(at),
        from: from.into(),
        to: to.into(),
        reason: format!("{from} is down"),
    }
}

pub fn report(chains: Vec<ChainReport>) -> Report {
    Report {
        ready: true,
        chains,
        ..Report::default()
    }
}

/// One operator that leads, and what it has written.
pub struct Scene {
    pub desk: Desk,
    start: Instant,
    passed: Duration,
    pub writes: usize,
    pub events: Vec<Happening>,
    objects: BTreeMap<ObjectKey, Object>,
}

impl Scene {
    /// A pool whose workload has so many proxies, all of them ready, and the chain `c`, both compiled and published. It leads
    /// from now on; none of the proxies has connected.
    pub fn new(replicas: u32) -> Self {
        let mut scene = Self {
            desk: Desk::default(),
            start: Instant::now(),
            passed: Duration::ZERO,
            writes: 0,
            events: Vec::new(),
            objects: BTreeMap::new(),
        };
        scene.put(Object::Pool(Arc::new(pool(&json!({})))));
        scene.put(Object::Chain(Arc::new(chain("c"))));
        scene.publish(&[
            (ResourceId::Pool, "pool 1"),
            (ResourceId::Listener("sync".into()), "sync 1"),
            (chain_resource("c"), "c 1"),
        ]);
        scene.compile(&key(Kind::ProxyPool, "dmz"), Vec::new());
        scene.compile(&key(Kind::ProxyChain, "c"), Vec::new());
        scene.workload(workload(replicas, replicas));
        scene.desk.lead(scene.start);
        scene
    }

    /// As [`Scene::new`], and every proxy runs everything and says that all is well.
    pub fn serving(names: &[&str]) -> Self {
        let mut scene = Self::new(names.len() as u32);
        for name in names {
            scene.connect(name);
            scene.runs(name, &[("c", "c 1")]);
            scene.reports(name, well());
        }
        scene.write();
        scene.events.clear();
        scene.writes = 0;
        scene
    }

    pub fn now(&self) -> Instant {
        self.start + self.passed
    }

    pub fn wall(&self) -> Timestamp {
        time(1000) + SignedDuration::try_from(self.passed).unwrap()
    }

    pub fn pass(&mut self, seconds: u64) {
        self.passed += Duration::from_secs(seconds);
        self.desk.tick(self.now());
    }

    pub fn put(&mut self, object: Object) {
        let board = Board::default();
        board.object(object.key(), Some(object.clone()));
        self.objects.insert(object.key(), object);
        self.desk.take(board.take(), |_| {});
    }

    pub fn compile(&mut self, key: &ObjectKey, refusals: Vec<Refusal>) {
        let board = Board::default();
        let meta = self.objects[key].meta().clone();
        board.verdict(key.clone(), Verdict::of(&meta, refusals));
        self.desk.take(board.take(), |_| {});
    }

    pub fn publish(&mut self, resources: &[(ResourceId, &str)]) {
        let board = Board::default();
        let versions = resources.iter().map(|(id, text)| (id.clone(), hash(text)));
        board.published(pool_id(), Arc::new(versions.collect()));
        self.desk.take(board.take(), |_| {});
    }

    pub fn workload(&mut self, workload: Workload) {
        let board = Board::default();
        board.workload(pool_id(), Some(workload));
        self.desk.take(board.take(), |_| {});
    }

    pub fn does(&mut self, name: &str, what: What) -> Vec<ObjectKey> {
        let activity = Activity {
            proxy: ProxyId {
                pool: pool_id(),
                name: name.into(),
                uid: format!("{name}-uid"),
            },
            what,
        };
        self.desk.activity(activity, self.now())
    }

    /// Another replica takes over, to which no proxy has been connected: this one has long forgotten them.
    pub fn another_leads(&mut self, names: &[&str]) {
        self.desk.follow();
        for name in names {
            self.does(name, What::Disconnected);
        }
        self.pass(5);
        let now = self.now();
        self.desk.lead(now);
    }

    pub fn connect(&mut self, name: &str) {
        self.does(
            name,
            What::Connected {
                version: "0.1.0".into(),
            },
        );
    }

    /// It runs the pool's own resources, and these chains.
    pub fn runs(&mut self, name: &str, chains: &[(&str, &str)]) {
        let mut versions = BTreeMap::from([
            (ResourceId::Pool, hash("pool 1")),
            (ResourceId::Listener("sync".into()), hash("sync 1")),
        ]);
        versions.extend(
            chains
                .iter()
                .map(|(chain, text)| (chain_resource(chain), hash(text))),
        );
        let removed = BTreeSet::new();
        self.does(name, What::Acked { versions, removed });
    }

    pub fn refuses(&mut self, name: &str, resource: ResourceId, version: &str, reason: &str) {
        let version = hash(version);
        let reason = reason.to_owned();
        self.does(
            name,
            What::Refused {
                resource,
                version,
                reason,
            },
        );
    }

    pub fn reports(&mut self, name: &str, chain: ChainReport) {
        self.does(name, What::Reported(report(vec![chain])));
    }

    /// Looks at both objects and writes what is to be written. What was written once is right: another look finds nothing.
    pub fn write(&mut self) {
        for key in self.objects.keys().cloned().collect::<Vec<_>>() {
            let draft = match self.desk.look(&key, self.now(), self.wall()) {
                Look::Fine => continue,
                Look::Words(draft) | Look::Unanswered(draft) | Look::Changed(draft) => draft,
            };
            self.writes += 1;
            self.events.extend(draft.events);
            self.put(as_read_back(&draft.object));
            let again = self.desk.look(&key, self.now(), self.wall());
            assert!(matches!(again, Look::Fine), "written twice: {again:#?}");
        }
    }

    pub fn pool(&self) -> ProxyPoolStatus {
        match &self.objects[&key(Kind::ProxyPool, "dmz")] {
            Object::Pool(pool) => pool.status.clone().unwrap_or_default(),
            Object::Chain(_) => unreachable!("by its key"),
        }
    }

    pub fn chain(&self) -> ProxyChainStatus {
        match &self.objects[&key(Kind::ProxyChain, "c")] {
            Object::Chain(chain) => chain.status.clone().unwrap_or_default(),
            Object::Pool(_) => unreachable!("by its key"),
        }
    }

    /// Changes the spec of the chain: its generation is another then.
    pub fn edit(&mut self, edit: impl FnOnce(&mut ProxyChain)) {
        let Object::Chain(chain) = &self.objects[&key(Kind::ProxyChain, "c")] else {
            unreachable!("by its key");
        };
        let mut chain = chain.as_ref().clone();
        edit(&mut chain);
        chain.metadata.generation = chain.metadata.generation.map(|generation| generation + 1);
        self.put(Object::Chain(Arc::new(chain)));
    }

    /// The events since the last time.
    pub fn happened(&mut self) -> Vec<String> {
        let events = std::mem::take(&mut self.events);
        events
            .iter()
            .map(|event| format!("{}: {}", event.reason, event.note))
            .collect()
    }

    pub fn condition(&self, type_: &str) -> String {
        told(&self.chain().conditions, type_)
    }

    pub fn pool_condition(&self, type_: &str) -> String {
        told(&self.pool().conditions, type_)
    }
}

/// `True/Serving @1: primary serves`.
fn told(conditions: &[Condition], type_: &str) -> String {
    let condition = conditions.iter().find(|condition| condition.type_ == type_);
    let Some(Condition {
        status,
        reason,
        message,
        observed_generation,
        ..
    }) = condition
    else {
        return "absent".into();
    };
    let generation = observed_generation.unwrap();
    if message.is_empty() {
        format!("{status}/{reason} @{generation}")
    } else {
        format!("{status}/{reason} @{generation}: {message}")
    }
}

/// What the API server would answer to a write: times in whole seconds, and a newer version.
fn as_read_back(object: &Object) -> Object {
    fn through<T: serde::Serialize + serde::de::DeserializeOwned>(object: &T) -> T {
        let mut json = serde_json::to_value(object).unwrap();
        let version: u64 = json["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        json["metadata"]["resourceVersion"] = json!((version + 1).to_string());
        serde_json::from_value(json).unwrap()
    }
    match object {
        Object::Pool(pool) => Object::Pool(Arc::new(through(pool.as_ref()))),
        Object::Chain(chain) => Object::Chain(Arc::new(through(chain.as_ref()))),
    }
}

pub fn workload(replicas: u32, ready: u32) -> Workload {
    Workload {
        generation: 1,
        wanted: replicas,
        replicas,
        ready,
        selector: Some("switchyard.dev/pool=dmz".into()),
        reach: Reach::default(),
        pod_security: None,
        pods_refused: None,
    }
}
