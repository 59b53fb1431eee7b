//! The proxies a command speaks to. In: one admin endpoint, or pools of a cluster. Out: proxies that can be asked.
//!
//! A pod's admin endpoint is on its loopback address: it is reached through the API server, as `kubectl port-forward` does,
//! by who may `create` `pods/portforward` there.

use std::fmt;

use clap::Args;
use hyper::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;
use switchyard_crds::{ProxyChain, ProxyPool};
use switchyard_operator::pods::POOL_LABEL;
use switchyard_proxy::admin;

use crate::admin_client::{self, Answer};
use crate::cluster::{Cluster, NamespaceArgs, asked};

/// Whom to ask.
#[derive(Args, Clone, Debug)]
pub struct ProxiesArgs {
    /// Ask one proxy: its admin endpoint [default: the cluster]
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<String>,
    /// Where in the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
}

/// One proxy.
#[derive(Clone)]
pub enum Proxy {
    /// By its admin endpoint.
    At(String),
    /// By the API server.
    Pod {
        /// The pods of its namespace.
        pods: Box<Api<Pod>>,
        /// Which.
        name: String,
        /// Whose proxy it is.
        pool: String,
    },
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(admin) => f.write_str(admin),
            Self::Pod { name, pool, .. } => write!(f, "{pool}/{name}"),
        }
    }
}

impl Proxy {
    /// What it answers; why it does not, in words.
    pub async fn ask(&self, method: Method, path: &str) -> Result<Answer, String> {
        match self {
            Self::At(address) => admin_client::ask(method, address, path)
                .await
                .map_err(|error| error.to_string()),
            Self::Pod { pods, name, .. } => {
                let forwarded = asked(pods.portforward(name, &[admin::DEFAULT_PORT])).await;
                let mut forwarded = forwarded.map_err(|why| format!("{self} cannot be reached: {why}"))?;
                let stream = forwarded.take_stream(admin::DEFAULT_PORT);
                let stream = stream.ok_or_else(|| format!("{self} cannot be reached: no stream"))?;
                let answer = admin_client::exchange(method, "localhost", path, stream).await;
                forwarded.abort();
                answer.map_err(|error| format!("{self}: {error}"))
            }
        }
    }

    /// A page as JSON; why not, in words.
    pub async fn page(&self, path: &str) -> Result<Value, String> {
        let answer = self.ask(Method::GET, path).await?;
        if answer.status != 200 {
            return Err(format!("{self} answered {} to GET {path}", answer.status));
        }
        serde_json::from_str(&answer.body).map_err(|error| format!("{self} answered no JSON: {error}"))
    }
}

/// The proxies of the pools that `wanted` accepts, each pool's sorted by name; why there are none, in words.
pub async fn of_pools(cluster: &Cluster, wanted: impl Fn(&str) -> bool) -> Result<Vec<Proxy>, String> {
    let pools = asked(cluster.api::<ProxyPool>().list(&ListParams::default())).await?;
    let all: Vec<String> = pools.items.iter().map(ResourceExt::name_any).collect();
    let mut proxies = Vec::new();
    let mut known = false;
    for pool in all.iter().filter(|pool| wanted(pool)) {
        known = true;
        let label = ListParams::default().labels(&format!("{POOL_LABEL}={pool}"));
        let pods = asked(cluster.api::<Pod>().list(&label)).await?;
        let mut names: Vec<String> = pods
            .items
            .iter()
            .filter(|pod| runs(pod))
            .map(ResourceExt::name_any)
            .collect();
        names.sort();
        proxies.extend(names.into_iter().map(|name| Proxy::Pod {
            pods: Box::new(cluster.api()),
            name,
            pool: pool.clone(),
        }));
    }
    let namespace = &cluster.namespace;
    if !known {
        return Err(match &all[..] {
            [] => format!("namespace {namespace} has no ProxyPool; name another with --namespace"),
            some => format!(
                "namespace {namespace} has no such ProxyPool; it has {}",
                some.join(", ")
            ),
        });
    }
    if proxies.is_empty() {
        return Err(format!(
            "no proxy runs in namespace {namespace}: see kubectl -n {namespace} get pp,pods"
        ));
    }
    Ok(proxies)
}

/// All proxies of a pool, or, by `POOL/PROXY`, one.
pub async fn named(args: &ProxiesArgs, target: &str) -> Result<Vec<Proxy>, String> {
    let (pool, wanted) = match target.split_once('/') {
        Some((pool, wanted)) => (pool, Some(wanted)),
        None => (target, None),
    };
    let cluster = Cluster::connect(&args.namespace).await?;
    let mut proxies = of_pools(&cluster, |it| it == pool).await?;
    let Some(wanted) = wanted else {
        return Ok(proxies);
    };
    let all: Vec<String> = proxies.iter().map(ToString::to_string).collect();
    proxies.retain(|proxy| matches!(proxy, Proxy::Pod { name, .. } if name == wanted));
    if proxies.is_empty() {
        return Err(format!("no proxy {target} runs; there are {}", all.join(", ")));
    }
    Ok(proxies)
}

/// One proxy of each pool, or of the one that is named, or the one proxy that is: what all of a pool see alike need not be
/// asked of each.
pub async fn seen_by(args: &ProxiesArgs, target: Option<&str>) -> Result<Vec<Proxy>, String> {
    let mut proxies = match target {
        Some(target) => named(args, target).await?,
        None => of_pools(&Cluster::connect(&args.namespace).await?, |_| true).await?,
    };
    proxies.dedup_by(|one, other| match (one, other) {
        (Proxy::Pod { pool: one, .. }, Proxy::Pod { pool: other, .. }) => one == other,
        _ => false,
    });
    Ok(proxies)
}

/// The pools whose listeners the chains of a group are on.
pub async fn pools_of_group(cluster: &Cluster, group: &str) -> Result<Vec<String>, String> {
    let chains = asked(cluster.api::<ProxyChain>().list(&ListParams::default())).await?;
    let of_group = chains
        .items
        .iter()
        .filter(|chain| chain.spec.group.as_deref() == Some(group));
    let mut pools: Vec<String> = of_group
        .filter_map(|chain| Some(chain.spec.pool_ref.as_ref()?.name.clone()))
        .collect();
    pools.sort();
    pools.dedup();
    if pools.is_empty() {
        return Err(format!(
            "namespace {} has no chain of group {group}",
            cluster.namespace
        ));
    }
    Ok(pools)
}

fn runs(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running")
}
