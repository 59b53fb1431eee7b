//! How long it takes from the last object seen to every snapshot published, and how much memory that is.
//!
//! `cargo run --release -p switchyard-operator --example cold_start -- [CHAINS] [POOLS]`, 10,000 and 100 unless given. Objects
//! are read from JSON as the API server writes it, so that what is measured includes everything but the network.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::core::DeserializeGuard;
use serde_json::{Value, json};
use switchyard_crds::{Kind, ProxyChain, ProxyPool, offline};
use switchyard_discovery::server::Publisher;
use switchyard_operator::index::{Change, Index, slim};
use switchyard_operator::pods::Pods;
use switchyard_operator::status::Board;
use switchyard_operator::supply::{Metrics, Outlets, QUEUE, Supply};
use switchyard_operator::verdicts::Verdicts;
use switchyard_operator::watch::Message;
use switchyard_snapshot::PoolId;
use tokio::sync::mpsc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let chains = numbers.next().transpose()?.unwrap_or(10_000);
    let pools = numbers.next().transpose()?.unwrap_or(100);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure(chains, pools))
}

async fn measure(chains: usize, pools: usize) -> Result<(), Box<dyn Error>> {
    let pool_template = filled(
        Kind::ProxyPool,
        &json!({"listeners": [{"name": "sync", "port": 8443}]}),
    );
    let chain_template = filled(
        Kind::ProxyChain,
        &json!({
            "poolRef": {"name": "p"}, "hostnames": ["h"],
            "backends": [
                {"name": "primary", "host": "cms-1.corp.example", "port": 1650},
                {"name": "standby", "host": "cms-2.corp.example", "port": 1650, "tier": 1},
            ],
            "health": {"monitors": [{"tcp": {"port": 9070}}, {"http": {"port": 8080, "path": "/healthz"}}]},
        }),
    );
    let publisher = Publisher::new();
    let board = Board::default();
    let outlets = Outlets {
        publisher: publisher.clone(),
        verdicts: Verdicts::new(board.clone()),
        board,
    };
    let idle = resident();
    let supply = Supply::new(Index::new(Pods::default())?, 1, outlets, Metrics::new());
    let mut synced = supply.synced();
    let (to, inbox) = mpsc::channel(QUEUE);
    let task = tokio::spawn(supply.run(inbox));

    let began = Instant::now();
    for n in 0..pools {
        let text = named(&pool_template, &format!("pool-{n}"), 1).to_string();
        let DeserializeGuard(pool) = serde_json::from_str::<DeserializeGuard<ProxyPool>>(&text)?;
        let mut pool = pool?;
        slim(&mut pool.metadata);
        to.send(Message::Change(Change::Pool(Arc::new(pool)))).await?;
    }
    for n in 0..chains {
        to.send(chain(&chain_template, n, pools, 1)?).await?;
    }
    let read = began.elapsed();
    to.send(Message::Synced).await?;
    synced.wait_for(|synced| *synced).await?;
    println!(
        "{chains} chains, {pools} pools: read and indexed in {read:.1?}, all published after {:.1?}; resident {} MiB, of which {idle} before",
        began.elapsed(),
        resident(),
    );

    let mut took = Vec::new();
    for n in 0..200 {
        let id = pool_id(n % pools);
        let before = publisher.versions(&id);
        let changed = chain(&chain_template, n, pools, 2)?;
        let began = Instant::now();
        to.send(changed).await?;
        while Arc::ptr_eq(&before, &publisher.versions(&id)) {
            tokio::task::yield_now().await;
        }
        took.push(began.elapsed());
    }
    took.sort_unstable();
    println!(
        "one chain changed, published: median {:.2?}, p99 {:.2?} (each pool has {} chains)",
        percentile(&took, 50),
        percentile(&took, 99),
        chains / pools
    );
    drop(to);
    task.await?;
    Ok(())
}

/// A spec with the defaults that the API server fills in.
fn filled(kind: Kind, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "switchyard.dev/v1alpha1", "kind": kind.as_str(),
        "metadata": {
            "namespace": "edge", "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": spec.to_string()},
            "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {".": {}}}}],
        },
        "spec": spec,
    });
    offline::apply_defaults(kind, &mut object);
    object
}

fn named(template: &Value, name: &str, generation: i64) -> Value {
    let mut object = template.clone();
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(format!("00000000-0000-0000-0000-{name:>012}"));
    object["metadata"]["generation"] = json!(generation);
    object
}

fn chain(template: &Value, n: usize, pools: usize, generation: i64) -> Result<Message, Box<dyn Error>> {
    let mut object = named(template, &format!("chain-{n}"), generation);
    object["spec"]["poolRef"]["name"] = json!(format!("pool-{}", n % pools));
    object["spec"]["hostnames"] = json!([format!("chain-{n}.example.com")]);
    object["spec"]["backends"][0]["port"] = json!(1650 + generation);
    let DeserializeGuard(chain) = serde_json::from_str::<DeserializeGuard<ProxyChain>>(&object.to_string())?;
    let mut chain = chain?;
    slim(&mut chain.metadata);
    Ok(Message::Change(Change::Chain(Arc::new(chain))))
}

fn pool_id(n: usize) -> PoolId {
    PoolId {
        namespace: "edge".into(),
        name: format!("pool-{n}"),
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

/// Resident memory of this process, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or_default()
        / 1024
}
