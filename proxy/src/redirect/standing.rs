//! How a chain stands here. In: what serves, what pool-mates say, what is reached at all. Out: one word, and why, in words.
//!
//! | suspended | drains | the active tier | pool-mates | reaches anything | standing |
//! | --- | --- | --- | --- | --- | --- |
//! | yes | | | | | Suspended |
//! | | yes | | | | Draining |
//! | | | serves, it is the first, `minHealthy` of it, not all stale | | | Live |
//! | | | serves | | | Degraded |
//! | | | waits for its first answer | | | Unsure |
//! | | | nobody serves | one proves, lately, that it serves | | Blind |
//! | | | nobody serves | | no | Isolated |
//! | | | nobody serves | all that live say the same, lately; or there are none | yes | Dead |
//! | | | nobody serves | not all have said so yet | yes | Unsure |
//!
//! Own clients are sent elsewhere in each of them where nobody serves. Only who is Dead speaks for the whole pool.

use switchyard_snapshot::{Standing, StandingReport};

use crate::failover::council::Council;
use crate::failover::machine::TierHealth;

/// What a standing is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Administratively down.
    pub suspended: bool,
    /// This proxy drains.
    pub draining: bool,
    /// The active tier.
    pub tier: u32,
    /// Every tier.
    pub tiers: &'a [TierHealth],
    /// `failover.minHealthy`.
    pub min_healthy: u32,
    /// Whoever serves has stale addresses: why, in words.
    pub stale: Option<&'a str>,
    /// Pool-mates.
    pub council: &'a Council<'a>,
    /// Anything is reached: an endpoint of any tier, the resolver, another proxy.
    pub reaches: bool,
    /// Why nobody of the active tier serves, in words; empty: somebody does.
    pub empty: &'a str,
}

/// How the chain stands.
pub fn stand(facts: &Facts<'_>) -> StandingReport {
    let (standing, reason) = judge(facts);
    StandingReport { standing, reason }
}

fn judge(facts: &Facts<'_>) -> (Standing, String) {
    if facts.suspended {
        return (Standing::Suspended, "the user wants it so".to_owned());
    }
    if facts.draining {
        return (Standing::Draining, "this proxy takes nobody new".to_owned());
    }
    let active = facts.tiers.iter().find(|tier| tier.tier == facts.tier);
    match active {
        Some(active) if active.serving > 0 => serving(facts, *active),
        Some(active) if active.pending => (Standing::Unsure, facts.empty.to_owned()),
        _ => nobody_serves(facts),
    }
}

fn serving(facts: &Facts<'_>, active: TierHealth) -> (Standing, String) {
    let TierHealth { tier, serving, .. } = active;
    let first = facts.tiers.iter().map(|tier| tier.tier).min();
    let min = facts.min_healthy;
    if let Some(first) = first.filter(|first| *first < tier) {
        return (
            Standing::Degraded,
            format!("tier {tier} serves in the place of tier {first}"),
        );
    }
    if serving < min {
        return (
            Standing::Degraded,
            format!("{serving} of at least {min} endpoints of tier {tier} serve"),
        );
    }
    if let Some(why) = facts.stale {
        return (
            Standing::Degraded,
            format!("tier {tier} serves, by stale addresses: {why}"),
        );
    }
    let endpoints = if serving == 1 { "endpoint" } else { "endpoints" };
    (
        Standing::Live,
        format!("{serving} {endpoints} of tier {tier} serve"),
    )
}

fn nobody_serves(facts: &Facts<'_>) -> (Standing, String) {
    let empty = facts.empty;
    if let Some(mate) = facts.council.who_serves() {
        return (
            Standing::Blind,
            format!("{mate} serves, and nobody does here: {empty}"),
        );
    }
    if !facts.reaches {
        return (
            Standing::Isolated,
            format!("no endpoint, no resolver and no other proxy is reached: {empty}"),
        );
    }
    if let Some(why) = facts.council.somebody_may_serve() {
        return (Standing::Unsure, format!("nobody serves here: {empty}. {why}"));
    }
    let alone = facts.council.mates().is_empty();
    let others = if alone { "" } else { "; so say all of the pool" };
    (Standing::Dead, format!("{empty}{others}"))
}

#[cfg(test)]
mod tests;
