//! Metrics as `OpenMetrics` text. In: what every part counts, and what is read when somebody asks. Out: one page. Labels are
//! words of ours, so their number is bounded.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use switchyard_discovery::server::Server;
use tokio::sync::watch;

use crate::lease::Leadership;
use crate::pods::Pods;

/// What [`Page::text`] returns is this.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is read when somebody asks.
#[derive(Debug)]
pub struct Gauges {
    /// Whether this process leads.
    pub leadership: Leadership,
    /// Who is connected.
    pub server: Server,
    /// Whether everything has been seen.
    pub synced: watch::Receiver<bool>,
    /// Pods of pools.
    pub pods: Pods,
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (name, help, value) in [
            (
                "leader",
                "1: this replica leads",
                i64::from(self.leadership.holds()),
            ),
            (
                "stands_in",
                "1: this replica serves proxies without leading, for the API server is out of reach",
                i64::from(self.leadership.stands_in()),
            ),
            (
                "synced",
                "1: every watch has seen everything at least once",
                i64::from(*self.synced.borrow()),
            ),
            (
                "connected_proxies",
                "Proxies that are connected to this replica",
                count(self.server.connected()),
            ),
            ("pods", "Pods of pools that are known", count(self.pods.len())),
        ] {
            let gauge = ConstGauge::new(value);
            let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(encoder)?;
        }
        Ok(())
    }
}

/// The page of metrics. Clones are the same page.
#[derive(Clone, Debug)]
pub struct Page(Arc<Mutex<Registry>>);

impl Page {
    /// Nothing is on it yet.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("switchyard_operator"))))
    }

    /// A part adds its own.
    pub fn add(&self, part: impl FnOnce(&mut Registry)) {
        part(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All metrics, now.
    ///
    /// # Errors
    /// None that is expected: the text is written to memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}
