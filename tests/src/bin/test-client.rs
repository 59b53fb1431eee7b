//! A client in a pod: asks a backend for its name at a fixed pace, each time over a connection of its own, and
//! never tries again. In: an address, as an application gets it. Out: one line per visit on standard output, `served NAME`
//! or `failed WHY`, and at the end how many of each; exit code 1 when more failed than may.
#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use switchyard_tests::greeting::Greeting;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Time for one visit.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Arguments {
    /// `HOST:PORT` of what it visits.
    #[arg(long)]
    to: String,
    /// Visits, then it ends.
    #[arg(long)]
    visits: u32,
    /// Milliseconds between the beginnings of two visits.
    #[arg(long, default_value_t = 100)]
    every: u64,
    /// Visits that may fail: 1 if a server is ended, which may be visited at that moment.
    #[arg(long, default_value_t = 0)]
    may_fail: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut pace = interval(Duration::from_millis(arguments.every.max(1)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..arguments.visits {
        pace.tick().await;
        let line = match timeout(DEADLINE, visit(&arguments.to)).await {
            Ok(Ok(name)) => format!("served {name}"),
            Ok(Err(error)) => format!("failed {error}"),
            Err(_) => "failed timeout".to_owned(),
        };
        println!("{line}");
        *told.entry(line).or_default() += 1;
    }
    for (line, count) in &told {
        println!("total {count} {line}");
    }
    let failed = told.iter().filter(|(line, _)| line.starts_with("failed"));
    let failed: u32 = failed.map(|(_, count)| count).sum();
    if failed > arguments.may_fail {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

async fn visit(to: &str) -> std::io::Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(to).await?);
    stream.write_all(b"who are you?\n").await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let greeting: Greeting = serde_json::from_str(&line)
        .map_err(|error| std::io::Error::other(format!("no backend's greeting: {line:?}: {error}")))?;
    Ok(greeting.name)
}
