//! What holds for the picker whatever the view.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const BALANCES: [Balance; 4] = [
    Balance::RoundRobin,
    Balance::LeastConnections,
    Balance::Random,
    Balance::SourceHash,
];

/// Weight, rank, and whether it has a place left.
type Kind = (u32, u32, bool);

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let rank = prop_oneof![3 => Just(0u32), 1 => 1u32..3, 1 => Just(UNPROVEN)];
    prop::collection::vec((1u32..6, rank, prop::bool::weighted(0.8)), 0..9)
}

/// Seven bits of eight are set.
fn many() -> impl Strategy<Value = u16> {
    any::<[u16; 3]>().prop_map(|[a, b, c]| a | b | c)
}

/// Who takes part in a round: one bit per endpoint.
fn view_of(version: u64, balance: Balance, all: &[Candidate], present: u16) -> View {
    let candidates = all.iter().enumerate().filter(|(n, _)| present & (1 << n) != 0);
    let mut candidates: Vec<_> = candidates.map(|(_, c)| c.clone()).collect();
    candidates.sort_by_key(|c| (c.rank, c.endpoint.id));
    view(version, balance, candidates)
}

fn make(kinds: &[Kind]) -> Vec<Candidate> {
    let make = |(n, (weight, rank, free)): (usize, &Kind)| {
        let mut candidate = candidate(n as u8, *weight, *rank);
        candidate.max_connections = (!free).then_some(0);
        candidate
    };
    kinds.iter().enumerate().map(make).collect()
}

proptest! {
    /// The picked one is in the view, was not tried, has a place, and no lower rank has such a one; nobody is picked
    /// only where there is no such one, and then the reason is right. So nobody who is ejected (who is in no view) is
    /// ever picked, and nobody is refused while somebody serves.
    #[test]
    fn property_the_best_of_those_who_serve_is_picked(
        kinds in kinds(),
        rounds in prop::collection::vec((any::<u16>(), any::<u16>(), any::<u32>(), any::<u64>()), 1..30),
        balance in prop::sample::select(&BALANCES[..]),
    ) {
        let all = make(&kinds);
        let mut rotation = Rotation::new(3);
        let now = Instant::now();
        for (version, (present, tried, client, luck)) in rounds.into_iter().enumerate() {
            let view = view_of(version as u64, balance, &all, present);
            let bits = all.iter().enumerate().filter(|(n, _)| tried & (1 << n) != 0);
            let tried: Vec<_> = bits.map(|(_, c)| c.endpoint.id).collect();
            let client = Some(Ipv4Addr::from_bits(client).into());
            let picked = pick(&view, &mut rotation, client, &tried, now, &mut || luck);
            let untried = || view.candidates.iter().filter(|c| !tried.contains(&c.endpoint.id));
            let best = untried().filter(|c| c.max_connections != Some(0)).map(|c| c.rank).min();
            match picked {
                Ok(picked) => {
                    let known = untried().any(|c| c.endpoint.id == picked.endpoint.id);
                    prop_assert!(known && picked.max_connections != Some(0));
                    prop_assert_eq!(Some(picked.rank), best);
                }
                Err(nobody) => {
                    prop_assert_eq!(best, None);
                    let expected = match (view.candidates.is_empty(), untried().count()) {
                        (true, _) => Nobody::Empty,
                        (false, 0) => Nobody::AllTried,
                        (false, _) => Nobody::Full,
                    };
                    prop_assert_eq!(nobody, expected);
                }
            }
        }
    }

    /// Equals take turns: whoever else comes and goes, of two neither is picked more than once more often than the other,
    /// in any window of picks during which both can be picked (some are away, some are full for a while).
    #[test]
    fn property_rotation_is_even_within_one(
        size in 2usize..8,
        rounds in prop::collection::vec((many(), many(), 1usize..12), 1..30),
        offset in 0usize..9,
        balance in prop::sample::select(&[Balance::RoundRobin, Balance::LeastConnections][..]),
    ) {
        let mut all = make(&vec![(1, 0, true); size]);
        let mut rotation = Rotation::new(offset);
        // how far ahead of the second the first is, at its most and at its least
        let (mut ahead, mut most, mut least) = (0i32, 0i32, 0i32);
        let mut present = 0;
        for (round, (here, free, times)) in rounds.into_iter().enumerate() {
            let full = !free;
            // a view lasts for two rounds, in which others are full
            present = if round % 2 == 0 { here } else { present };
            for (n, candidate) in all.iter_mut().enumerate() {
                candidate.max_connections = (full & (1 << n) != 0).then_some(0);
            }
            if present & !full & 0b11 != 0b11 {
                (ahead, most, least) = (0, 0, 0);
            }
            if present & !full & ((1 << size) - 1) == 0 {
                continue;
            }
            let view = view_of(round as u64 / 2, balance, &all, present);
            for picked in picks(&view, &mut rotation, times) {
                if present & !full & 0b11 == 0b11 {
                    ahead += i32::from(picked == 0) - i32::from(picked == 1);
                    (most, least) = (most.max(ahead), least.min(ahead));
                }
            }
        }
        prop_assert!(most - least <= 1, "{} ahead, {} behind", most, least);
    }

    /// A share is the weight's, to within one turn per endpoint, in any window of picks.
    #[test]
    fn property_rotation_follows_the_weights(
        weights in prop::collection::vec(1u32..20, 2..7),
        offset in 0usize..9,
        before in 0usize..50,
        window in 1usize..400,
    ) {
        let kinds: Vec<Kind> = weights.iter().map(|weight| (*weight, 0, true)).collect();
        let view = view_of(1, Balance::RoundRobin, &make(&kinds), u16::MAX);
        let mut rotation = Rotation::new(offset);
        picks(&view, &mut rotation, before);
        let counts = count(picks(&view, &mut rotation, window));
        let total: u32 = weights.iter().sum();
        for (n, weight) in weights.iter().enumerate() {
            let fair = window as f64 * f64::from(*weight) / f64::from(total);
            let picked = *counts.get(&(n as u8)).unwrap_or(&0) as f64;
            prop_assert!((picked - fair).abs() < weights.len() as f64, "{} of fair {}: {:?}", picked, fair, counts);
        }
    }

    /// When somebody leaves, only its own clients move.
    #[test]
    fn property_a_hash_moves_only_whom_it_must(
        weights in prop::collection::vec(1u32..9, 2..8),
        leaves in any::<prop::sample::Index>(),
        clients in prop::collection::vec(any::<u32>(), 1..60),
    ) {
        let kinds: Vec<Kind> = weights.iter().map(|weight| (*weight, 0, true)).collect();
        let all = make(&kinds);
        let leaver = leaves.index(all.len());
        let whole = view_of(1, Balance::SourceHash, &all, u16::MAX);
        let fewer = view_of(2, Balance::SourceHash, &all, !(1 << leaver));
        let (mut rotation, now) = (Rotation::new(0), Instant::now());
        for client in clients {
            let client = Some(Ipv4Addr::from_bits(client).into());
            let before = last_byte(pick(&whole, &mut rotation, client, &[], now, &mut || 0).unwrap());
            let after = last_byte(pick(&fewer, &mut rotation, client, &[], now, &mut || 0).unwrap());
            prop_assert!(before == after || usize::from(before) == leaver);
        }
    }
}
