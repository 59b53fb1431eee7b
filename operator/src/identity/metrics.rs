//! What is counted. In: exchanges and the door. Out: metrics.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use switchyard_discovery::identity::server::Counters;

use super::admit::Proof;
use super::refusal::Refusal;

/// What is counted; clones share it.
#[derive(Clone, Default)]
pub(super) struct Metrics {
    issued: Family<By, Counter>,
    refused: Family<Because, Counter>,
    /// Unix time at which the authority that signs runs out.
    pub(super) ca_not_after: Gauge,
    /// Authorities that are trusted.
    pub(super) ca_trusted: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    proof: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Because {
    reason: &'static str,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("identity");
        registry.register(
            "certificates_issued",
            "Client certificates issued to proxies",
            self.issued.clone(),
        );
        registry.register(
            "certificates_refused",
            "Client certificates that were refused, by reason",
            self.refused.clone(),
        );
        registry.register(
            "ca_not_after_seconds",
            "When the CA that signs runs out, Unix time",
            self.ca_not_after.clone(),
        );
        registry.register(
            "ca_trusted",
            "CAs that proxies are told to trust",
            self.ca_trusted.clone(),
        );
    }

    pub(super) fn issued(&self, proof: &Proof) {
        let proof = match proof {
            Proof::Token(_) => "token",
            Proof::Certificate(_) => "certificate",
        };
        self.issued.get_or_create(&By { proof }).inc();
    }

    pub(super) fn refused(&self, refusal: &Refusal) {
        self.refused
            .get_or_create(&Because {
                reason: refusal.reason(),
            })
            .inc();
    }
}

/// What happens at the door, read when somebody asks.
#[derive(Debug)]
pub(super) struct Door(pub(super) Arc<Counters>);

impl Collector for Door {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in [
            (
                "identity_handshakes",
                "TLS handshakes completed",
                self.0.accepted(),
            ),
            (
                "identity_handshakes_failed",
                "TLS handshakes that failed: invalid certificates, other protocols, timeouts",
                self.0.failed(),
            ),
            (
                "identity_accept_errors",
                "Connections that could not even be accepted",
                self.0.accept_errors(),
            ),
        ] {
            let counter = ConstCounter::new(value);
            let encoder = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(encoder)?;
        }
        Ok(())
    }
}
