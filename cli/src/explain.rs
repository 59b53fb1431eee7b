//! `switchyard explain`: the one truth about an endpoint. In: what a proxy's admin endpoint believes. Out: words.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::admin_client;

/// What `switchyard explain` takes.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// An address (10.0.0.1:1650 or 10.0.0.1), a backend's name, or NAMESPACE/CHAIN
    endpoint: String,
    /// The proxy to ask: its admin endpoint
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:17000")]
    admin: String,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Exit code 1: nothing matches; 2: the proxy could not be asked.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unreachable_proxy(&error.to_string()),
    };
    let answer = match runtime.block_on(admin_client::get(&args.admin, "/endpoints")) {
        Ok(answer) if answer.status == 200 => answer,
        Ok(answer) => return unreachable_proxy(&format!("{} answered {}", args.admin, answer.status)),
        Err(error) => return unreachable_proxy(&error.to_string()),
    };
    let believed: Value = match serde_json::from_str(&answer.body) {
        Ok(believed) => believed,
        Err(error) => return unreachable_proxy(&format!("{} answered no JSON: {error}", args.admin)),
    };
    let found = find(&believed, &args.endpoint);
    if found.is_empty() {
        eprintln!(
            "{} knows no endpoint, backend or chain {:?}.",
            args.admin, args.endpoint
        );
        let known = listing(&believed);
        if !known.is_empty() {
            eprintln!("It knows: {known}");
        }
        return ExitCode::FAILURE;
    }
    match args.output {
        Output::Json => println!(
            "{:#}",
            Value::Array(found.into_iter().map(Found::into_json).collect())
        ),
        Output::Table => found.iter().for_each(Found::print),
    }
    ExitCode::SUCCESS
}

fn unreachable_proxy(why: &str) -> ExitCode {
    eprintln!("switchyard explain: {why}");
    ExitCode::from(2)
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
            text(&endpoint["since"])
        );
        println!("  why          {}", text(&endpoint["reason"]));
        println!("  connections  {}", endpoint["connections"]);
        let active = &chain["active"];
        println!(
            "  chain        {}: {} (tier {}) is active since {}, epoch {}: {}",
            text(&chain["chain"]),
            text(&active["backend"]),
            active["tier"],
            text(&active["since"]),
            active["epoch"],
            text(&active["reason"])
        );
        if let Some(at) = chain["failbackAt"].as_str() {
            println!("  failback at  {at}");
        }
    }

    fn into_json(self) -> Value {
        let mut endpoint = self.endpoint.clone();
        endpoint["chain"] = self.chain["chain"].clone();
        endpoint["active"] = self.chain["active"].clone();
        endpoint["failbackAt"] = self.chain["failbackAt"].clone();
        endpoint
    }
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
