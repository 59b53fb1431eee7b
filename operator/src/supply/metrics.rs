//! What the supply counts.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::index::Sizes;

/// How often snapshots are made, and how long it takes.
#[derive(Clone, Debug)]
pub struct Metrics {
    units: Counter,
    published: Counter,
    took: Histogram,
    pools: Gauge,
    chains: Gauge,
    services: Gauge,
    secrets: Gauge,
    secrets_held: Gauge,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self {
            units: Counter::default(),
            published: Counter::default(),
            took: Histogram::new(exponential_buckets(0.000_1, 4.0, 9)),
            pools: Gauge::default(),
            chains: Gauge::default(),
            services: Gauge::default(),
            secrets: Gauge::default(),
            secrets_held: Gauge::default(),
        }
    }

    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "compiled_pools",
            "Pools compiled because something that they depend on changed",
            self.units.clone(),
        );
        registry.register(
            "published_snapshots",
            "Snapshots that differed from the one before and were published",
            self.published.clone(),
        );
        registry.register_with_unit(
            "supply",
            "From changes that were seen together to their snapshots being published",
            Unit::Seconds,
            self.took.clone(),
        );
        registry.register("pools", "ProxyPools that are known", self.pools.clone());
        registry.register("chains", "ProxyChains that are known", self.chains.clone());
        registry.register("services", "Services that are known", self.services.clone());
        registry.register(
            "secrets",
            "Secrets that are known to be there",
            self.secrets.clone(),
        );
        registry.register(
            "secrets_held",
            "Secrets that a pool or chain names, and whose contents are held",
            self.secrets_held.clone(),
        );
    }

    pub(super) fn settled(&self, units: usize, took: Duration, sizes: Sizes) {
        self.units.inc_by(units as u64);
        self.took.observe(took.as_secs_f64());
        for (gauge, size) in [
            (&self.pools, sizes.pools),
            (&self.chains, sizes.chains),
            (&self.services, sizes.services),
            (&self.secrets, sizes.secrets),
            (&self.secrets_held, sizes.secrets_held),
        ] {
            gauge.set(i64::try_from(size).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn published(&self) {
        self.published.inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
