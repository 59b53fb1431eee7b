//! `switchyard explain`: the one truth about an endpoint. In: what proxies believe, by their admin endpoints. Out: words.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::cluster::{Cluster, block_on};
use crate::output::Output;
use crate::proxies::{self, ProxiesArgs, Proxy};

/// What `switchyard explain` takes.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// An address (10.0.0.1:1650 or 10.0.0.1), a backend's name, or NAMESPACE/CHAIN
    endpoint: String,
    /// As proxies of this pool see it, or this proxy [default: every proxy]
    #[arg(value_name = "POOL[/PROXY]", conflicts_with = "admin")]
    seen_by: Option<String>,
    #[command(flatten)]
    at: ProxiesArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// Exit code 1: nothing matches; 2: a proxy could not be asked.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let believed = match block_on(believed(args)) {
        Ok(believed) => believed,
        Err(why) => {
            eprintln!("switchyard explain: {why}");
            return ExitCode::from(2);
        }
    };
    let of_all = believed.iter().flat_map(|(proxy, page)| {
        let found = find(page, &args.endpoint);
        found.into_iter().map(move |found| (proxy, found))
    });
    let found: Vec<(&Proxy, Found<'_>)> = of_all.collect();
    if found.is_empty() {
        nothing(&believed, &args.endpoint);
        return ExitCode::FAILURE;
    }
    let all = found.iter().map(|(proxy, found)| {
        let mut found = found.to_json();
        if let Proxy::Pod { .. } = proxy {
            found["proxy"] = proxy.to_string().into();
        }
        found
    });
    if let Some(text) = args.output.structured(&all.collect()) {
        println!("{text}");
        return ExitCode::SUCCESS;
    }
    for (proxy, found) in &found {
        if let Proxy::Pod { .. } = proxy {
            println!("As {proxy} sees it:");
        }
        found.print();
    }
    ExitCode::SUCCESS
}

async fn believed(args: &ExplainArgs) -> Result<Vec<(Proxy, Value)>, String> {
    let proxies = match (&args.at.admin, &args.seen_by) {
        (Some(admin), _) => vec![Proxy::At(admin.clone())],
        (None, Some(target)) => proxies::named(&args.at, target).await?,
        (None, None) => proxies::of_pools(&Cluster::connect(&args.at.namespace).await?, |_| true).await?,
    };
    let mut all = Vec::new();
    for proxy in proxies {
        let page = proxy.page("/endpoints").await?;
        all.push((proxy, page));
    }
    Ok(all)
}

fn nothing(believed: &[(Proxy, Value)], wanted: &str) {
    for (proxy, page) in believed {
        eprintln!("{proxy} knows no endpoint, backend or chain {wanted:?}.");
        let known = listing(page);
        if !known.is_empty() {
            eprintln!("It knows: {known}");
        }
    }
}

/// An endpoint and the chain it belongs to.
struct Found<'a> {
    chain: &'a Value,
    endpoint: &'a Value,
}

fn find<'a>(believed: &'a Value, wanted: &str) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    for chain in believed["chains"].as_array().into_iter().flatten() {
        for endpoint in chain["endpoints"].as_array().into_iter().flatten() {
            let address = endpoint["address"].as_str().unwrap_or_default();
            let ip = address
                .rsplit_once(':')
                .map_or(address, |(ip, _)| ip)
                .trim_matches(['[', ']']);
            let names = [address, ip, endpoint["backend"].as_str().unwrap_or_default()];
            let id = chain["chain"].as_str().unwrap_or_default();
            if names.contains(&wanted) || id == wanted || id.rsplit('/').next() == Some(wanted) {
                found.push(Found { chain, endpoint });
            }
        }
    }
    found
}

impl Found<'_> {
    fn print(&self) {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let (chain, endpoint) = (self.chain, self.endpoint);
        println!(
            "{}  backend {}, tier {}",
            text(&endpoint["address"]),
            text(&endpoint["backend"]),
            endpoint["tier"]
        );
        println!(
            "  state        {} since {}",
            text(&endpoint["state"]),
            moment(&endpoint["since"])
        );
        println!("  why          {}", text(&endpoint["reason"]));
        println!("  connections  {}", endpoint["connections"]);
        let active = &chain["active"];
        println!(
            "  chain        {}: {} (tier {}) is active since {}, epoch {}: {}",
            text(&chain["chain"]),
            text(&active["backend"]),
            active["tier"],
            moment(&active["since"]),
            active["epoch"],
            text(&active["reason"])
        );
        if let Some(at) = chain["failbackAt"].as_str() {
            println!("  failback at  {at}");
        }
    }

    fn to_json(&self) -> Value {
        let mut endpoint = self.endpoint.clone();
        endpoint["chain"] = self.chain["chain"].clone();
        endpoint["active"] = self.chain["active"].clone();
        endpoint["failbackAt"] = self.chain["failbackAt"].clone();
        endpoint
    }
}

/// To the second: what is finer helps nobody here, and `-o json` has it.
fn moment(since: &Value) -> String {
    let told = since.as_str().unwrap_or("-");
    let parsed = told.parse::<jiff::Timestamp>();
    parsed.map_or_else(|_| told.to_owned(), |at| at.strftime("%FT%TZ").to_string())
}

fn listing(believed: &Value) -> String {
    let mut known: Vec<String> = Vec::new();
    for chain in believed["chains"].as_array().into_iter().flatten() {
        for endpoint in chain["endpoints"].as_array().into_iter().flatten().take(8) {
            let text = |key: &str| endpoint[key].as_str().unwrap_or_default().to_owned();
            known.push(format!(
                "{} ({} of {})",
                text("address"),
                text("backend"),
                chain["chain"].as_str().unwrap_or("?")
            ));
        }
    }
    known.truncate(16);
    known.join(", ")
}
