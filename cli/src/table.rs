//! `switchyard table`: where clients go that a chain cannot serve. In: a proxy's admin endpoint, or a cluster's pools. Out: for each
//! chain how it stands, and every proxy that could take its clients, in order; or JSON or YAML.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::cluster::block_on;
use crate::output::Output;
use crate::proxies::{self, ProxiesArgs, Proxy};
use crate::status::{sheet, shown};

/// What `switchyard table` takes.
#[derive(Args, Debug)]
pub struct TableArgs {
    /// As a proxy of this pool sees it, or this proxy [default: one proxy of each pool]
    #[arg(value_name = "POOL[/PROXY]", conflicts_with = "admin")]
    seen_by: Option<String>,
    #[command(flatten)]
    at: ProxiesArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// Exit code 2: a proxy could not be asked.
pub fn run(args: &TableArgs) -> ExitCode {
    let pages = match block_on(pages(args)) {
        Ok(pages) => pages,
        Err(why) => {
            eprintln!("switchyard table: {why}");
            return ExitCode::from(2);
        }
    };
    let one = args.at.admin.is_some();
    let whole = match &pages[..] {
        [(_, page)] if one => page.clone(),
        all => all
            .iter()
            .map(|(proxy, page)| json!({"proxy": proxy, "table": page}))
            .collect(),
    };
    if let Some(text) = args.output.structured(&whole) {
        println!("{text}");
        return ExitCode::SUCCESS;
    }
    for (proxy, page) in &pages {
        if !one {
            println!("As {proxy} sees it:\n");
        }
        print!("{}", drawn(page));
    }
    ExitCode::SUCCESS
}

/// By whom, and what it says.
async fn pages(args: &TableArgs) -> Result<Vec<(String, Value)>, String> {
    let proxies = match &args.at.admin {
        Some(admin) => vec![Proxy::At(admin.clone())],
        None => proxies::seen_by(&args.at, args.seen_by.as_deref()).await?,
    };
    let mut pages = Vec::new();
    for proxy in proxies {
        pages.push((proxy.to_string(), proxy.page("/table").await?));
    }
    Ok(pages)
}

/// The page `/table` for people.
pub fn drawn(page: &Value) -> String {
    let mut text = String::new();
    let chains = page["chains"].as_array().map(Vec::as_slice).unwrap_or_default();
    for chain in chains {
        // writing to a string cannot fail
        let _ = writeln!(text, "{}", headline(chain));
        let mut table = sheet(&[
            "CHAIN",
            "SITE",
            "STATE",
            "PROXY",
            "LIVES",
            "SERVES",
            "SESSIONS",
            "GUEST ROOM",
            "DIRECT",
            "WHY",
        ]);
        for row in chain["table"].as_array().into_iter().flatten() {
            let proxies = row["proxies"].as_array().map(Vec::as_slice).unwrap_or_default();
            for (n, proxy) in proxies.iter().enumerate() {
                let of_chain = |field: &str| if n == 0 { shown(&row[field]) } else { String::new() };
                table.add_row([
                    of_chain("chain"),
                    of_chain("site"),
                    of_chain("standing"),
                    shown(&proxy["name"]),
                    if proxy["myself"] == true {
                        "itself".to_owned()
                    } else {
                        shown(&proxy["liveness"])
                    },
                    shown(&proxy["serves"]),
                    shown(&proxy["sessions"]),
                    shown(&proxy["guestRoom"]),
                    direct(proxy),
                    shown(&proxy["reason"]),
                ]);
            }
            if proxies.is_empty() {
                table.add_row([
                    shown(&row["chain"]),
                    shown(&row["site"]),
                    shown(&row["standing"]),
                    "none is known".to_owned(),
                ]);
            }
        }
        for line in table.to_string().lines() {
            let _ = writeln!(text, "  {}", line.trim_end());
        }
        text.push('\n');
    }
    if chains.is_empty() {
        text.push_str("no chain has anybody to stand in for it\n");
    }
    text
}

fn headline(chain: &Value) -> String {
    let mut line = format!(
        "{}: {}",
        shown(&chain["chain"]),
        shown(&chain["standing"]["standing"])
    );
    if let Some(why) = chain["standing"]["reason"].as_str().filter(|why| !why.is_empty()) {
        let _ = write!(line, " ({why})");
    }
    if let Some(to) = chain["redirect"]["to"].as_str() {
        let _ = write!(line, "; its clients go to {to}");
    }
    if chain["guests"].as_u64().unwrap_or_default() > 0 {
        let _ = write!(line, "; {} guests here", chain["guests"]);
    }
    if let Some(at) = chain["returnsAt"].as_str() {
        let _ = write!(line, ", who go back at {at}");
    }
    line
}

/// How clients reach it: the first way, and how many there are besides.
fn direct(proxy: &Value) -> String {
    let ways = proxy["direct"].as_array().map(Vec::as_slice).unwrap_or_default();
    match ways {
        [] if proxy["relay"].is_string() => "relay only".to_owned(),
        [] => shown(&Value::Null),
        [only] => shown(only),
        [first, others @ ..] => format!("{} (+{})", shown(first), others.len()),
    }
}
