//! What the admin port answers, as the tests read it: `/endpoints` and
//! `/metrics`.

use std::net::SocketAddr;

use serde::Deserialize;

/// One chain, as `/endpoints` tells it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainState {
    /// `namespace/name`
    pub chain: String,
    /// The active tier.
    pub active: Option<Active>,
    /// When it goes back to the primary, where that is planned.
    pub failback_at: Option<String>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

impl ChainState {
    /// Addresses of its endpoints in state Serving, sorted.
    pub fn serving(&self) -> Vec<String> {
        let serving = self.endpoints.iter().filter(|e| e.state == "Serving");
        let mut addresses: Vec<String> = serving.map(|e| e.address.clone()).collect();
        addresses.sort();
        addresses
    }

    /// Addresses of its endpoints that clients are sent to, sorted: those in
    /// state Serving, and those in state Stale (DNS says nothing new of them).
    pub fn usable(&self) -> Vec<String> {
        let used = |e: &&Endpoint| e.state == "Serving" || e.state == "Stale";
        let mut addresses: Vec<String> = self
            .endpoints
            .iter()
            .filter(used)
            .map(|e| e.address.clone())
            .collect();
        addresses.sort();
        addresses
    }

    /// Its endpoint with this address.
    pub fn endpoint(&self, address: SocketAddr) -> Option<&Endpoint> {
        let address = address.to_string();
        self.endpoints.iter().find(|e| e.address == address)
    }
}

/// The tier that serves.
#[derive(Clone, Debug, Deserialize)]
pub struct Active {
    /// Its first backend's name.
    pub backend: String,
    /// 0 is primary.
    pub tier: u32,
    /// RFC 3339.
    pub since: String,
    /// Grows with every change of tier.
    pub epoch: u64,
    /// Why, in words.
    pub reason: String,
}

/// One endpoint, as `/endpoints` tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Endpoint {
    /// Its backend's name.
    pub backend: String,
    /// `address:port`
    pub address: String,
    /// Its backend's tier.
    pub tier: u32,
    /// Serving, Stale, Ejected or Draining.
    pub state: String,
    /// Why, in words.
    pub reason: String,
    /// RFC 3339.
    pub since: String,
    /// Client connections on it.
    pub connections: u64,
}

/// Samples of a `/metrics` answer (Prometheus text format).
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<(String, f64)>,
}

impl Metrics {
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self {
            samples: lines.filter_map(sample).collect(),
        }
    }

    /// Sum of the samples of the metric `name` that carry all these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        let matching = self.samples.iter().filter(|(series, _)| {
            series.split('{').next() == Some(name) && wanted.iter().all(|l| series.contains(l))
        });
        matching.map(|(_, value)| value).sum()
    }

    /// Every series with its value, for messages.
    pub fn series(&self) -> &[(String, f64)] {
        &self.samples
    }
}
