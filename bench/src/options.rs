//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::cases::{self, Case};
use crate::proxies::{self, Proxy};

/// Rounds that a result needs to be kept.
pub const FULL_ROUNDS: u32 = 7;

/// Measures Switchyard side by side with other proxies: what does the same traffic cost each of them?
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub struct Options {
    /// Rounds; in each, every proxy meets every case once. The median counts
    #[arg(long, default_value_t = FULL_ROUNDS, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Length of the measured window of a CPU case, in seconds
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// Measure these cases only (comma-separated)
    #[arg(long, value_delimiter = ',', value_parser = cases::find)]
    pub case: Vec<&'static Case>,
    /// Measure these proxies only (comma-separated)
    #[arg(long, value_delimiter = ',', value_parser = proxies::find)]
    pub only: Vec<&'static Proxy>,
    /// Connections of the case `tcp-idle-memory`
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(100..=9000))]
    pub idle: u32,
    /// The run may take this long altogether, in seconds
    #[arg(long, default_value_t = 1200.0, value_parser = seconds)]
    pub limit: f64,
    /// Core that the proxy runs on
    #[arg(long, default_value_t = 0)]
    pub proxy_core: usize,
    /// Core that clients and backend run on
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// Folder with the programs `haproxy`, `nginx` and `envoy`
    #[arg(long, default_value = "bench/.cache/peers-sid/bin")]
    pub peers: PathBuf,
    /// Folder with the configurations; the results go below it
    #[arg(long, default_value = "bench")]
    pub here: PathBuf,
    /// The program `switchyard`
    #[arg(long, default_value = "target/release/switchyard")]
    pub switchyard: PathBuf,
}

impl Options {
    /// The cases to measure, in their usual order.
    pub fn cases(&self) -> Vec<&'static Case> {
        let chosen = |case: &Case| self.case.is_empty() || self.case.iter().any(|c| c.name == case.name);
        cases::ALL.iter().filter(|case| chosen(case)).collect()
    }

    /// The proxies to measure, in their usual order.
    pub fn proxies(&self) -> Vec<&'static Proxy> {
        let chosen = |proxy: &Proxy| self.only.is_empty() || self.only.iter().any(|p| p.name == proxy.name);
        proxies::ALL.iter().filter(|proxy| chosen(proxy)).collect()
    }

    /// Whether this is the whole measurement. Any other result must not take the place of a whole one.
    pub fn is_full(&self) -> bool {
        self.case.is_empty() && self.only.is_empty() && self.rounds >= FULL_ROUNDS
    }

    /// The folder with the certificate that the proxies serve.
    pub fn tls(&self) -> PathBuf {
        self.here.join(".cache/tls")
    }

    /// The measured window of a CPU case.
    pub fn window(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.1 to 86400".to_owned()),
    }
}
