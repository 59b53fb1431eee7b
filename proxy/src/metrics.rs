//! Metrics as `OpenMetrics` text. In: everything that is counted anywhere in a proxy, read when somebody asks. Out: one
//! page; labels are chains, listeners, backends and words of ours, so their number is bounded by the configuration.

mod families;
mod gossip;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use switchyard_snapshot::ChainId;

use crate::app::Running;
use crate::chain::state::ChainReport;
use crate::counters::Totals;
use crate::drain::Phase;
use crate::resolve::{Freshness, QueryResult};
use families::Families;
use gossip::Gossip;

/// What [`scrape`] returns is this.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a proxy, now.
pub(crate) async fn scrape(running: &Running) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("switchyard");
    registry.register_collector(Box::new(Reading::take(running).await));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// Everything that is read for one page.
#[derive(Debug)]
struct Reading {
    proxy: Proxy,
    config: Config,
    dns: Dns,
    /// `passed`, `failed`, `skipped`.
    probes: [(&'static str, u64); 3],
    totals: Totals,
    chains: Vec<Chain>,
    /// None: it has talked to nobody yet.
    gossip: Option<Gossip>,
}

#[derive(Debug)]
struct Proxy {
    started: f64,
    ready: bool,
    draining: bool,
    descriptors: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Config {
    generation: u64,
    since: f64,
    age: Duration,
    rejections: u64,
    rejected_now: u64,
}

#[derive(Debug)]
struct Dns {
    queries: Vec<(&'static str, u64)>,
    questions: u64,
    freshness: Freshness,
}

#[derive(Debug)]
struct Chain {
    id: ChainId,
    transitions: Vec<(&'static str, u64)>,
    /// None: its task does not answer.
    report: Option<ChainReport>,
}

impl Reading {
    async fn take(running: &Running) -> Self {
        let reports = running.reports().await;
        let chains = reports.into_iter().map(|(control, report)| Chain {
            id: control.handle.id.clone(),
            transitions: control.transitions.all().collect(),
            report,
        });
        let standing = running.standing();
        let resolver = running.resolver();
        let applied = &standing.applied;
        let phase = running.life().phase();
        Self {
            proxy: Proxy {
                started: running.started().wall.as_millisecond() as f64 / 1e3,
                ready: phase == Phase::Serving && running.cut_off().is_none(),
                draining: matches!(phase, Phase::Draining { .. } | Phase::Drained),
                descriptors: descriptors(),
            },
            config: Config {
                generation: standing.generation,
                since: standing.since.wall.as_millisecond() as f64 / 1e3,
                age: if running.source().is_some_and(|source| source.in_sync) {
                    Duration::ZERO
                } else {
                    standing.confirmed.mono.elapsed()
                },
                rejections: standing.rejections,
                rejected_now: (applied.rejected.len() + applied.listen_errors.len()) as u64,
            },
            dns: Dns {
                queries: QueryResult::ALL
                    .map(|r| (r.label(), resolver.counters().get(r)))
                    .to_vec(),
                questions: resolver.questions() as u64,
                freshness: resolver.freshness(),
            },
            probes: running.probes().all(),
            totals: running.workers().counters(),
            chains: chains.collect(),
            gossip: running.gossip().map(|counters| Gossip {
                counters,
                neighbours: Arc::clone(&running.hood().borrow().neighbours),
            }),
        }
    }
}

impl Collector for Reading {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut families = Families::new(encoder);
        self.proxy(&mut families)?;
        self.config(&mut families)?;
        self.evidence(&mut families)?;
        self.listeners(&mut families)?;
        self.sessions(&mut families)?;
        self.connects(&mut families)?;
        self.requests(&mut families)?;
        self.beliefs(&mut families)?;
        self.gossip(&mut families)
    }
}

/// Descriptors open and allowed; none: this system does not tell.
fn descriptors() -> Option<(u64, u64)> {
    // Linux 6.2 and later tell the number as the directory's size; before, it must be counted
    let open = match std::fs::metadata("/proc/self/fd").ok()?.len() {
        0 => std::fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        open => open,
    };
    let (limit, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).ok()?;
    Some((open, limit))
}
