//! Changes in, publications and verdicts out.

use serde_json::{Value, json};
use switchyard_snapshot::{ChainId, ResourceId};

use super::*;
use crate::endpoints::{Definition, ServiceId};
use crate::pods::{self, Pods};
use crate::secrets::{Fetched, Secret, SecretId, Wants};

struct Rig {
    publisher: Publisher,
    to: mpsc::Sender<Message>,
    synced: watch::Receiver<bool>,
    view: View,
    board: Board,
    task: tokio::task::JoinHandle<()>,
}

/// A supply fed by one watch that has not seen everything yet.
fn rig() -> Rig {
    let publisher = Publisher::new();
    let wants = Wants::default();
    let board = Board::default();
    let outlets = Outlets {
        publisher: publisher.clone(),
        verdicts: Verdicts::new(board.clone()),
        board: board.clone(),
    };
    let supply = Supply::new(
        Index::new(Pods::default(), wants.clone()).unwrap(),
        1,
        outlets,
        Metrics::new(),
    );
    let (to, inbox) = mpsc::channel(QUEUE);
    Rig {
        publisher,
        to,
        synced: supply.synced(),
        view: supply.view(),
        board,
        task: tokio::spawn(supply.run(inbox)),
    }
}

fn object<T: serde::de::DeserializeOwned>(kind: &str, name: &str, generation: i64, spec: &Value) -> Arc<T> {
    let metadata = json!({"name": name, "namespace": "edge", "generation": generation, "uid": name});
    let object =
        json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    Arc::new(serde_json::from_value(object).unwrap())
}

fn pool(generation: i64, protocol: &str) -> Message {
    let spec = json!({"listeners": [{"name": "a", "port": 8443, "protocol": protocol}]});
    Message::Change(Change::Pool(object("ProxyPool", "dmz", generation, &spec)))
}

fn chain(name: &str, generation: i64, host: &str) -> Message {
    let spec = json!({
        "poolRef": {"name": "dmz"}, "hostnames": [format!("{name}.example")],
        "backends": [{"name": "one", "host": host, "port": 80}],
    });
    Message::Change(Change::Chain(object("ProxyChain", name, generation, &spec)))
}

fn id() -> PoolId {
    PoolId {
        namespace: "edge".into(),
        name: "dmz".into(),
    }
}

fn chain_id(name: &str) -> ChainId {
    ChainId {
        namespace: "edge".into(),
        name: name.into(),
    }
}

impl Rig {
    async fn send(&self, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            self.to.send(message).await.unwrap();
        }
    }

    /// Waits until everything that was sent has been taken in and settled; what is published then, by name.
    async fn settled(self) -> (Publisher, View, Vec<String>) {
        drop(self.to);
        self.task.await.unwrap();
        let versions = self.publisher.versions(&id());
        let names = versions.keys().map(ToString::to_string).collect();
        (self.publisher, self.view, names)
    }
}

#[tokio::test]
async fn nothing_is_published_before_everything_is_known() {
    let rig = rig();
    rig.send([pool(1, "Auto"), chain("a", 1, "h")]).await;
    let synced = rig.synced.clone();
    let (_, _, published) = rig.settled().await;
    assert_eq!(published, Vec::<String>::new());
    assert!(!*synced.borrow());
}

#[tokio::test]
async fn what_changes_is_published_and_what_does_not_keeps_its_version() {
    let mut rig = rig();
    rig.send([
        chain("a", 1, "h"),
        chain("b", 1, "h"),
        pool(1, "Auto"),
        Message::Synced,
    ])
    .await;
    rig.synced.wait_for(|synced| *synced).await.unwrap();
    let before = rig.publisher.versions(&id());
    let names: Vec<String> = before.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["pool", "listener a", "chain edge/a", "chain edge/b"]);
    rig.send([
        chain("a", 2, "other"),
        Message::Change(Change::ChainGone(chain_id("b"))),
    ])
    .await;
    let (publisher, ..) = rig.settled().await;
    let after = publisher.versions(&id());
    assert_eq!(after[&ResourceId::Pool], before[&ResourceId::Pool]);
    assert_ne!(
        after[&ResourceId::Chain(chain_id("a"))],
        before[&ResourceId::Chain(chain_id("a"))]
    );
    assert_eq!(after.len(), 3);
}

#[tokio::test]
async fn a_pool_that_becomes_unusable_leaves_its_proxies_what_they_have() {
    let rig = rig();
    rig.send([
        chain("a", 1, "h"),
        pool(1, "Auto"),
        Message::Synced,
        pool(2, "SOCKS"),
    ])
    .await;
    rig.send([Message::Change(Change::PoolUnreadable(id()))]).await;
    let (_, view, published) = rig.settled().await;
    // the last of these took the place of all before it: nothing was compiled in between, or the pool alone was kept
    assert!(published.is_empty() || published[0] == "pool", "{published:?}");
    let compiled = view.compiled();
    assert!(compiled.snapshots.is_empty());
    let words: Vec<&str> = compiled
        .refused
        .iter()
        .map(|refusal| refusal.message.as_str())
        .collect();
    assert_eq!(words, ["ProxyPool edge/dmz cannot be read"]);
}

#[tokio::test]
async fn a_pool_that_is_gone_is_withdrawn() {
    let mut rig = rig();
    rig.send([chain("a", 1, "h"), pool(1, "Auto"), Message::Synced])
        .await;
    rig.synced.wait_for(|synced| *synced).await.unwrap();
    rig.send([Message::Change(Change::PoolGone(id()))]).await;
    let (_, view, published) = rig.settled().await;
    assert_eq!(published, Vec::<String>::new());
    let compiled = view.compiled();
    assert_eq!(compiled.refused.len(), 1, "{:?}", compiled.refused);
    assert_eq!(
        compiled.refused[0].message,
        "there is no ProxyPool dmz in namespace edge"
    );
}

#[tokio::test]
async fn a_pool_waits_for_its_secrets_and_nobody_else_does() {
    let mut rig = rig();
    let secret = SecretId {
        namespace: "edge".into(),
        name: "web-tls".into(),
    };
    let spec = json!({"listeners": [{"name": "a", "port": 8443, "protocol": "HTTPS",
        "tls": {"certificateRefs": [{"name": "web-tls"}]}}]});
    let other = json!({"listeners": [{"name": "a", "port": 8443}]});
    rig.send([
        Message::Change(Change::Pool(object("ProxyPool", "dmz", 1, &spec))),
        Message::Change(Change::Pool(object("ProxyPool", "other", 1, &other))),
        Message::Change(Change::Secret(secret.clone(), Some("1".into()))),
        Message::Synced,
    ])
    .await;
    let published = |publisher: &Publisher, name: &str| {
        let id = PoolId {
            namespace: "edge".into(),
            name: name.into(),
        };
        publisher.versions(&id).len()
    };
    while published(&rig.publisher, "other") == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        published(&rig.publisher, "dmz"),
        0,
        "its certificate is not gone, only unknown"
    );
    assert!(!*rig.synced.borrow());
    let fetched = Fetched::Found {
        version: "1".into(),
        secret: Arc::new(Secret::default()),
    };
    rig.send([Message::Change(Change::Fetched(secret, fetched))])
        .await;
    rig.synced.wait_for(|synced| *synced).await.unwrap();
    assert_eq!(published(&rig.publisher, "dmz"), 2);
    let (_, view, _) = rig.settled().await;
    let words: Vec<String> = view
        .compiled()
        .refused
        .into_iter()
        .map(|refusal| refusal.message)
        .collect();
    assert!(
        words.len() == 1 && words[0].starts_with("Secret web-tls has no tls.crt"),
        "{words:?}"
    );
}

/// What others are told of the address of its one proxy's Service.
fn listed(view: &View) -> Option<String> {
    let snapshot = view.compiled().snapshots.remove(&id())?;
    let proxies = snapshot
        .peers
        .into_iter()
        .filter_map(|peers| peers.proxies)
        .flatten();
    let mut listed = proxies.flat_map(|proxy| proxy.listed).flatten();
    listed.next().map(|address| address.host)
}

#[tokio::test]
async fn the_service_of_a_proxy_is_told_of_once_nodes_know_the_way() {
    let mut rig = rig();
    let keys = SecretId {
        namespace: "edge".into(),
        name: "switchyard-gossip-keys".into(),
    };
    let key = Secret::new([("current".to_owned(), vec![7; 32])].into());
    let fetched = Fetched::Found {
        version: "1".into(),
        secret: Arc::new(key),
    };
    let spec = json!({"workload": {"kind": "StatefulSet"}, "directAddress": [{"type": "NodePort"}],
        "listeners": [{"name": "a", "port": 8443}]});
    let service = json!({"metadata": {"labels": {"switchyard.dev/pool": "dmz"}}, "spec": {"type": "NodePort",
        "ports": [{"name": "a", "port": 18443, "nodePort": 30001}]}});
    let since = Timestamp::now();
    let pod = json!({
        "metadata": {"name": "dmz-0", "namespace": "edge", "uid": "u", "labels": {"switchyard.dev/pool": "dmz"}},
        "spec": {"nodeName": "n1", "containers": []},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "hostIP": "192.0.2.1",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since.to_string()}]},
    });
    let (namespace, name, pod) = pods::Pod::of(&serde_json::from_value(pod).unwrap()).unwrap();
    let service_id = ServiceId {
        namespace: namespace.clone(),
        name: name.clone(),
    };
    let definition = Definition::of(&serde_json::from_value(service).unwrap());
    rig.send([
        Message::Change(Change::Pool(object("ProxyPool", "dmz", 1, &spec))),
        Message::Change(Change::Secret(keys.clone(), Some("1".to_owned()))),
        chain("a", 1, "h"),
        Message::Change(Change::Service(service_id, Some(definition))),
        Message::Change(Change::Pod {
            namespace,
            name,
            pod: Some(Box::new(pod)),
        }),
        Message::Synced,
        Message::Change(Change::Fetched(keys, fetched)),
    ])
    .await;
    let limit = std::time::Duration::from_secs(10);
    let synced = tokio::time::timeout(limit, rig.synced.wait_for(|synced| *synced)).await;
    assert!(synced.unwrap().is_ok());
    assert_eq!(listed(&rig.view), None);
    let told = async {
        loop {
            if let Some(host) = listed(&rig.view) {
                return host;
            }
            rig.board.posted().await;
        }
    };
    let told = tokio::time::timeout(limit, told).await;
    assert_eq!(told.unwrap(), "192.0.2.1");
}
