use std::collections::BTreeMap;

use super::*;
use crate::chain::fixture::{candidate, view};
use crate::chain::view::UNPROVEN;

/// Where `n` picks go: the last byte of each address.
fn picks(view: &View, rotation: &mut Rotation, n: usize) -> Vec<u8> {
    let now = Instant::now();
    (0..n)
        .map(|_| last_byte(pick(view, rotation, None, &[], now, &mut || 0).unwrap()))
        .collect()
}

fn last_byte(candidate: &Candidate) -> u8 {
    match candidate.endpoint.address.ip() {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(_) => unreachable!("all candidates here have IPv4 addresses"),
    }
}

fn count<T: Ord>(picks: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    picks.into_iter().fold(BTreeMap::new(), |mut all, one| {
        *all.entry(one).or_default() += 1;
        all
    })
}

#[test]
fn equals_take_turns_and_workers_begin_with_different_ones() {
    let all: Vec<_> = (1..=3).map(|n| candidate(n, 1, 0)).collect();
    let view = view(1, Balance::RoundRobin, all);
    assert_eq!(picks(&view, &mut Rotation::new(0), 7), [1, 2, 3, 1, 2, 3, 1]);
    assert_eq!(picks(&view, &mut Rotation::new(1), 7), [2, 3, 1, 2, 3, 1, 2]);
    assert_eq!(picks(&view, &mut Rotation::new(5), 4), [3, 1, 2, 3]);
}

#[test]
fn weights_are_kept_and_spread() {
    let weights = [candidate(1, 5, 0), candidate(2, 1, 0), candidate(3, 1, 0)];
    let view = view(1, Balance::RoundRobin, weights.to_vec());
    let picks = picks(&view, &mut Rotation::new(0), 700);
    assert_eq!(
        count(picks.clone()),
        BTreeMap::from([(1, 500), (2, 100), (3, 100)])
    );
    let longest = picks.chunk_by(|a, b| a == b).map(<[u8]>::len).max();
    assert!(longest <= Some(4), "{longest:?} in a row: {picks:?}");
}

#[test]
fn a_higher_rank_is_used_only_when_no_lower_one_is_left() {
    let ranks = [candidate(1, 1, 0), candidate(2, 1, 2), candidate(3, 1, UNPROVEN)];
    let ids: Vec<_> = ranks.iter().map(|c| c.endpoint.id).collect();
    let view = view(1, Balance::RoundRobin, ranks.to_vec());
    let mut rotation = Rotation::new(0);
    let now = Instant::now();
    for tried in 0..3 {
        let picked = pick(&view, &mut rotation, None, &ids[..tried], now, &mut || 0).unwrap();
        assert_eq!(picked.endpoint.id, ids[tried]);
    }
    let nobody = pick(&view, &mut rotation, None, &ids, now, &mut || 0).unwrap_err();
    assert_eq!(nobody, Nobody::AllTried);
}

#[test]
fn who_is_full_is_passed_over_and_said_to_be_full() {
    let mut limited = [candidate(1, 1, 0), candidate(2, 1, 0)];
    for candidate in &mut limited {
        candidate.max_connections = Some(1);
    }
    let first = limited[0].endpoint.reserve(Some(1)).unwrap();
    let view = view(1, Balance::RoundRobin, limited.to_vec());
    let mut rotation = Rotation::new(0);
    assert_eq!(picks(&view, &mut rotation, 3), [2, 2, 2]);
    let second = limited[1].endpoint.reserve(Some(1)).unwrap();
    let now = Instant::now();
    let nobody = pick(&view, &mut rotation, None, &[], now, &mut || 0).unwrap_err();
    assert_eq!(nobody, Nobody::Full);
    drop((first, second));
    assert_eq!(
        count(picks(&view, &mut rotation, 4)),
        BTreeMap::from([(1, 2), (2, 2)])
    );
}

#[test]
fn the_least_loaded_is_used_and_equals_take_turns() {
    let all = [candidate(1, 1, 0), candidate(2, 2, 0), candidate(3, 1, 0)];
    let view = view(1, Balance::LeastConnections, all.to_vec());
    let mut rotation = Rotation::new(0);
    let _busy = all[1].endpoint.reserve(None);
    assert_eq!(
        count(picks(&view, &mut rotation, 9)),
        BTreeMap::from([(1, 3), (2, 3), (3, 3)])
    );
    let _busier = all[1].endpoint.reserve(None);
    assert_eq!(picks(&view, &mut rotation, 4), [1, 3, 1, 3]);
}

#[test]
fn chance_follows_weight() {
    let all = [candidate(1, 3, 0), candidate(2, 1, 0)];
    let view = view(1, Balance::Random, all.to_vec());
    let now = Instant::now();
    let mut state = 0u64;
    let mut random = || {
        state = state.wrapping_add(1);
        hash::client(std::net::Ipv4Addr::from_bits(state as u32).into())
    };
    let mut rotation = Rotation::new(0);
    let picks =
        (0..10_000).map(|_| last_byte(pick(&view, &mut rotation, None, &[], now, &mut random).unwrap()));
    let of_first = count(picks)[&1];
    assert!(
        (7_300..7_700).contains(&of_first),
        "{of_first} of 10000 for a weight of 3 in 4"
    );
}

#[test]
fn a_client_keeps_its_endpoint_while_others_leave() {
    let all: Vec<_> = (1..=5).map(|n| candidate(n, 1, 0)).collect();
    let whole = view(1, Balance::SourceHash, all.clone());
    let fewer = view(2, Balance::SourceHash, all[..4].to_vec());
    let (mut rotation, now) = (Rotation::new(0), Instant::now());
    let mut shares = BTreeMap::new();
    for client in 0..5_000u32 {
        let client = Some(IpAddr::from(client.to_be_bytes()));
        let before = last_byte(pick(&whole, &mut rotation, client, &[], now, &mut || 0).unwrap());
        let after = last_byte(pick(&fewer, &mut rotation, client, &[], now, &mut || 0).unwrap());
        assert!(
            before == after || before == 5,
            "{client:?} moved from {before} to {after}"
        );
        *shares.entry(before).or_insert(0) += 1;
    }
    assert!(
        shares.values().all(|share| (850..1_150).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn a_warming_endpoint_gets_a_growing_share() {
    let mut cold = [candidate(1, 1, 0), candidate(2, 1, 0)];
    let start = Instant::now();
    cold[1].warming_since = Some(start);
    let mut view = view(1, Balance::RoundRobin, cold.to_vec());
    let mut chain = (*view.chain).clone();
    chain.slow_start = Duration::from_secs(10);
    view.chain = chain.into();
    let share = |seconds| {
        let (now, mut rotation) = (start + Duration::from_secs(seconds), Rotation::new(0));
        let picked =
            (0..1_100).map(|_| last_byte(pick(&view, &mut rotation, None, &[], now, &mut || 0).unwrap()));
        count(picked)[&2]
    };
    assert_eq!([share(0), share(5), share(10), share(99)], [100, 390, 550, 550]);
}

mod properties;
