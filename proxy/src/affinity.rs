//! Clients of one source network stay with one endpoint. In: a view, a client's address, whom it has been tried on. Out: the
//! client's endpoint, and, where that is not the one its hash says, an exception that is remembered.
//!
//! A client's *home* is its highest rendezvous score among all endpoints of the best rank of the active tier, those that
//! are away included: nothing has to be remembered of a client that is at home, and all proxies agree on it. A client that
//! could not be sent home (because home was away, full, or did not answer) goes to the next in its order and stays there,
//! also when home returns, until `ttl` after its last connection: that is what the table of exceptions is for. It is
//! bounded; a client that finds it full is sent by its scores alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use papaya::HashMap;
use switchyard_snapshot::Affinity as Rules;

use crate::chain::view::{Candidate, UNPROVEN, View};
use crate::endpoint::EndpointId;
use crate::pick::{Nobody, has_place, hash, why_nobody};

/// How many exceptions a chain remembers.
pub const BOUND: usize = 65_536;

/// A full table is searched for expired exceptions this often at most, in milliseconds.
const SWEEP_EVERY: u64 = 1_000;

/// Why a client is not at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its home did not serve, or a connection to it failed.
    Failover,
    /// Its home had `maxConnections` connections.
    Full,
}

/// Where a client goes.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'v> {
    /// The endpoint.
    pub candidate: &'v Candidate,
    /// Why it is not the client's home; none: it is.
    pub why: Option<Why>,
}

/// A client that is not at home.
#[derive(Debug)]
struct Exception {
    endpoint: EndpointId,
    why: Why,
    /// In the table's own milliseconds.
    until: AtomicU64,
}

/// The exceptions of one chain, shared by the workers. Nobody waits for anybody.
#[derive(Debug)]
pub struct Table {
    exceptions: HashMap<IpAddr, Exception>,
    bound: usize,
    epoch: Instant,
    next_sweep: AtomicU64,
}

impl Table {
    /// An empty table; `bound` may be passed by as many exceptions as there are workers.
    pub fn new(bound: usize, now: Instant) -> Self {
        Self {
            exceptions: HashMap::new(),
            bound,
            epoch: now,
            next_sweep: AtomicU64::new(0),
        }
    }

    /// Where a client goes that has been tried on `tried` in vain. Once it is connected there, tell
    /// [`Table::connected`].
    pub fn choose<'v>(
        &self,
        rules: &Rules,
        view: &'v View,
        client: IpAddr,
        tried: &[EndpointId],
        now: Instant,
    ) -> Result<Choice<'v>, Nobody> {
        let network = network(client, rules);
        let eligible = |c: &Candidate| !tried.contains(&c.endpoint.id) && has_place(c);
        if let Some((endpoint, why)) = self.exception(network, now) {
            let there = view.candidates.iter().find(|c| c.endpoint.id == endpoint);
            if let Some(candidate) = there.filter(|c| eligible(c)) {
                let why = Some(why);
                return Ok(Choice { candidate, why });
            }
        }
        let client = hash::client(network);
        let home = home(view, client);
        let score = |c: &Candidate| hash::score(client, c.endpoint.address, u64::from(c.weight));
        let mut ranks = view.candidates.chunk_by(|a, b| a.rank == b.rank);
        let best = ranks.find_map(|rank| {
            let able = rank.iter().filter(|c| eligible(c));
            able.max_by(|a, b| score(a).total_cmp(&score(b)))
        });
        let candidate = best.ok_or_else(|| why_nobody(&view.candidates, tried))?;
        let at_home = home == Some(candidate.endpoint.id);
        let full = |id| {
            let mut candidates = view.candidates.iter();
            !tried.contains(&id) && candidates.any(|c| c.endpoint.id == id && !has_place(c))
        };
        let why = if home.is_some_and(full) {
            Why::Full
        } else {
            Why::Failover
        };
        Ok(Choice {
            candidate,
            why: (!at_home).then_some(why),
        })
    }

    /// The client is connected where [`Table::choose`] sent it.
    pub fn connected(
        &self,
        rules: &Rules,
        client: IpAddr,
        endpoint: EndpointId,
        why: Option<Why>,
        now: Instant,
    ) {
        let network = network(client, rules);
        let Some(why) = why else {
            if !self.exceptions.is_empty() {
                self.exceptions.pin().remove(&network);
            }
            return;
        };
        let until = self.millis(now) + millis(rules.ttl);
        let exceptions = self.exceptions.pin();
        if let Some(known) = exceptions.get(&network) {
            if known.endpoint == endpoint {
                known.until.fetch_max(until, Ordering::Relaxed);
                return;
            }
        } else if !self.has_room(now) {
            return;
        }
        let until = AtomicU64::new(until);
        exceptions.insert(network, Exception { endpoint, why, until });
    }

    /// A connection of the client to this endpoint ended: the time of its exception begins anew.
    pub fn released(&self, rules: &Rules, client: IpAddr, endpoint: EndpointId, now: Instant) {
        if self.exceptions.is_empty() {
            return;
        }
        let until = self.millis(now) + millis(rules.ttl);
        let exceptions = self.exceptions.pin();
        if let Some(known) = exceptions.get(&network(client, rules))
            && known.endpoint == endpoint
        {
            known.until.fetch_max(until, Ordering::Relaxed);
        }
    }

    /// Forgets every exception that a failover made: those clients go home with their next connection.
    pub fn return_exceptions(&self) {
        self.exceptions
            .pin()
            .retain(|_, exception| exception.why != Why::Failover);
    }

    /// How many exceptions are remembered, expired ones included.
    pub fn len(&self) -> usize {
        self.exceptions.len()
    }

    /// Whether every client is at home.
    pub fn is_empty(&self) -> bool {
        self.exceptions.is_empty()
    }

    fn exception(&self, network: IpAddr, now: Instant) -> Option<(EndpointId, Why)> {
        if self.exceptions.is_empty() {
            return None;
        }
        let exceptions = self.exceptions.pin();
        let known = exceptions.get(&network)?;
        let expired = known.until.load(Ordering::Relaxed) < self.millis(now);
        (!expired).then_some((known.endpoint, known.why))
    }

    fn has_room(&self, now: Instant) -> bool {
        if self.exceptions.len() < self.bound {
            return true;
        }
        let now = self.millis(now);
        let due = self.next_sweep.load(Ordering::Relaxed);
        let mine = now >= due
            && self
                .next_sweep
                .compare_exchange(due, now + SWEEP_EVERY, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            self.exceptions
                .pin()
                .retain(|_, exception| exception.until.load(Ordering::Relaxed) >= now);
        }
        self.exceptions.len() < self.bound
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new(BOUND, Instant::now())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

/// The client's first choice: of all that are, or may again be, of the best rank, whether or not a probe has passed yet.
fn home(view: &View, client: u64) -> Option<EndpointId> {
    let candidates = view
        .candidates
        .iter()
        .map(|c| (c.rank & !UNPROVEN, c.weight, &c.endpoint));
    let all = candidates.chain(
        view.away
            .iter()
            .map(|away| (away.rank, away.weight, &away.endpoint)),
    );
    let best = all.clone().map(|(rank, ..)| rank).min()?;
    all.filter(|(rank, ..)| *rank == best)
        .map(|(_, weight, endpoint)| {
            (
                hash::score(client, endpoint.address, u64::from(weight)),
                endpoint.id,
            )
        })
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, id)| id)
}

/// The bits of the client's address that count.
fn network(client: IpAddr, rules: &Rules) -> IpAddr {
    match client {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(rules.prefix_v4.min(32)))
                .unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(rules.prefix_v6.min(128)))
                .unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests;
