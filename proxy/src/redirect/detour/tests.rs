use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::gossip::{Liveness, PeerId};
use crate::redirect::fixture::{World, chain_id, peer, serving};
use crate::redirect::table::EVIDENCE;

fn planned(world: &World) -> Option<(Detour, Vec<Relay>)> {
    plan(&world.table(), &world.chain.redirect, "all are out", None)
}

/// Name, rank and weight of each target.
fn targets(world: &World) -> Vec<(String, u32, u32)> {
    let Some((detour, relays)) = planned(world) else {
        return Vec::new();
    };
    let targets: Vec<_> = detour
        .targets
        .iter()
        .map(|target| {
            (
                target.peer.as_ref().unwrap().name.clone(),
                target.rank,
                target.weight,
            )
        })
        .collect();
    let relayed: Vec<_> = relays
        .iter()
        .map(|relay| (relay.to.peer.name.clone(), relay.rank, relay.weight))
        .collect();
    assert_eq!(targets, relayed, "who is redirected to relays as well");
    targets
}

fn names(world: &World) -> Vec<String> {
    targets(world).into_iter().map(|(name, ..)| name).collect()
}

#[test]
fn own_pool_first_then_the_group_by_priority_weighted_by_headroom() {
    let mut world = World::of(2, 3, 2);
    world.says(2, 2, serving(1));
    world.said(3, 2).load.room = 9;
    let found = targets(&world);
    let found: Vec<_> = found
        .iter()
        .map(|(name, rank, weight)| (name.as_str(), *rank, *weight))
        .collect();
    assert_eq!(
        found,
        [
            ("dmz-2-2", 0, 96),
            ("dmz-1-1", 1, 96),
            ("dmz-1-2", 1, 96),
            ("dmz-3-1", 2, 96),
            ("dmz-3-2", 2, 8)
        ]
    );
    // chains of equal priority share a rank: the load decides
    for member in &mut world.chain.group.as_mut().unwrap().members {
        member.priority = 0;
    }
    let ranks: Vec<u32> = targets(&world).into_iter().map(|(_, rank, _)| rank).collect();
    assert_eq!(ranks, [0, 1, 1, 1, 1]);
}

#[test]
fn suspects_and_the_silent_are_used_only_where_nobody_else_lives() {
    let mut world = World::of(1, 2, 2);
    world.neighbour(2, 1).liveness = Liveness::Suspect;
    assert_eq!(names(&world), ["dmz-2-2"]);
    world.neighbour(2, 2).confirmed -= EVIDENCE + Duration::from_millis(1);
    assert_eq!(names(&world), ["dmz-2-1", "dmz-2-2"]);
    world.neighbour(2, 2).liveness = Liveness::Dead;
    assert_eq!(names(&world), ["dmz-2-1"]);
    world.neighbour(2, 1).liveness = Liveness::Dead;
    assert_eq!(planned(&world), None);
}

#[test]
fn a_remote_chain_is_a_native_target_and_no_relay() {
    use switchyard_snapshot::{GroupMember, GroupPlace};
    let mut world = World::of(1, 2, 1);
    world.chain.group.as_mut().unwrap().members.push(GroupMember {
        chain: chain_id(9),
        priority: 9,
        at: GroupPlace::Remote {
            addresses: vec!["dr.example.com:18443".into()],
            monitors: Vec::new(),
        },
        suspended: false,
    });
    world.remotes.insert(chain_id(9), Ok(()));
    // a suspect may relay all the same, as long as no other proxy can
    world.neighbour(2, 1).liveness = Liveness::Suspect;
    let (detour, relays) = planned(&world).unwrap();
    let peers: Vec<bool> = detour
        .targets
        .iter()
        .map(|target| target.peer.is_some())
        .collect();
    assert_eq!((peers, relays.len()), (vec![true, false], 1));
    world.neighbour(2, 1).liveness = Liveness::Dead;
    let (detour, relays) = planned(&world).unwrap();
    assert_eq!((detour.targets.len(), relays.len()), (1, 0));
    assert_eq!(mostly_to(&detour), Some(&chain_id(9)));
}

#[test]
fn most_go_where_most_room_is() {
    let mut world = World::of(1, 3, 2);
    assert_eq!(mostly_to(&planned(&world).unwrap().0), Some(&chain_id(2)));
    for member in &mut world.chain.group.as_mut().unwrap().members {
        member.priority = 0;
    }
    assert_eq!(
        mostly_to(&planned(&world).unwrap().0),
        Some(&chain_id(2)),
        "of equals the first"
    );
    world.said(2, 1).load.room = 10;
    assert_eq!(mostly_to(&planned(&world).unwrap().0), Some(&chain_id(3)));
    world.says(1, 2, serving(1));
    assert_eq!(
        mostly_to(&planned(&world).unwrap().0),
        Some(&chain_id(1)),
        "blind: to the own pool"
    );
}

#[test]
fn weights_keep_three_bits() {
    let table = [
        (0, 1),
        (1, 1),
        (7, 7),
        (8, 8),
        (9, 8),
        (100, 96),
        (1_000, 896),
        (1_023, 896),
        (70_000, 57_344),
    ];
    for (room, expected) in table {
        assert_eq!(weight(room), expected, "{room}");
    }
}

/// What one proxy is.
#[derive(Clone, Debug)]
struct Is {
    liveness: Liveness,
    serving: u32,
    proven: u32,
    suspended: bool,
    detours: bool,
    leaving: bool,
    room: u32,
    guest_room: u32,
    age: u64,
}

fn is() -> impl Strategy<Value = Is> {
    let liveness = prop_oneof![
        6 => Just(Liveness::Alive),
        1 => Just(Liveness::Suspect),
        2 => Just(Liveness::Dead)
    ];
    let flag = || prop::bool::weighted(0.15);
    let room = || prop_oneof![1 => Just(0u32), 4 => 1u32..20_000];
    let numbers = (0u32..3, 0u32..3, room(), room(), 0u64..20_000);
    (liveness, (flag(), flag(), flag()), numbers).prop_map(|(liveness, flags, numbers)| {
        let (suspended, detours, leaving) = flags;
        let (serving, proven, room, guest_room, age) = numbers;
        Is {
            liveness,
            serving,
            proven: proven.min(serving),
            suspended,
            detours,
            leaving,
            room,
            guest_room,
            age,
        }
    })
}

fn apply(world: &mut World, site: usize, n: usize, is: &Is) {
    world.says(site, n, serving(is.serving));
    let of_chain = world.of_chain(site, n);
    of_chain.tiers[0].proven = is.proven;
    (of_chain.suspended, of_chain.detours) = (is.suspended, is.detours);
    let said = world.said(site, n);
    said.leaving = is.leaving;
    (said.load.room, said.load.guest_room) = (is.room, is.guest_room);
    let neighbour = world.neighbour(site, n);
    neighbour.liveness = is.liveness;
    neighbour.confirmed -= Duration::from_millis(is.age);
}

proptest! {
    /// Nobody is sent to the proxy itself, to a dead, leaving, suspended or not serving one, to one that sends its own
    /// clients away, nor to one without room; nor to a doubtful one while one lives for sure. And if somebody fits,
    /// somebody is named.
    #[test]
    fn property_targets_live_serve_and_have_room(all in prop::collection::vec(is(), 6)) {
        let mut world = World::of(1, 3, 2);
        let mut fit: BTreeMap<PeerId, &Is> = BTreeMap::new();
        for (at, is) in all.iter().enumerate() {
            let (site, n) = (at / 2 + 1, at % 2 + 1);
            if peer(site, n) == world.topology.me {
                continue;
            }
            apply(&mut world, site, n, is);
            let serves = is.serving > 0 && is.proven > 0 && !is.suspended && !is.detours && !is.leaving;
            if serves && is.room > 0 && is.guest_room > 0 && is.liveness != Liveness::Dead {
                fit.insert(peer(site, n), is);
            }
        }
        let sure = |is: &&Is| is.liveness == Liveness::Alive && is.age <= 10_000;
        let only_sure = fit.values().any(&sure);
        fit.retain(|_, is| !only_sure || sure(is));
        let found: Vec<PeerId> = planned(&world)
            .map(|(detour, _)| detour.targets.into_iter().filter_map(|target| target.peer).collect())
            .unwrap_or_default();
        prop_assert!(!found.contains(&world.topology.me));
        let mut sorted = found.clone();
        sorted.sort();
        prop_assert_eq!(sorted, fit.into_keys().collect::<Vec<_>>());
    }

    /// Where all proxies hear the same words: whoever is sent clients sends its own nowhere, so no client comes back.
    #[test]
    fn property_consistent_tables_have_no_loop(all in prop::collection::vec((0u32..2, any::<bool>()), 6)) {
        let mut world = World::of(1, 3, 2);
        // a proxy that serves nobody sends its clients away, and may do so for a while after it serves again; it says so
        for (at, (up, holds)) in all.iter().enumerate() {
            world.says(at / 2 + 1, at % 2 + 1, serving(*up));
            world.of_chain(at / 2 + 1, at % 2 + 1).detours = *up == 0 || *holds;
        }
        let away = |(_, (up, holds)): &(usize, &(u32, bool))| *up == 0 || *holds;
        let edges: Vec<(PeerId, PeerId)> = all.iter().enumerate().filter(away).flat_map(|(at, _)| {
            let me = peer(at / 2 + 1, at % 2 + 1);
            world.chain.id = chain_id(at / 2 + 1);
            world.topology.me = me.clone();
            let found = planned(&world).map(|(detour, _)| detour.targets).unwrap_or_default();
            found.into_iter().filter_map(|target| target.peer).map(|to| (me.clone(), to)).collect::<Vec<_>>()
        }).collect();
        for (from, to) in &edges {
            prop_assert!(from != to);
            prop_assert!(edges.iter().all(|(other, _)| other != to), "{} goes on from {}", from, to);
        }
    }
}
