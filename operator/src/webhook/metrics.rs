//! What is counted of pods and of the configuration. Out: metrics; labels are words of ours.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::review::Outcome;

/// Upper bounds in seconds. The API server waits for 5 s, unless the configuration says otherwise.
const TOOK: [f64; 8] = [0.000_25, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0];

/// What is counted; clones share it.
#[derive(Clone, Debug)]
pub struct Metrics {
    pods: Family<By, Counter>,
    refused: Family<Because, Counter>,
    took: Histogram,
    handshakes_failed: Counter,
    written: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Because {
    reason: &'static str,
}

impl Metrics {
    /// Nothing has been counted.
    pub fn new() -> Self {
        Self {
            pods: Family::default(),
            refused: Family::default(),
            took: Histogram::new(TOOK),
            handshakes_failed: Counter::default(),
            written: Counter::default(),
        }
    }

    /// Puts them on a page.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("webhook");
        registry.register(
            "pods",
            "Pods that were answered for, by what became of them",
            self.pods.clone(),
        );
        registry.register(
            "requests_refused",
            "Requests that were no question about a pod, or came too early, by reason",
            self.refused.clone(),
        );
        registry.register(
            "seconds",
            "Time from a question's last byte to its answer",
            self.took.clone(),
        );
        registry.register(
            "handshakes_failed",
            "TLS handshakes that failed: who asked does not trust the CA, or is no API server",
            self.handshakes_failed.clone(),
        );
        registry.register(
            "bundle_writes",
            "Times that the CA bundle was written into the configuration",
            self.written.clone(),
        );
    }

    pub(super) fn answered(&self, outcome: Outcome, took: Duration) {
        let outcome = match outcome {
            Outcome::Injected => "injected",
            Outcome::Unchanged => "unchanged",
            Outcome::Unmatched => "unmatched",
            Outcome::Hindered => "hindered",
        };
        self.pods.get_or_create(&By { outcome }).inc();
        self.took.observe(took.as_secs_f64());
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Because { reason }).inc();
    }

    pub(super) fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    pub(super) fn bundle_written(&self) {
        self.written.inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
