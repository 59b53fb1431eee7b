//! What a chain knows of one endpoint. In: listings, probe results, live failures. Out: its verdict, and what a view says
//! of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_snapshot::{Backend, Chain, Families, Monitor, Target};

use crate::chain::view::{Away, Candidate, UNPROVEN, Via};
use crate::clock::Now;
use crate::ejection::{Ejection, Live};
use crate::endpoint::Endpoint;
use crate::monitor::track::{self, Standing, Track};
use crate::presence::{Freshness, Listed, Listing, Presence};
use crate::verdict::{self, Evidence, Ground, Verdict, Wanted};

/// One endpoint of a chain.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    /// Index into the chain's backends; none: it is not configured any more.
    pub(super) backend: Option<usize>,
    pub(super) presence: Presence,
    pub(super) tracks: Vec<Track>,
    pub(super) ejection: Ejection,
    /// A confirming probe is out since, or was last heard of at, this moment.
    pub(super) confirming: Option<Instant>,
    /// What is thought of it, whether or not the chain is suspended.
    pub(super) health: (Verdict, Ground),
    /// What is done with it.
    pub(super) verdict: (Verdict, Ground),
    /// Since when.
    pub(super) since: Now,
    pub(super) unconfigured_since: Option<Instant>,
    /// When a probe of any kind last passed.
    reached: Option<Instant>,
    /// When the first of the failures in a row was seen that are the newest there is of it; none: it passed since.
    pub(super) failing_since: Option<Instant>,
    /// When the last of the probes began that failed.
    failed: Option<Instant>,
    warming_since: Option<Instant>,
    target: Target,
    source: Arc<str>,
    srv_weight: u32,
    priority: u16,
}

impl Member {
    /// An address that appeared in the listing of the chain's backend number `at`.
    pub(super) fn new(
        name: &Arc<str>,
        chain: &Chain,
        at: usize,
        found: (&std::net::SocketAddr, &Listed),
        now: Now,
    ) -> Self {
        let (address, listed) = found;
        Self {
            endpoint: Endpoint::new(Arc::clone(name), *address),
            backend: Some(at),
            presence: Presence::Listed(listed.freshness.clone()),
            tracks: vec![Track::new(); chain.health.monitors.len()],
            ejection: Ejection::default(),
            confirming: None,
            health: (Verdict::Serve, Ground::Unproven),
            verdict: (Verdict::Serve, Ground::Unproven),
            since: now,
            unconfigured_since: None,
            reached: None,
            failing_since: None,
            failed: None,
            warming_since: warm_up(chain, now),
            target: chain.backends[at].target.clone(),
            source: Arc::clone(&listed.source),
            srv_weight: listed.weight,
            priority: listed.priority,
        }
    }

    /// Takes in what a newer listing of backend number `at` says, whether or not it lists this address.
    pub(super) fn relist(&mut self, backend: &Backend, at: usize, listing: &Listing, now: Instant) {
        let address = self.endpoint.address;
        if let Some(listed) = listing.addresses.get(&address) {
            self.target.clone_from(&backend.target);
            self.source = Arc::clone(&listed.source);
            (self.srv_weight, self.priority) = (listed.weight, listed.priority);
        } else if !self.target.same_source(&backend.target) {
            self.unconfigure(now);
            return;
        }
        self.backend = Some(at);
        self.unconfigured_since = None;
        self.presence = self.presence.next(listing, address, &self.source, now);
    }

    /// A probe ended.
    pub(super) fn saw(&mut self, passed: bool, begun: Instant, now: Instant) {
        if passed {
            (self.reached, self.failing_since) = (Some(now), None);
        } else {
            self.failed = self.failed.max(Some(begun));
            self.fell(now);
        }
    }

    /// A live attempt, or a probe, failed.
    pub(super) fn fell(&mut self, now: Instant) {
        self.failing_since.get_or_insert(now);
    }

    /// Whether its newest probe passed, and no live attempt failed since; none: there was none yet.
    pub(super) fn answers(&self) -> Option<bool> {
        let passed = self.reached.map(|_| true);
        if self.failing_since.is_some() {
            Some(false)
        } else {
            passed
        }
    }

    /// Whether a probe failed that began at that moment or later.
    pub(super) fn failed_since(&self, since: Instant) -> bool {
        self.failed.is_some_and(|begun| begun >= since)
    }

    /// Whether it was reached at that moment or later.
    pub(super) fn reached_since(&self, since: Instant) -> bool {
        self.reached.is_some_and(|at| at >= since)
    }

    /// Its backend is gone, or leads elsewhere.
    pub(super) fn unconfigure(&mut self, now: Instant) {
        self.backend = None;
        self.unconfigured_since.get_or_insert(now);
    }

    /// The chain's monitors changed: what those that stayed have found is kept.
    pub(super) fn remonitor(&mut self, before: &[Monitor], after: &[Monitor]) {
        let old = std::mem::take(&mut self.tracks);
        self.tracks = after
            .iter()
            .map(|monitor| {
                let at = before.iter().position(|other| other == monitor);
                at.and_then(|at| old.get(at)).cloned().unwrap_or_default()
            })
            .collect();
    }

    /// Everything known of it, for a verdict.
    pub(super) fn evidence<'a>(&'a self, chain: &'a Chain, suspended: bool) -> Evidence<'a> {
        Evidence {
            address: self.endpoint.address,
            wanted: match self.backend {
                None => Wanted::Unconfigured,
                Some(_) if suspended => Wanted::Suspended,
                Some(_) => Wanted::Yes,
            },
            presence: &self.presence,
            tracks: &self.tracks,
            live: self.ejection.says(),
            listed_in: match self.target {
                Target::Endpoints { .. } => "its Service",
                Target::Host { .. } | Target::Srv { .. } => "DNS",
            },
            chain,
        }
    }

    /// Comes to a verdict; hands back what was thought of it before.
    pub(super) fn judge(&mut self, chain: &Chain, now: Now) -> Verdict {
        let health = verdict::judge(&self.evidence(chain, false), now.mono);
        let verdict = if chain.suspend {
            verdict::judge(&self.evidence(chain, true), now.mono)
        } else {
            health
        };
        if verdict.0 != self.verdict.0 {
            self.since = now;
        }
        // Who was dead comes back cold; who was only out of DNS, or suspended with its chain, stayed warm.
        if self.health.0 == Verdict::Eject && health.0.serves() {
            self.warming_since = warm_up(chain, now);
        }
        self.verdict = verdict;
        std::mem::replace(&mut self.health, health).0
    }

    /// All monitors have passed.
    pub(super) fn proven(&self) -> bool {
        track::together(&self.tracks) == Standing::Passing
    }

    /// Whether any probe has ended yet.
    pub(super) fn probed(&self) -> bool {
        self.tracks.iter().any(Track::probed)
    }

    /// Its tier; none: it is not configured.
    pub(super) fn tier(&self, chain: &Chain) -> Option<u32> {
        self.configured(chain).map(|backend| backend.tier)
    }

    /// Its backend; none: it is not configured.
    pub(super) fn configured<'a>(&self, chain: &'a Chain) -> Option<&'a Backend> {
        self.backend.and_then(|at| chain.backends.get(at))
    }

    /// DNS answers about it are stale.
    pub(super) fn stale(&self) -> Option<&str> {
        match &self.presence {
            Presence::Listed(Freshness::Stale { why, .. }) => Some(why),
            _ => None,
        }
    }

    /// Since when DNS does not have it any more, or has been silent for longer than it is believed.
    pub(super) fn vanished_since(&self, chain: &Chain) -> Option<Instant> {
        match self.health.1 {
            Ground::Vanished(since) => Some(since + chain.resolution.missing_for),
            Ground::StaleTooLong(since) => Some(since + chain.resolution.stale_for),
            _ => match &self.presence {
                // Ejected, and gone besides.
                Presence::Missing { since } => Some(*since + chain.resolution.missing_for),
                Presence::Listed(_) => None,
            },
        }
    }

    /// A confirming probe must be out.
    pub(super) fn wants_confirming(&self, chain: &Chain, now: Instant) -> bool {
        self.ejection.wants_confirming() && self.presence_counts(chain, now)
    }

    /// It is configured, and DNS still has it: worth confirming probes.
    fn presence_counts(&self, chain: &Chain, now: Instant) -> bool {
        self.backend.is_some() && self.vanished_since(chain).is_none_or(|since| now < since)
    }

    /// As a candidate of a view.
    pub(super) fn candidate(&self, chain: &Chain) -> Option<Candidate> {
        let backend = self.configured(chain)?;
        let unproven = if self.proven() { 0 } else { UNPROVEN };
        Some(Candidate {
            endpoint: Arc::clone(&self.endpoint),
            weight: self.weight(backend),
            rank: self.rank(chain) | unproven,
            warming_since: self.warming_since.filter(|_| !chain.slow_start.is_zero()),
            max_connections: backend.max_connections,
            via: Via::of(backend),
            relay: None,
        })
    }

    /// As one who is away from a view.
    pub(super) fn away(&self, chain: &Chain) -> Option<Away> {
        let backend = self.configured(chain)?;
        Some(Away {
            endpoint: Arc::clone(&self.endpoint),
            weight: self.weight(backend),
            rank: self.rank(chain),
        })
    }

    fn weight(&self, backend: &Backend) -> u32 {
        backend.weight.saturating_mul(self.srv_weight).max(1)
    }

    fn rank(&self, chain: &Chain) -> u32 {
        let behind = match chain.resolution.families {
            Families::PreferV4 => self.endpoint.address.is_ipv6(),
            Families::PreferV6 => self.endpoint.address.is_ipv4(),
            Families::Any | Families::V4 | Families::V6 => false,
        };
        (u32::from(self.priority) << 1) | u32::from(behind)
    }

    /// When time alone may change what is thought of it.
    pub(super) fn changes_at(&self, chain: &Chain, now: Instant) -> Option<Instant> {
        let ejected = match self.ejection.says() {
            Live::Ejected { until, .. } => Some(until),
            _ => None,
        };
        let verdict = verdict::changes_at(&self.evidence(chain, false), now);
        let drained = self
            .vanished_since(chain)
            .and_then(|since| Some(since + chain.drain_vanished?));
        let unheard = self.confirming.map(|since| since + patience(chain));
        [ejected, verdict, drained, unheard]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }
}

/// A confirming probe that has not been heard of for so long is lost.
pub(super) fn patience(chain: &Chain) -> Duration {
    3 * (chain.health.interval + chain.health.timeout)
}

fn warm_up(chain: &Chain, now: Now) -> Option<Instant> {
    (!chain.slow_start.is_zero()).then_some(now.mono)
}
