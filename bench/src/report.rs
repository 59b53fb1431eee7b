//! What comes out: the table, and the two files of results.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::cases::{self, Sample};
use crate::options::Options;
use crate::proxies::OURS;

/// A proxy's core that was less busy than this was not saturated.
const SATURATED: f64 = 0.85;

/// Where the numbers come from.
#[derive(Debug, Serialize)]
pub struct Machine {
    kernel: String,
    cpu: String,
    cores: usize,
}

/// One measurement and what it belongs to.
#[derive(Debug)]
pub struct Measured {
    /// From 1.
    pub round: u32,
    /// The case's name.
    pub case: &'static str,
    /// The proxy's name.
    pub proxy: &'static str,
    /// The result.
    pub sample: Sample,
}

/// All measurements of a run.
#[derive(Debug)]
pub struct Report {
    machine: Machine,
    settings: Settings,
    versions: Vec<(&'static str, String)>,
    measured: Vec<Measured>,
    started: SystemTime,
}

#[derive(Debug, Serialize)]
struct Settings {
    rounds: u32,
    seconds: f64,
    idle_connections: u32,
    proxy_core: usize,
    load_core: usize,
}

/// One line of `latest.json`: ours against one peer in one case. Costs are medians.
#[derive(Debug, Serialize)]
struct Comparison {
    case: &'static str,
    ours: f64,
    peer: f64,
    peer_name: &'static str,
    unit: &'static str,
    ratio: f64,
}

#[derive(Debug, Serialize)]
struct RoundRow<'a> {
    round: u32,
    case: &'a str,
    proxy: &'a str,
    cost: f64,
    busy: Option<f64>,
    details: &'a BTreeMap<&'static str, f64>,
}

#[derive(Debug, Serialize)]
struct Record<'a> {
    /// Seconds since 1970-01-01 UTC.
    started: u64,
    machine: &'a Machine,
    settings: &'a Settings,
    versions: BTreeMap<&'a str, &'a str>,
    rounds: Vec<RoundRow<'a>>,
}

/// The costs of one proxy in one case, in order of size; never empty.
struct Costs(Vec<f64>);

impl Machine {
    /// This machine.
    pub fn read() -> io::Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let mut models = cpuinfo
            .lines()
            .filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            cpu: models.next().map_or("unknown", |(_, model)| model).to_owned(),
            cores: cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
        })
    }
}

impl Report {
    /// Nothing is measured yet.
    pub fn new(options: &Options, machine: Machine, versions: Vec<(&'static str, String)>) -> Self {
        let settings = Settings {
            rounds: options.rounds,
            seconds: options.seconds,
            idle_connections: options.idle,
            proxy_core: options.proxy_core,
            load_core: options.load_core,
        };
        Self {
            machine,
            settings,
            versions,
            measured: Vec::new(),
            started: SystemTime::now(),
        }
    }

    /// Keeps a measurement.
    pub fn add(&mut self, measured: Measured) {
        self.measured.push(measured);
    }

    /// Prints the table.
    pub fn print(&self) {
        println!(
            "\n{} on {}, {} cores",
            self.machine.kernel, self.machine.cpu, self.machine.cores
        );
        for case in &cases::ALL {
            if self.measured.iter().any(|measured| measured.case == case.name) {
                self.print_case(case);
            }
        }
        println!();
    }

    fn print_case(&self, case: &cases::Case) {
        println!("\n{}: {}", case.name, case.about);
        println!(
            "  {:<11} {:>10} {:>10} {:>10}  {:<14} {:>6}",
            "", "median", "min", "max", "", "busy"
        );
        for (name, _) in &self.versions {
            let Some(costs) = self.costs(case.name, name) else {
                continue;
            };
            let (low, high) = costs.range();
            print!(
                "  {name:<11} {:>10.3} {low:>10.3} {high:>10.3}  {:<14}",
                costs.median(),
                case.unit
            );
            match self.least_busy(case.name, name) {
                None => println!(),
                Some((busy, idle)) => println!(" {:>5.0}%{}", busy * 100.0, remark(busy, idle)),
            }
        }
        let ours = self
            .comparisons()
            .into_iter()
            .filter(|comparison| comparison.case == case.name);
        // The best peer is the one that costs least.
        if let Some(best) = ours.min_by(|one, other| one.peer.total_cmp(&other.peer)) {
            println!("  {OURS} / best peer ({}): {:.3}", best.peer_name, best.ratio);
        }
    }

    /// Writes `latest.json` and `rounds.json`.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        write_json(&folder.join("latest.json"), &self.comparisons())?;
        let record = Record {
            started: self
                .started
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
            machine: &self.machine,
            settings: &self.settings,
            versions: self
                .versions
                .iter()
                .map(|(name, version)| (*name, version.as_str()))
                .collect(),
            rounds: self.measured.iter().map(RoundRow::from).collect(),
        };
        write_json(&folder.join("rounds.json"), &record)
    }

    fn comparisons(&self) -> Vec<Comparison> {
        let mut all = Vec::new();
        for case in &cases::ALL {
            let Some(ours) = self.costs(case.name, OURS) else {
                continue;
            };
            for (peer_name, _) in self.versions.iter().filter(|(name, _)| *name != OURS) {
                let Some(peer) = self.costs(case.name, peer_name) else {
                    continue;
                };
                let (ours, peer) = (ours.median(), peer.median());
                all.push(Comparison {
                    case: case.name,
                    ours,
                    peer,
                    peer_name,
                    unit: case.unit,
                    ratio: ours / peer,
                });
            }
        }
        all
    }

    fn samples(&self, case: &str, proxy: &str) -> impl Iterator<Item = &Sample> {
        let wanted = move |measured: &&Measured| measured.case == case && measured.proxy == proxy;
        self.measured
            .iter()
            .filter(wanted)
            .map(|measured| &measured.sample)
    }

    fn costs(&self, case: &str, proxy: &str) -> Option<Costs> {
        let mut costs: Vec<f64> = self.samples(case, proxy).map(|sample| sample.cost).collect();
        costs.sort_by(f64::total_cmp);
        (!costs.is_empty()).then_some(Costs(costs))
    }

    /// Of the round in which the proxy was least busy: its share of the core, and the share that nobody used.
    fn least_busy(&self, case: &str, proxy: &str) -> Option<(f64, f64)> {
        let shares = |sample: &Sample| Some((sample.busy?, *sample.details.get("core_idle")?));
        self.samples(case, proxy)
            .filter_map(shares)
            .min_by(|one, other| one.0.total_cmp(&other.0))
    }
}

impl<'a> From<&'a Measured> for RoundRow<'a> {
    fn from(measured: &'a Measured) -> Self {
        let Measured {
            round,
            case,
            proxy,
            ref sample,
        } = *measured;
        let Sample {
            cost,
            busy,
            ref details,
        } = *sample;
        Self {
            round,
            case,
            proxy,
            cost,
            busy,
            details,
        }
    }
}

impl Costs {
    fn median(&self) -> f64 {
        let upper = self.0.len() / 2;
        if self.0.len() % 2 == 1 {
            self.0[upper]
        } else {
            f64::midpoint(self.0[upper - 1], self.0[upper])
        }
    }

    fn range(&self) -> (f64, f64) {
        (self.0[0], self.0[self.0.len() - 1])
    }
}

/// What a reader must know of a proxy that did not have its core to itself, or nothing to do on it.
fn remark(busy: f64, idle: f64) -> &'static str {
    if busy >= SATURATED {
        ""
    } else if busy + idle >= SATURATED {
        "  not saturated in every round"
    } else {
        "  disturbed: others used its core"
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    fs::write(path, text)
}

#[cfg(test)]
mod tests;
