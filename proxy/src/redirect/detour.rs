//! Where clients are sent that nobody here serves. In: the table of the chain's group. Out: a [`Detour`], and the direct
//! ports through which proxies relay.
//!
//! Targets serve the chain by their own word, are not leaving, and have room. Those that live by fresh evidence go alone;
//! a suspect, or one that has not confirmed its word lately, is used only where there is no such one. Pool-mates of the own chain go first, then the
//! group by priority; within a rank, headroom is the weight.

use std::net::SocketAddr;

use jiff::Timestamp;
use switchyard_snapshot::{ChainId, Redirect};

use super::table::{Proxy, Row, Table};
use crate::chain::view::{Detour, RelayTo, Target};

/// Bits of a weight that are kept. Views would change with each connection of each proxy if all were.
const WEIGHT_BITS: u32 = 3;

/// Weights are no higher.
const HEAVIEST: u32 = 65_535;

/// The rank of the own chain's proxies.
const OWN: u32 = 0;

/// A proxy's direct port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Whom the header names.
    pub to: RelayTo,
    /// Where it listens.
    pub address: SocketAddr,
    /// Lower goes first.
    pub rank: u32,
    /// Share among its rank.
    pub weight: u32,
}

/// Where to, by native redirect and by relay; none: there is nobody. `why` is why nobody serves here, and `until` the next
/// start of prime time.
pub fn plan(
    table: &Table,
    redirect: &Redirect,
    why: &str,
    until: Option<Timestamp>,
) -> Option<(Detour, Vec<Relay>)> {
    let chosen = choose(table);
    let relays = chosen.iter().filter_map(|chosen| {
        Some(Relay {
            to: RelayTo {
                peer: chosen.proxy.peer.clone()?,
                chain: chosen.chain.clone(),
            },
            address: chosen.proxy.relay?,
            rank: chosen.rank,
            weight: chosen.weight,
        })
    });
    let targets: Vec<Target> = chosen
        .iter()
        .map(|chosen| Target {
            peer: chosen.proxy.peer.clone(),
            chain: chosen.chain.clone(),
            rank: chosen.rank,
            weight: chosen.weight,
            direct: chosen.proxy.direct.clone(),
        })
        .collect();
    // A mate has the same servers and stands behind the same access point: should they fail there too, a relay tries the next
    // proxy, where a client that was sent there would have to be sent on.
    let mates = targets.iter().any(|target| target.rank == OWN);
    let dialects = if mates {
        Vec::new()
    } else {
        redirect.dialects.clone()
    };
    let detour = Detour {
        why: why.to_owned(),
        dialects,
        fallback: redirect.fallback,
        targets,
        until,
    };
    (!detour.targets.is_empty()).then(|| (detour, relays.collect()))
}

/// The chain to which most clients of a detour go.
pub fn mostly_to(detour: &Detour) -> Option<&ChainId> {
    let best = detour.targets.iter().map(|target| target.rank).min()?;
    let first = || detour.targets.iter().filter(|target| target.rank == best);
    let share = |chain: &ChainId| -> u64 {
        let of_chain = first().filter(|target| target.chain == *chain);
        of_chain.map(|target| u64::from(target.weight)).sum()
    };
    // Of equals the first in the group's order: `max_by_key` would take the last.
    let chains = first().map(|target| &target.chain);
    chains.rev().max_by_key(|chain| share(chain))
}

struct Chosen<'a> {
    proxy: &'a Proxy,
    chain: &'a ChainId,
    rank: u32,
    weight: u32,
}

/// Best rank first.
fn choose(table: &Table) -> Vec<Chosen<'_>> {
    let mut all = Vec::new();
    for (rank, row) in ranked(table) {
        all.extend(row.proxies.iter().filter_map(|proxy| {
            Some(Chosen {
                proxy,
                chain: &row.chain,
                rank,
                weight: weight(proxy.takes?),
            })
        }));
    }
    all.sort_by_key(|chosen| chosen.rank);
    let sure = |chosen: &Chosen<'_>| chosen.proxy.is_sure();
    if all
        .iter()
        .any(|chosen| sure(chosen) && chosen.proxy.peer.is_some())
    {
        all.retain(sure);
    }
    all
}

/// The own chain before all others; of these each priority is a rank.
fn ranked(table: &Table) -> Vec<(u32, &Row)> {
    let mut priorities: Vec<i32> = table
        .chains
        .iter()
        .filter(|row| !row.own)
        .map(|row| row.priority)
        .collect();
    priorities.sort_unstable();
    priorities.dedup();
    let rank = |row: &Row| match priorities.binary_search(&row.priority) {
        _ if row.own => OWN,
        Ok(at) | Err(at) => u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1),
    };
    table.chains.iter().map(|row| (rank(row), row)).collect()
}

/// A headroom as a weight, rounded down to its first bits.
fn weight(room: u32) -> u32 {
    let room = room.clamp(1, HEAVIEST);
    let dropped = (u32::BITS - room.leading_zeros()).saturating_sub(WEIGHT_BITS);
    room >> dropped << dropped
}

#[cfg(test)]
mod tests;
