//! Who gets a client that is redirected natively. In: a detour's targets, or guests' homes; the client. Out: a place.

use std::net::IpAddr;

use switchyard_snapshot::ChainId;

use super::Place;
use crate::chain::view::{Detour, Direct, Returning, Target};
use crate::pick::hash;

/// The target for `client`: of the lowest rank that has one whose address it can reach and whose host `covers` says is in the
/// certificate. Among these a client stays with its own, in proportion to their weights, for as long as that one is there.
/// None: the client has to be relayed.
pub fn target(detour: &Detour, client: IpAddr, covers: impl Fn(&str) -> bool) -> Option<(&Target, Place)> {
    let number = hash::client(client);
    let mut best: Option<(f64, &Target, &Direct)> = None;
    for target in &detour.targets {
        if best.is_some_and(|(_, best, _)| best.rank != target.rank) {
            break;
        }
        let reaches = |direct: &&Direct| {
            let networks = &direct.networks;
            networks.is_empty() || networks.iter().any(|net| net.contains(&client))
        };
        // The first that reaches it, and no other: further ones are for other clients.
        let Some(direct) = target.direct.iter().find(reaches) else {
            continue;
        };
        if !Place::is_fit(&direct.host, direct.port) || !covers(&direct.host) {
            continue;
        }
        let place = hash::text(&direct.host) ^ u64::from(direct.port);
        let score = hash::score_of(number, place, target.weight.max(1).into());
        if best.is_none_or(|(highest, ..)| score > highest) {
            best = Some((score, target, direct));
        }
    }
    let (_, target, direct) = best?;
    Some((target, Place::new(&direct.host, direct.port)?))
}

/// Where a guest belongs. `home` is the chain that sent it here; none: it was told to come by itself, and any of its group's
/// will do. None: its home does not live.
pub fn home(returning: &Returning, home: Option<&ChainId>) -> Option<Place> {
    let own = |(chain, ..): &&(ChainId, String, u16)| home.is_none_or(|home| home == chain);
    let (_, host, port) = returning.homes.iter().find(own)?;
    Place::new(host, *port)
}

#[cfg(test)]
mod tests;
