//! Which metrics there are: names, help, labels.

use std::collections::BTreeMap;
use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Reading;
use crate::counters::{CONNECT_BUCKETS_US, ChainTotals, Handshake};
use crate::dialect;
use crate::session::end::{ConnectError, End, Refusal};

/// A label's name and value.
type Label<'a> = (&'static str, &'a str);

/// Durations by the bounds of [`CONNECT_BUCKETS_US`], not cumulative.
type Buckets = [u64; CONNECT_BUCKETS_US.len() + 1];

/// Writes families of metrics.
pub(super) struct Families<'a>(DescriptorEncoder<'a>);

impl<'a> Families<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    pub(super) fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(super) fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// A histogram for each chain: buckets as counted, and the sum in microseconds.
    fn durations<'t>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (&'t str, &'t Buckets, u64)>,
    ) -> Result<(), Error> {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (chain, buckets, sum_us) in values {
            let bounds = CONNECT_BUCKETS_US
                .iter()
                .map(|us| *us as f64 / 1e6)
                .chain([f64::INFINITY]);
            let bounded: Vec<(f64, u64)> = bounds.zip(buckets.iter().copied()).collect();
            let count = buckets.iter().sum();
            let labels = [("chain", chain)];
            let mut metric = family.encode_family(&labels)?;
            metric.encode_histogram::<[Label<'_>; 0]>(sum_us as f64 / 1e6, count, &bounded, None)?;
        }
        Ok(())
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }
}

impl Reading {
    pub(super) fn proxy(&self, out: &mut Families<'_>) -> Result<(), Error> {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        out.gauges("build_info", "The version that runs", [(version, 1.0)])?;
        out.gauge(
            "start_time_seconds",
            "When it started, Unix time",
            self.proxy.started,
        )?;
        out.gauge(
            "ready",
            "1 while it serves and does not drain",
            f64::from(u8::from(self.proxy.ready)),
        )?;
        out.gauge(
            "draining",
            "1 once it drains",
            f64::from(u8::from(self.proxy.draining)),
        )?;
        if let Some((open, limit)) = self.proxy.descriptors {
            out.gauge(
                "descriptors_open",
                "Descriptors the process has open",
                open as f64,
            )?;
            out.gauge("descriptors_limit", "Descriptors it may have open", limit as f64)?;
        }
        let dropped = self.totals.log_lines_dropped;
        out.counter(
            "access_log_dropped",
            "Lines lost because the log's reader was too slow",
            dropped,
        )
    }

    pub(super) fn config(&self, out: &mut Families<'_>) -> Result<(), Error> {
        let config = &self.config;
        let generation = config.generation as f64;
        out.gauge(
            "config_generation",
            "Counts the snapshots that changed something",
            generation,
        )?;
        out.gauge(
            "config_applied_time_seconds",
            "When what runs was applied, Unix time",
            config.since,
        )?;
        let age = config.age.as_secs_f64();
        out.gauge(
            "config_age_seconds",
            "Since its source last said what the configuration is",
            age,
        )?;
        let rejected = config.rejected_now as f64;
        out.gauge(
            "config_rejected",
            "Entries of the newest snapshot that do not run",
            rejected,
        )?;
        out.counter(
            "config_rejections",
            "Entries that were refused so far",
            config.rejections,
        )
    }

    pub(super) fn evidence(&self, out: &mut Families<'_>) -> Result<(), Error> {
        let queries = self
            .dns
            .queries
            .iter()
            .map(|&(result, n)| ([("result", result)], n));
        out.counters(
            "dns_queries",
            "DNS questions asked, by what became of them",
            queries,
        )?;
        out.gauge(
            "dns_questions",
            "DNS questions that are being asked",
            self.dns.questions as f64,
        )?;
        let freshness = &self.dns.freshness;
        out.gauge(
            "dns_questions_failing",
            "Of them, those that failed last",
            freshness.failing as f64,
        )?;
        out.gauge(
            "dns_questions_unanswered",
            "Of them, those never answered",
            freshness.unanswered as f64,
        )?;
        let oldest = freshness.oldest.as_secs_f64();
        out.gauge(
            "dns_answer_age_seconds",
            "Age of the oldest answer in use",
            oldest,
        )?;
        let probes = self.probes.map(|(result, n)| ([("result", result)], n));
        out.counters(
            "probes",
            "Health probes; skipped are those that this machine could not make",
            probes,
        )
    }

    pub(super) fn listeners(&self, out: &mut Families<'_>) -> Result<(), Error> {
        let all = || {
            self.totals
                .listeners
                .iter()
                .map(|(name, totals)| (name.as_str(), totals))
        };
        let accepted = all().map(|(name, t)| ([("listener", name)], t.accepted));
        out.counters("connections_accepted", "Connections accepted", accepted)?;
        let active = all().map(|(name, t)| ([("listener", name)], t.active as f64));
        out.gauges("connections_active", "Connections here now", active)?;
        let limited = all().map(|(name, t)| ([("listener", name)], t.limited));
        out.counters(
            "accept_pauses",
            "Times a limit kept a worker from accepting",
            limited,
        )?;
        let errors = all().map(|(name, t)| ([("listener", name)], t.accept_errors));
        out.counters("accept_errors", "Accepts that failed", errors)?;
        let refused = all().flat_map(|(name, t)| {
            let reasons = Refusal::ALL.into_iter().zip(t.refused);
            reasons.map(move |(reason, n)| ([("listener", name), ("reason", reason.label())], n))
        });
        out.counters("connections_refused", "Connections that were not served", refused)?;
        let handshakes = all().flat_map(|(name, t)| {
            let kinds = Handshake::ALL.into_iter().zip(t.tls_opened);
            kinds.map(move |(handshake, n)| {
                let labels = [
                    ("listener", name),
                    ("version", handshake.version()),
                    ("kind", handshake.kind()),
                ];
                (labels, n)
            })
        });
        out.counters(
            "tls_handshakes",
            "TLS handshakes with clients that succeeded",
            handshakes,
        )?;
        let failed = all().map(|(name, t)| ([("listener", name)], t.tls_failed));
        out.counters(
            "tls_handshake_failures",
            "TLS handshakes with clients that failed or took too long",
            failed,
        )
    }

    pub(super) fn sessions(&self, out: &mut Families<'_>) -> Result<(), Error> {
        let names = self.names();
        let all = || names.iter().map(|(name, totals)| (name.as_str(), *totals));
        let established = all().map(|(chain, t)| ([("chain", chain)], t.sessions));
        out.counters("sessions", "Sessions established", established)?;
        let active = all().map(|(chain, t)| ([("chain", chain)], t.active as f64));
        out.gauges("sessions_active", "Sessions open now", active)?;
        let ended = all().flat_map(|(chain, t)| {
            let ends = End::ALL.into_iter().zip(t.ended);
            ends.map(move |(end, n)| ([("chain", chain), ("end", end.word())], n))
        });
        out.counters("sessions_ended", "Sessions that ended, by how", ended)?;
        let moved = all().flat_map(|(chain, t)| {
            let ends = End::ALL.into_iter().zip(t.ended);
            ends.filter_map(move |(end, n)| {
                let (_, reason) = end.word().split_once("moved:")?;
                Some(([("chain", chain), ("reason", reason)], n))
            })
        });
        out.counters("sessions_moved", "Sessions we closed, by why", moved)?;
        let relayed = all().map(|(chain, t)| ([("chain", chain)], t.relayed));
        out.counters(
            "relayed_connections",
            "Connections that another proxy serves",
            relayed,
        )?;
        let guests = all().map(|(chain, t)| ([("chain", chain)], t.guests as f64));
        out.gauges("guests", "Clients that another chain's proxy sent, now", guests)?;
        let arrived = all().map(|(chain, t)| ([("chain", chain)], t.guests_arrived));
        out.counters(
            "guests_arrived",
            "Clients that another chain's proxy sent",
            arrived,
        )?;
        let refused = all().flat_map(|(chain, t)| {
            let reasons = Refusal::ALL.into_iter().zip(t.refused);
            reasons.map(move |(reason, n)| ([("chain", chain), ("reason", reason.label())], n))
        });
        out.counters(
            "chain_connections_refused",
            "Connections to a chain that were not served",
            refused,
        )?;
        let redirected = all().flat_map(|(chain, t)| {
            let dialects = dialect::ALL.into_iter().zip(t.redirected);
            dialects.map(move |(dialect, n)| ([("chain", chain), ("dialect", dialect::label(dialect))], n))
        });
        out.counters(
            "redirected",
            "Clients that were told in their own protocol where to go",
            redirected,
        )?;
        let bytes = all().flat_map(|(chain, t)| {
            let ways = [("up", t.bytes_up), ("down", t.bytes_down)];
            ways.map(|(way, n)| ([("chain", chain), ("direction", way)], n))
        });
        out.counters(
            "relayed_bytes",
            "Bytes relayed, up being towards the backend",
            bytes,
        )
    }

    pub(super) fn connects(&self, out: &mut Families<'_>) -> Result<(), Error> {
        let names = self.names();
        let all = || names.iter().map(|(name, totals)| (name.as_str(), *totals));
        let retries = all().map(|(chain, t)| ([("chain", chain)], t.retries));
        out.counters(
            "connect_retries",
            "Attempts after a connection's first one",
            retries,
        )?;
        let failures = all().flat_map(|(chain, t)| {
            let errors = ConnectError::ALL.into_iter().zip(t.connect_errors);
            errors.map(move |(error, n)| ([("chain", chain), ("reason", error.label())], n))
        });
        out.counters("connect_failures", "Attempts to connect that failed", failures)?;
        let took = all().map(|(chain, t)| (chain, &t.connect_buckets, t.connect_us));
        let help = "How long successful attempts to connect took";
        out.durations("connect_seconds", help, took)
    }

    /// HTTP.
    pub(super) fn requests(&self, out: &mut Families<'_>) -> Result<(), Error> {
        let names = self.names();
        let all = || names.iter().map(|(name, totals)| (name.as_str(), *totals));
        let requests = all().flat_map(|(chain, t)| {
            let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(t.requests);
            classes.map(move |(class, n)| ([("chain", chain), ("code", class)], n))
        });
        out.counters(
            "http_requests",
            "HTTP requests, by the class of their status",
            requests,
        )?;
        let took = all().map(|(chain, t)| (chain, &t.answer_buckets, t.answer_us));
        let help = "From a request to the beginning of its endpoint's response";
        out.durations("http_response_seconds", help, took)
    }

    /// What chains believe.
    pub(super) fn beliefs(&self, out: &mut Families<'_>) -> Result<(), Error> {
        let names: Vec<String> = self.chains.iter().map(|chain| chain.id.to_string()).collect();
        let all = || names.iter().map(String::as_str).zip(&self.chains);
        let told = || all().filter_map(|(name, chain)| Some((name, chain.report.as_ref()?)));
        let silent = all().map(|(name, c)| ([("chain", name)], f64::from(u8::from(c.report.is_none()))));
        out.gauges(
            "chain_hung",
            "1 while the chain's control task does not answer",
            silent,
        )?;
        let transitions = all().flat_map(|(name, chain)| {
            let kinds = chain.transitions.iter();
            kinds.map(move |&(kind, n)| ([("chain", name), ("kind", kind)], n))
        });
        out.counters(
            "transitions",
            "Changes of a chain, by kind; FailedOver is a failover",
            transitions,
        )?;
        let tiers = told().map(|(name, report)| ([("chain", name)], f64::from(report.active.tier)));
        out.gauges("active_tier", "The tier that serves, 0 being the primary", tiers)?;
        let epochs = told().map(|(name, report)| ([("chain", name)], report.active.epoch as f64));
        out.gauges("epoch", "Counts the changes of the active tier", epochs)?;
        let mut endpoints: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
        for (name, report) in told() {
            for endpoint in &report.endpoints {
                for state in ["Serving", "Stale", "Ejected", "Draining"] {
                    let key = (name, endpoint.backend.as_str(), state);
                    *endpoints.entry(key).or_default() += u64::from(endpoint.state == state);
                }
            }
        }
        let endpoints = endpoints.iter().map(|(&(chain, backend, state), &n)| {
            let labels = [("chain", chain), ("backend", backend), ("state", state)];
            (labels, n as f64)
        });
        out.gauges("endpoints", "Endpoints by state", endpoints)
    }

    fn names(&self) -> Vec<(String, &ChainTotals)> {
        let chains = self.totals.chains.iter();
        chains.map(|(id, totals)| (id.to_string(), totals)).collect()
    }
}
