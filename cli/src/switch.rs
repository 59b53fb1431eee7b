//! `switchyard switch`: which backend of a Manual chain serves. In: a chain and a backend of it. Out: `spec.failover.active` of
//! the resource, patched, and who managed that field before.

use std::process::ExitCode;

use clap::Args;
use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::json;
use switchyard_crds::ProxyChain;
use switchyard_crds::proxychain::FailoverMode;

use crate::cluster::{Cluster, NamespaceArgs, asked, block_on};

/// In whose name the field is written.
const MANAGER: &str = "switchyard-cli";

/// What `switchyard switch` takes.
#[derive(Args, Debug)]
pub struct SwitchArgs {
    /// The chain, whose failover.mode is Manual
    chain: String,
    /// The backend whose tier shall serve
    #[arg(long, value_name = "BACKEND")]
    to: String,
    #[command(flatten)]
    namespace: NamespaceArgs,
}

/// Exit code 1: the chain, or the cluster, does not take it.
pub fn run(args: &SwitchArgs) -> ExitCode {
    match block_on(switch(args)) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("switchyard switch: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn switch(args: &SwitchArgs) -> Result<String, String> {
    let cluster = Cluster::connect(&args.namespace).await?;
    let chains = cluster.api::<ProxyChain>();
    let chain = asked(chains.get(&args.chain)).await?;
    let failover = &chain.spec.failover;
    if failover.mode != FailoverMode::Manual {
        return Err(format!(
            "{} fails over by itself: set spec.failover.mode to Manual first, or let it",
            args.chain
        ));
    }
    let backends = &chain.spec.backends;
    if backends.iter().all(|backend| backend.name != args.to) {
        let names: Vec<&str> = backends.iter().map(|backend| backend.name.as_str()).collect();
        return Err(format!(
            "{} has no backend {:?}; it has {}",
            args.chain,
            args.to,
            names.join(", ")
        ));
    }
    if failover.active.as_deref() == Some(args.to.as_str()) {
        return Ok(format!("{} names {} already", args.chain, args.to));
    }
    let before = failover.active.clone().unwrap_or_else(|| "nobody".to_owned());
    let patch = json!({
        "metadata": {"resourceVersion": chain.resource_version()},
        "spec": {"failover": {"active": args.to}},
    });
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    asked(chains.patch(&args.chain, &params, &Patch::Merge(&patch))).await?;
    let managers = managers_of_active(&chain);
    let whose = if managers.is_empty() {
        String::new()
    } else {
        format!(
            "; spec.failover.active was managed by {} and is by {MANAGER} now: change it there, too, or it comes back",
            managers.join(", ")
        )
    };
    Ok(format!(
        "{}: {before} -> {}{whose}. Watch it with: kubectl get pch {} -n {} -w",
        args.chain, args.to, args.chain, cluster.namespace
    ))
}

/// Who else has written the field.
fn managers_of_active(chain: &ProxyChain) -> Vec<String> {
    let entries = chain.meta().managed_fields.iter().flatten();
    let writes = |fields: &serde_json::Value| !fields["f:spec"]["f:failover"]["f:active"].is_null();
    let names = entries
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| writes(&fields.0)))
        .filter_map(|entry| entry.manager.clone())
        .filter(|manager| manager != MANAGER);
    names.collect()
}
