//! `switchyard status`: how pools and chains do. In: statuses of a cluster's resources, or one proxy's admin endpoint. Out: a
//! table for people, or JSON or YAML.

use std::process::ExitCode;

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use jiff::{SpanRound, Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use switchyard_crds::{ProxyChain, ProxyPool};

use crate::cluster::{Cluster, NamespaceArgs, asked, block_on};
use crate::output::Output;
use crate::proxies::{ProxiesArgs, Proxy};

/// What `switchyard status` takes.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    at: ProxiesArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// Exit code 1: something does not serve; 2: nobody could be asked.
pub fn run(args: &StatusArgs) -> ExitCode {
    let seen = match &args.at.admin {
        Some(admin) => block_on(proxy(admin)),
        None => block_on(cluster(&args.at.namespace)),
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(why) => {
            eprintln!("switchyard status: {why}");
            return ExitCode::from(2);
        }
    };
    match args.output.structured(&seen) {
        Some(text) => println!("{text}"),
        None => print(&seen),
    }
    let ready = |list: &Value| {
        let list = list.as_array();
        list.into_iter().flatten().all(|it| it["ready"] == true)
    };
    if ready(&seen["pools"]) && ready(&seen["chains"]) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn cluster(args: &NamespaceArgs) -> Result<Value, String> {
    let cluster = Cluster::connect(args).await?;
    let all = ListParams::default();
    let pools = asked(cluster.api::<ProxyPool>().list(&all)).await?;
    let chains = asked(cluster.api::<ProxyChain>().list(&all)).await?;
    let pools = pools.items.iter().map(|pool| {
        let status = pool.status.clone().unwrap_or_default();
        let (ready, why) = readiness(&status.conditions);
        json!({
            "name": pool.name_any(), "site": pool.spec.site, "ready": ready, "why": why,
            "proxies": status.ready, "programmed": status.programmed,
        })
    });
    let chains = chains.items.iter().map(|chain| {
        let status = chain.status.clone().unwrap_or_default();
        let (ready, why) = readiness(&status.conditions);
        let redirect = status.redirect.filter(|redirect| redirect.active);
        json!({
            "name": chain.name_any(), "group": chain.spec.group, "ready": ready, "why": why,
            "active": status.active.as_ref().map(|active| &active.backend),
            "since": status.active.as_ref().map(|active| active.since.0),
            "healthy": status.healthy, "programmed": status.programmed,
            "redirect": redirect.as_ref().and_then(|redirect| redirect.to.clone()),
            "guests": redirect.as_ref().map(|redirect| redirect.guests),
            "returnsAt": redirect.and_then(|redirect| redirect.returns_at).map(|at| at.0),
        })
    });
    Ok(json!({"pools": pools.collect::<Vec<_>>(), "chains": chains.collect::<Vec<_>>()}))
}

/// Whether it is ready, and in words why, or why not.
fn readiness(conditions: &[Condition]) -> (bool, String) {
    match conditions.iter().find(|condition| condition.type_ == "Ready") {
        Some(ready) => (
            ready.status == "True",
            format!("{}: {}", ready.reason, ready.message),
        ),
        None => (
            false,
            "no operator has looked at it yet: see that one runs".to_owned(),
        ),
    }
}

async fn proxy(admin: &str) -> Result<Value, String> {
    let proxy = Proxy::At(admin.to_owned());
    let endpoints = proxy.page("/endpoints").await?;
    let table = proxy.page("/table").await?;
    let chains = endpoints["chains"].as_array().into_iter().flatten();
    let chains = chains.map(|chain| {
        let endpoints = chain["endpoints"].as_array().into_iter().flatten();
        let of_tier = endpoints.filter(|endpoint| endpoint["tier"] == chain["active"]["tier"]);
        let (mut all, mut serving) = (0, 0);
        for endpoint in of_tier {
            all += 1;
            serving += usize::from(["Serving", "Stale"].contains(&endpoint["state"].as_str().unwrap_or_default()));
        }
        let tables = table["chains"].as_array().into_iter().flatten();
        let own = tables.clone().find(|it| it["chain"] == chain["chain"]).cloned().unwrap_or_default();
        let redirected = own["redirect"]["to"].clone();
        json!({
            "name": chain["chain"], "group": own["group"],
            "ready": serving > 0 || !redirected.is_null(),
            "why": if own["standing"]["reason"].is_string() { own["standing"]["reason"].clone() } else { chain["active"]["reason"].clone() },
            "active": chain["active"]["backend"], "since": chain["active"]["since"],
            "healthy": format!("{serving}/{all}"), "redirect": redirected,
            "guests": own["guests"], "returnsAt": own["returnsAt"],
        })
    });
    Ok(json!({"proxy": table["proxy"], "pool": table["pool"], "chains": chains.collect::<Vec<_>>()}))
}

fn print(seen: &Value) {
    let pools = seen["pools"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !pools.is_empty() {
        let mut table = sheet(&["POOL", "SITE", "PROXIES", "PROGRAMMED", "READY", "WHY"]);
        for pool in pools {
            let fields = ["name", "site", "proxies", "programmed", "ready", "why"];
            table.add_row(fields.map(|field| shown(&pool[field])));
        }
        println!("{table}\n");
    }
    let chains = seen["chains"].as_array().map(Vec::as_slice).unwrap_or_default();
    if chains.is_empty() {
        println!("no chains");
        return;
    }
    let mut table = sheet(&[
        "CHAIN", "GROUP", "ACTIVE", "FOR", "HEALTHY", "READY", "REDIRECT", "GUESTS", "RETURNS", "WHY",
    ]);
    for chain in chains {
        table.add_row([
            shown(&chain["name"]),
            shown(&chain["group"]),
            shown(&chain["active"]),
            ago(&chain["since"]),
            shown(&chain["healthy"]),
            shown(&chain["ready"]),
            shown(&chain["redirect"]),
            shown(&chain["guests"]),
            shown(&chain["returnsAt"]),
            shown(&chain["why"]),
        ]);
    }
    println!("{table}");
}

/// A table as kubectl draws it.
pub fn sheet(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    table
}

/// A value as people read it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

fn ago(since: &Value) -> String {
    let parsed = since.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let rounded = parsed.and_then(|since| {
        let span = Timestamp::now().since(since).ok()?;
        let whole = SpanRound::new().largest(Unit::Hour).smallest(Unit::Second);
        span.round(whole).ok()
    });
    rounded.map_or_else(|| "-".to_owned(), |span| format!("{span:#}"))
}
