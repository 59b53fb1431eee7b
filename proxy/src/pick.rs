//! Who gets the next connection. In: a view, the worker's own [`Rotation`], the client, and whom it has been tried on. Out:
//! a candidate, or why there is none.
//!
//! Of proxies that relay, each client gets its own, whatever the chain's balance is: what it has there it finds again.
//!
//! The lowest rank that still has an untried candidate with a free place is used; within it, the chain's balance decides.
//! Nothing here waits, and nothing is allocated unless the view changed.

pub mod hash;
mod rotation;

pub use rotation::Rotation;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use switchyard_snapshot::Balance;

use crate::chain::view::{Candidate, View};
use crate::endpoint::EndpointId;

/// A weight of 1, in the units that slow start needs.
const WHOLE: u64 = 1_000;

/// The share of its weight that a warming endpoint starts with.
const COLD: u64 = WHOLE / 10;

/// Why nobody was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nobody {
    /// The view has no candidates: its `empty` says why.
    Empty,
    /// Whoever is left to try has `maxConnections` connections: a place may come free.
    Full,
    /// Everyone has been tried.
    AllTried,
}

/// Picks a candidate of `view` that is not in `tried`.
///
/// `client` matters to [`Balance::SourceHash`] only, which takes turns where the client's address is unknown; `random`
/// gives 64 random bits and is called for [`Balance::Random`] only. The caller still has to reserve a place: another
/// worker may take the last one, then pick again with that endpoint in `tried`.
pub fn pick<'v>(
    view: &'v View,
    rotation: &mut Rotation,
    client: Option<IpAddr>,
    tried: &[EndpointId],
    now: Instant,
    random: &mut impl FnMut() -> u64,
) -> Result<&'v Candidate, Nobody> {
    let all = view.candidates.as_slice();
    let slow_start = view.chain.slow_start;
    let eligible = |c: &Candidate| !tried.contains(&c.endpoint.id) && has_place(c);
    let weight = |c: &Candidate| effective_weight(c, slow_start, now);
    let balance = match (&view.detour, view.chain.balance) {
        (Some(_), _) => Balance::SourceHash,
        (None, balance) => balance,
    };
    let balance = match (balance, client) {
        (Balance::SourceHash, None) => Balance::RoundRobin,
        (balance, _) => balance,
    };
    if let [only] = all {
        return if eligible(only) {
            Ok(only)
        } else {
            Err(why_nobody(all, tried))
        };
    }
    rotation.align(view);
    let mut start = 0;
    for rank in all.chunk_by(|a, b| a.rank == b.rank) {
        let able = || rank.iter().enumerate().filter(|(_, c)| eligible(c));
        let at = match (balance, client) {
            (Balance::RoundRobin, _) => able().min_by_key(|(n, _)| rotation.turn(start + n)),
            (Balance::LeastConnections, _) => able().min_by(|(a, one), (b, other)| {
                load(one, weight(other))
                    .cmp(&load(other, weight(one)))
                    .then_with(|| rotation.used(start + a).cmp(&rotation.used(start + b)))
            }),
            (Balance::Random, _) => at_random(able().map(|(n, c)| ((n, c), weight(c))), random),
            (Balance::SourceHash, Some(client)) => {
                let client = hash::client(client);
                able().max_by(|(_, a), (_, b)| {
                    let score = |c: &Candidate| hash::score(client, c.endpoint.address, weight(c));
                    score(a).total_cmp(&score(b))
                })
            }
            (Balance::SourceHash, None) => None,
        };
        if let Some((n, chosen)) = at {
            match balance {
                Balance::RoundRobin => rotation.take_turn(start + n, weight(chosen)),
                Balance::LeastConnections => rotation.use_now(start + n),
                Balance::Random | Balance::SourceHash => {}
            }
            return Ok(chosen);
        }
        start += rank.len();
    }
    Err(why_nobody(all, tried))
}

pub(crate) fn has_place(candidate: &Candidate) -> bool {
    candidate
        .max_connections
        .is_none_or(|limit| candidate.endpoint.connections() < limit)
}

pub(crate) fn why_nobody(all: &[Candidate], tried: &[EndpointId]) -> Nobody {
    if all.is_empty() {
        Nobody::Empty
    } else if all.iter().all(|c| tried.contains(&c.endpoint.id)) {
        Nobody::AllTried
    } else {
        Nobody::Full
    }
}

/// A candidate's weight in thousandths: while it warms up, it grows evenly from a tenth to the whole.
pub(crate) fn effective_weight(candidate: &Candidate, slow_start: Duration, now: Instant) -> u64 {
    let whole = u64::from(candidate.weight.max(1)) * WHOLE;
    let Some(since) = candidate.warming_since else {
        return whole;
    };
    let age = now.saturating_duration_since(since);
    if age >= slow_start {
        return whole;
    }
    let grown = (u128::from(WHOLE - COLD) * age.as_micros() / slow_start.as_micros().max(1)) as u64;
    u64::from(candidate.weight.max(1)) * (COLD + grown)
}

/// Load as a fraction, cross-multiplied with the other side's weight: what one more connection would make it.
fn load(candidate: &Candidate, weight_of_other: u64) -> u128 {
    (u128::from(candidate.endpoint.connections()) + 1) * u128::from(weight_of_other)
}

/// One of `able`, each with a chance in proportion to its weight.
fn at_random<T>(able: impl Iterator<Item = (T, u64)> + Clone, random: &mut impl FnMut() -> u64) -> Option<T> {
    let total: u64 = able.clone().map(|(_, weight)| weight).sum();
    // The high bits of a product spread evenly over 0..total (Lemire, "Fast random integer generation in an interval").
    let mut left = ((u128::from(random()) * u128::from(total)) >> 64) as u64;
    let mut last = None;
    for (one, weight) in able {
        if left < weight {
            return Some(one);
        }
        left -= weight;
        last = Some(one);
    }
    last
}

#[cfg(test)]
mod tests;
