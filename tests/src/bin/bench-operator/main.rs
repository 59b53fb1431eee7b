//! `bench-operator`: how fast the operator is, beside a real API server. In: sizes. Out: figures as JSON, and whether each
//! is within its bound. `bench/README.md` says what is measured, and how.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot be made ends the program and says why"
)]

mod backend;
mod change;
mod cold;
mod fleet;
mod ground;
mod processors;
mod report;
mod rollup;
mod statuses;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use change::Load;
use ground::Sizes;
use report::Report;

/// What is measured, and how much of it.
#[derive(Debug, Parser)]
struct Options {
    /// Where the figures go [default: bench/results/operator.json if everything is measured at full size]
    #[arg(long)]
    out: Option<PathBuf>,
    /// What is measured [default: everything]
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Case>,
    /// Pools whose proxies are connected
    #[arg(long, default_value_t = 20)]
    pools: usize,
    /// Proxies, shared out among the pools
    #[arg(long, default_value_t = 200)]
    proxies: usize,
    /// Chains, shared out among the pools
    #[arg(long, default_value_t = 1000)]
    chains: usize,
    /// Changes that are timed, alone and again among others
    #[arg(long, default_value_t = 200)]
    changes: usize,
    /// Other chains that change each second, where they do
    #[arg(long, default_value_t = 50)]
    others: u32,
    /// Pools of the cold start
    #[arg(long, default_value_t = 100)]
    cold_pools: usize,
    /// Chains of the cold start
    #[arg(long, default_value_t = 10_000)]
    cold_chains: usize,
    /// Cold starts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// What the API server takes for changes while nobody else is there
    Alone,
    /// What all of it costs while nothing changes
    Idle,
    /// From the API server's answer to in effect on every proxy
    Change,
    /// From what proxies report to every status
    Rollup,
    /// From the start of the operator to every snapshot served
    Cold,
}

impl Options {
    fn wants(&self, case: Case) -> bool {
        self.only.is_empty() || self.only.contains(&case)
    }

    /// Of all cases but the cold start.
    fn sizes(&self) -> Sizes {
        Sizes {
            pools: self.pools,
            proxies: self.proxies,
            chains: self.chains,
        }
    }

    fn out(&self) -> PathBuf {
        if let Some(out) = &self.out {
            return out.clone();
        }
        let whole = Self::parse_from(["bench-operator"]);
        let sizes = |it: &Self| (it.pools, it.proxies, it.chains, it.changes, it.others);
        let cold = |it: &Self| (it.cold_pools, it.cold_chains, it.rounds);
        let is_whole = self.only.is_empty() && sizes(self) == sizes(&whole) && cold(self) == cold(&whole);
        let bench = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("bench");
        // part of it never takes the place of the whole
        let folder = if is_whole { "results" } else { ".cache/results" };
        bench.join(folder).join("operator.json")
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut report = Report::begin();
    if options.wants(Case::Alone) {
        change::measure_alone(options.sizes(), options.others, &mut report);
    }
    let connected_cases = [Case::Idle, Case::Change, Case::Rollup];
    if connected_cases.into_iter().any(|case| options.wants(case)) {
        connected(&options, &mut report);
    }
    if options.wants(Case::Cold) {
        let sizes = Sizes {
            pools: options.cold_pools,
            proxies: options.cold_pools,
            chains: options.cold_chains,
        };
        cold::measure(sizes, options.rounds, &mut report);
    }
    report.write(&options.out());
    if report.missed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// What needs proxies that are connected.
fn connected(options: &Options, report: &mut Report) {
    let sizes = options.sizes();
    let mut scene = rollup::Scene::set(sizes);
    if options.wants(Case::Idle) {
        processors::measure_idle(&scene, report);
    }
    if options.wants(Case::Change) {
        for others in [0, options.others] {
            let load = Load {
                changes: options.changes,
                others,
            };
            change::measure(&scene, sizes, load, report);
        }
    }
    if options.wants(Case::Rollup) {
        rollup::measure(&mut scene, sizes, report);
    }
}
