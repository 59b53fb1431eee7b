//! What data workers are told. In: the roster and the active tier. Out: a [`View`] (all but its version), and why it is
//! empty, if it is.

use std::sync::Arc;
use std::time::Instant;

use switchyard_snapshot::{Backend, Chain, Target};

use super::roster::Roster;
use crate::chain::view::{Empty, View};
use crate::presence::Listing;
use crate::verdict;

/// So many endpoints are named where all of them are out.
const NAMED: usize = 3;

/// The view of `tier`; `empty_since` is when the chain lost its last candidate, if it had none before.
pub(super) fn view(
    chain: &Arc<Chain>,
    roster: &Roster,
    tier: u32,
    empty_since: Option<Instant>,
    now: Instant,
) -> View {
    let of_tier = || roster.iter().filter(|member| member.tier(chain) == Some(tier));
    let mut candidates: Vec<_> = of_tier()
        .filter(|member| member.verdict.0.serves())
        .filter_map(|member| member.candidate(chain))
        .collect();
    candidates.sort_by_key(|candidate| (candidate.rank, candidate.endpoint.id));
    let away = of_tier()
        .filter(|member| !member.verdict.0.serves() && !chain.suspend)
        .filter_map(|member| member.away(chain))
        .collect();
    let empty = candidates.is_empty().then(|| Empty {
        since: empty_since.unwrap_or(now),
        why: why_empty(chain, roster, tier),
        suspended: chain.suspend,
    });
    View {
        chain: Arc::clone(chain),
        version: 0,
        tier,
        candidates,
        away,
        empty,
        detour: None,
        returning: None,
    }
}

/// Whether two views tell the same, whatever their versions.
pub(super) fn same(one: &View, other: &View) -> bool {
    let equal_chains = Arc::ptr_eq(&one.chain, &other.chain) || one.chain == other.chain;
    equal_chains
        && one.tier == other.tier
        && one.empty == other.empty
        && one.detour == other.detour
        && one.returning == other.returning
        && one.candidates.len() == other.candidates.len()
        && one.away.len() == other.away.len()
        && one.candidates.iter().zip(&other.candidates).all(|(a, b)| {
            a.endpoint.id == b.endpoint.id
                && (a.weight, a.rank, a.warming_since) == (b.weight, b.rank, b.warming_since)
                && (a.max_connections, a.via, &a.relay) == (b.max_connections, b.via, &b.relay)
        })
        && one
            .away
            .iter()
            .zip(&other.away)
            .all(|(a, b)| a.endpoint.id == b.endpoint.id && (a.weight, a.rank) == (b.weight, b.rank))
}

fn why_empty(chain: &Chain, roster: &Roster, tier: u32) -> String {
    if chain.suspend {
        return "suspended".to_owned();
    }
    let members: Vec<_> = roster
        .iter()
        .filter(|member| member.tier(chain) == Some(tier))
        .collect();
    if members.is_empty() {
        let backends = chain.backends.iter().zip(&roster.listings);
        let reasons: Vec<String> = backends
            .filter(|(backend, _)| backend.tier == tier)
            .map(|(backend, listing)| why_unlisted(backend, listing))
            .collect();
        return reasons.join("; ");
    }
    let mut causes: Vec<String> = members
        .iter()
        .take(NAMED)
        .map(|member| {
            let cause = verdict::cause(&member.evidence(chain, false), member.health.1);
            format!("{}: {cause}", member.endpoint.address)
        })
        .collect();
    if members.len() > NAMED {
        causes.push("…".to_owned());
    }
    let all = match members.len() {
        1 => format!("the only endpoint of tier {tier} is out"),
        n => format!("all {n} endpoints of tier {tier} are out"),
    };
    format!("{all}: {}", causes.join("; "))
}

fn why_unlisted(backend: &Backend, listing: &Listing) -> String {
    let name = match &backend.target {
        Target::Host { host, .. } => host,
        Target::Srv { name } => name,
        Target::Endpoints { service, .. } => {
            return format!("Service {service} has no endpoints that are ready");
        }
    };
    let mut failures: Vec<&str> = listing.failures.iter().map(String::as_str).collect();
    failures.dedup();
    match failures.as_slice() {
        [] if listing.waiting.is_empty() => format!("DNS: {name} has no addresses"),
        [] => format!("waiting for the first answer of {name}"),
        failures => format!("DNS: {} for {name}", failures.join(", ")),
    }
}
