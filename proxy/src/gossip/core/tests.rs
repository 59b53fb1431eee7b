use std::time::Duration;

use super::*;
use crate::gossip::counters::Refused;
use crate::gossip::testing::{MS, Net, address, chain, peer_id, said};
use crate::gossip::{ChainSaid, Load, TierSaid};

const SECOND: Duration = Duration::from_secs(1);

fn refused(net: &mut Net, node: usize, why: Refused) -> u64 {
    net.core(node).counters().refused(why)
}

/// A proxy with many chains says more than a datagram holds.
fn many_chains(chains: usize, epoch: u64) -> Said {
    let chains = (0..chains).map(|n| {
        let tier = TierSaid {
            tier: 0,
            serving: 3,
            proven: 3,
            pending: false,
        };
        let chain_said = ChainSaid {
            epoch,
            tiers: vec![tier; 4],
            ..ChainSaid::default()
        };
        (chain(&format!("chain-{n}")), chain_said)
    });
    Said {
        chains: chains.collect(),
        ..Said::default()
    }
}

#[test]
fn three_hear_each_other_and_of_every_change() {
    let mut net = Net::running(3, 1);
    let took = net.settle(SECOND).expect("all know all");
    assert!(took < 300 * MS, "{took:?}");
    net.say(1, said(7));
    let took = net.settle(SECOND).expect("all know the change");
    assert!(took <= 10 * MS, "{took:?}");
    let news = |net: &Net| net.nodes[0].known.news;
    let before = news(&net);
    for _ in 0..8 {
        net.run(250 * MS, |_| ());
        let now = net.now;
        for known in net.nodes[0].known.peers.values() {
            let age = now.duration_since(known.confirmed);
            assert!(
                age <= 600 * MS,
                "confirmed each round, published each round: {age:?}"
            );
        }
    }
    assert_eq!(news(&net), before, "nobody said anything else");
    let load = Load {
        sessions: 9,
        ..Load::default()
    };
    net.say(1, Said { load, ..said(7) });
    net.settle(SECOND).expect("all know the load");
    assert_eq!(news(&net), before, "a load is no news");
    net.say(1, Said { load, ..said(8) });
    net.settle(SECOND).expect("all know the change");
    assert_eq!(news(&net), before + 1);
    net.kill(1);
    net.run(SECOND, |_| ());
    assert_eq!(news(&net), before + 2, "it is suspect");
}

#[test]
fn who_dies_is_suspect_within_a_second_and_dead_within_five() {
    for loss in [0.0, 0.3] {
        for seed in 0..20 {
            let mut net = Net::running(5, seed);
            net.loss = Box::new(move |_, _| loss);
            net.settle(20 * SECOND).expect("all know all");
            net.kill(4);
            net.run(SECOND, |_| ());
            for node in 0..4 {
                assert!(
                    net.sees(node, 4) >= Some(Liveness::Suspect),
                    "{node}, loss {loss}, seed {seed}"
                );
            }
            net.run(4 * SECOND, |_| ());
            for node in 0..4 {
                assert_eq!(
                    net.sees(node, 4),
                    Some(Liveness::Dead),
                    "{node}, loss {loss}, seed {seed}"
                );
                for other in (0..4).filter(|&other| other != node) {
                    assert_ne!(
                        net.sees(node, other),
                        Some(Liveness::Dead),
                        "loss {loss}, seed {seed}"
                    );
                }
            }
        }
    }
}

#[test]
fn nobody_dies_of_lost_datagrams() {
    let mut net = Net::running(4, 3);
    net.loss = Box::new(|_, _| 0.3);
    net.settle(20 * SECOND).expect("all know all");
    let mut suspected = 0_u32;
    let mut seen = Duration::ZERO;
    for _ in 0..1_200 {
        net.run(100 * MS, |_| ());
        seen += 100 * MS;
        for (node, other) in pairs(4) {
            assert_ne!(net.sees(node, other), Some(Liveness::Dead), "after {seen:?}");
            suspected += u32::from(net.sees(node, other) == Some(Liveness::Suspect));
        }
    }
    assert!(suspected <= 24, "of 14,400 looks at 30 % loss: {suspected}");
}

fn pairs(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..nodes).flat_map(move |node| {
        (0..nodes)
            .filter(move |&other| other != node)
            .map(move |other| (node, other))
    })
}

#[test]
fn a_restarted_process_takes_over_from_its_former_self_at_once() {
    let mut net = Net::running(3, 4);
    net.settle(SECOND).expect("all know all");
    net.kill(2);
    net.run(50 * MS, |_| ());
    net.nodes[2].said = said(9);
    net.start(2);
    let took = net.settle(SECOND).expect("the new one is known");
    assert!(took < 500 * MS, "{took:?}");
    for node in [0, 1] {
        assert_eq!(
            net.nodes[node].known.peers[&peer_id(2)].said.chains[&chain("msuite")].epoch,
            9
        );
    }
}

#[test]
fn who_leaves_is_dead_at_once() {
    let mut net = Net::running(3, 5);
    net.settle(SECOND).expect("all know all");
    let now = net.now;
    net.core(2).leave(now);
    // hands out what there is to send
    net.say(2, said(1));
    net.run(20 * MS, |_| ());
    assert_eq!(
        (net.sees(0, 2), net.sees(1, 2)),
        (Some(Liveness::Dead), Some(Liveness::Dead))
    );
    net.run(61 * SECOND, |_| ());
    assert_eq!(net.sees(0, 2), None, "shown for a minute");
}

#[test]
fn two_that_do_not_hear_each_other_hear_of_each_other() {
    for seed in 0..20 {
        let mut net = Net::running(3, seed);
        // from the first moment: 1 and 2 never exchange a datagram
        net.loss = Box::new(|from, to| f64::from(u8::from(from + to == 3)));
        net.run(5 * SECOND, |_| ());
        assert!(net.converged(), "seed {seed}");
        net.say(1, said(8));
        net.run(SECOND, |_| ());
        assert!(net.converged(), "a change goes the other way round, seed {seed}");
        let now = net.now;
        let age = now.duration_since(net.nodes[2].known.peers[&peer_id(1)].confirmed);
        assert!(age < 1_500 * MS, "{age:?}");
        net.kill(1);
        net.run(1_600 * MS, |_| ());
        assert!(net.sees(2, 1) >= Some(Liveness::Suspect), "seed {seed}");
        net.run(4 * SECOND, |_| ());
        assert_eq!(net.sees(2, 1), Some(Liveness::Dead), "seed {seed}");
    }
}

#[test]
fn one_deaf_side_is_heard_of_too() {
    let mut net = Net::running(3, 6);
    net.settle(SECOND).expect("all know all");
    net.loss = Box::new(|from, to| f64::from(u8::from((from, to) == (1, 2))));
    for _ in 0..100 {
        net.run(100 * MS, |_| ());
        for (node, other) in pairs(3) {
            assert_ne!(net.sees(node, other), Some(Liveness::Dead));
        }
    }
    assert!(net.converged());
}

#[test]
fn parted_halves_find_each_other_again() {
    for (parted, rounds) in [(3, 5), (30, 5), (300, 8)] {
        let mut net = Net::running(6, parted);
        net.settle(SECOND).expect("all know all");
        net.loss = Box::new(|from, to| f64::from(u8::from((from < 3) != (to < 3))));
        net.run(Duration::from_secs(parted), |_| ());
        let dead = if parted > 60 { None } else { Some(Liveness::Dead) };
        assert!(net.sees(0, 5) == dead || parted < 5);
        net.loss = Box::new(|_, _| 0.0);
        let took = net.settle(5 * SECOND).expect("all know all again");
        assert!(took <= crate::gossip::ROUND * rounds, "{took:?} after {parted} s");
    }
}

#[test]
fn many_chains_arrive_whole() {
    for loss in [0.0, 0.3] {
        let mut net = Net::new(2, 7);
        net.loss = Box::new(move |_, _| loss);
        net.nodes[0].said = many_chains(500, 1);
        (0..2).for_each(|node| net.start(node));
        let mut whole = 0;
        net.run(5 * SECOND, |net| {
            if let Some(known) = net.nodes[1].known.peers.get(&peer_id(0)) {
                assert!([0, 500].contains(&known.said.chains.len()), "never half of it");
                whole += known.said.chains.len();
            }
        });
        assert!(whole > 0 && net.converged(), "loss {loss}");
        let sent = net.sent;
        net.say(0, many_chains(500, 2));
        net.settle(5 * SECOND).expect("all changes");
        let took = net.sent - sent;
        assert!(loss > 0.0 || took < 40, "{took} datagrams");
    }
}

#[test]
fn loads_alone_are_damped() {
    let mut net = Net::running(2, 8);
    net.settle(SECOND).expect("all know all");
    let mut said = said(0);
    let mut heard = std::collections::BTreeSet::new();
    for sessions in 0..100 {
        said.load.sessions = 1_000 + 100 * sessions;
        net.say(0, said.clone());
        net.run(50 * MS, |_| ());
        heard.insert(net.nodes[1].known.peers[&peer_id(0)].said.load.sessions);
    }
    assert!((8..=12).contains(&heard.len()), "in 5 s: {}", heard.len());
    net.run(SECOND, |_| ());
    let before = net.nodes[1].known.peers[&peer_id(0)].said.load.sessions;
    said.load.sessions = before + before / 30;
    net.say(0, said.clone());
    net.run(2 * SECOND, |_| ());
    assert_eq!(
        net.nodes[1].known.peers[&peer_id(0)].said.load.sessions,
        before,
        "3 % are not worth it"
    );
    said.leaving = true;
    net.say(0, said);
    net.run(10 * MS, |_| ());
    assert!(
        net.nodes[1].known.peers[&peer_id(0)].said.leaving,
        "what is no load is told at once"
    );
}

#[test]
fn keys_rotate_without_losing_anybody() {
    let mut net = Net::running(4, 9);
    net.settle(SECOND).expect("all know all");
    let alive = |net: &Net| {
        for (node, other) in pairs(4) {
            assert_eq!(
                net.sees(node, other),
                Some(Liveness::Alive),
                "{node} sees {other}"
            );
        }
    };
    // receive both, send the new one, retire the old one; one proxy after the other, and the last step of all at odds
    for keys in [&['a', 'b'][..], &['b', 'a'], &['b']] {
        for node in [2, 0, 3, 1] {
            net.set_keys(node, keys);
            net.run(400 * MS, alive);
        }
    }
    // even in one step, as long as two have one in common
    for node in 0..4 {
        net.set_keys(node, &['c', 'b']);
        net.run(2 * SECOND, alive);
    }
    net.start(1);
    net.settle(SECOND).expect("a new one comes in");
    net.set_keys(1, &['d']);
    net.run(6 * SECOND, |_| ());
    assert_eq!(net.sees(0, 1), Some(Liveness::Dead), "no common key");
    assert!(refused(&mut net, 0, Refused::NoKey) > 0);
}

#[test]
fn pools_of_the_same_name_in_two_clusters_are_two() {
    let mut net = Net::new(4, 10);
    net.set_cluster(3, "west");
    (0..4).for_each(|node| net.start(node));
    net.run(2 * SECOND, |_| ());
    let known = &net.nodes[0].known;
    assert_eq!(
        known.peers.keys().map(|id| PeerId::clone(id)).collect::<Vec<_>>(),
        [peer_id(1), peer_id(2)]
    );
    assert_eq!(
        known.beyond.keys().cloned().collect::<Vec<_>>(),
        [("west".into(), peer_id(3))]
    );
    assert_eq!(net.nodes[3].known.peers.len(), 0);
    assert_eq!(net.nodes[3].known.beyond.len(), 3);
}

#[test]
fn nothing_recorded_is_taken_again() {
    let mut net = Net::running(3, 11);
    net.recorded = Some(Vec::new());
    net.settle(SECOND).expect("all know all");
    net.run(3 * SECOND, |_| ());
    // 2 dies: everything it ever said is said again, to everybody
    net.kill(2);
    net.run(5_100 * MS, |_| ());
    let recorded = net.recorded.take().unwrap();
    let before = (
        refused(&mut net, 0, Refused::Replayed),
        refused(&mut net, 1, Refused::WrongRecipient),
    );
    for round in 0..3 {
        for (from, _, bytes) in &recorded {
            for node in [0, 1] {
                net.inject(*from, node, bytes);
            }
        }
        net.run(100 * MS, |_| ());
        for node in [0, 1] {
            assert_eq!(net.sees(node, 2), Some(Liveness::Dead), "round {round}");
            assert_eq!(net.sees(node, 1 - node), Some(Liveness::Alive), "round {round}");
        }
    }
    let after = (
        refused(&mut net, 0, Refused::Replayed),
        refused(&mut net, 1, Refused::WrongRecipient),
    );
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");
    // and after a restart of the one who hears it
    net.kill(0);
    net.start(0);
    for (from, _, bytes) in &recorded {
        net.inject(*from, 0, bytes);
    }
    net.settle(SECOND).expect("the living know each other");
    assert_eq!(net.sees(0, 2), None, "never heard of by the new run");
    // the dead one comes back, and goes; what its former run said says nothing of the new one
    net.start(2);
    net.settle(SECOND).expect("all know all");
    net.say(2, said(3));
    net.settle(SECOND).expect("all know all");
    for (from, _, bytes) in &recorded {
        net.inject(*from, 0, bytes);
        net.inject(*from, 1, bytes);
    }
    net.run(10 * MS, |_| ());
    assert!(net.converged());
    assert!(refused(&mut net, 1, Refused::Former) > 0);
}

#[test]
fn what_was_held_back_on_the_way_keeps_nobody_alive() {
    let mut net = Net::running(2, 12);
    net.settle(SECOND).expect("all know all");
    // from here on everything of 1 is held back, and 0 hears it a little at a time
    net.recorded = Some(Vec::new());
    net.loss = Box::new(|from, _| f64::from(u8::from(from == 1)));
    net.run(10 * SECOND, |_| ());
    net.kill(1);
    let held = net.recorded.take().unwrap();
    let mut held = held.into_iter().filter(|(from, _, _)| *from == address(1));
    let died = net.now;
    let mut alive_until = died;
    for _ in 0..60 {
        if let Some((from, to, bytes)) = held.next() {
            net.inject(from, to, &bytes);
        }
        net.run(500 * MS, |_| ());
        if net.sees(0, 1) == Some(Liveness::Alive) {
            alive_until = net.now;
        }
    }
    assert!(alive_until <= died + SECOND, "{:?}", alive_until - died);
    assert!(refused(&mut net, 0, Refused::Stale) > 0);
}

#[test]
fn strangers_leave_nothing_behind() {
    let mut net = Net::running(2, 13);
    net.recorded = Some(Vec::new());
    net.settle(SECOND).expect("all know all");
    let recorded = net.recorded.take().unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    let size = |net: &mut Net| {
        let core = net.core(0);
        (
            core.peers.len(),
            core.boots.len(),
            core.candidates.next().is_some(),
        )
    };
    let before = size(&mut net);
    for nth in 0..20_000_u32 {
        let mut bytes = match nth % 3 {
            0 => (0..rng.usize(0..1_600)).map(|_| rng.u8(..)).collect(),
            _ => recorded[rng.usize(0..recorded.len())].2.clone(),
        };
        match nth % 3 {
            1 => bytes.truncate(rng.usize(0..bytes.len())),
            2 => {
                let at = rng.usize(0..bytes.len());
                bytes[at] ^= 1 << rng.u8(0..8);
            }
            _ => {}
        }
        net.inject(address(rng.usize(0..200)), 0, &bytes);
    }
    assert_eq!(size(&mut net), before);
    net.run(SECOND, |_| ());
    assert!(net.converged());
    for why in [
        Refused::TooLong,
        Refused::Malformed,
        Refused::NoKey,
        Refused::Forged,
    ] {
        assert!(refused(&mut net, 0, why) > 0, "{}", why.word());
    }
}

#[test]
fn a_proxy_that_slept_takes_nobody_for_dead() {
    let mut net = Net::running(3, 14);
    net.settle(SECOND).expect("all know all");
    net.nodes[0].frozen_until = Some(net.now + 20 * SECOND);
    net.run(19 * SECOND, |_| ());
    assert_eq!(net.sees(1, 0), Some(Liveness::Dead), "others do miss it");
    net.run(3 * SECOND, |net| {
        for other in [1, 2] {
            assert_ne!(net.sees(0, other), Some(Liveness::Dead));
        }
    });
    assert!(net.converged());
}

#[test]
fn another_proxy_at_the_same_address_replaces_the_first() {
    let mut net = Net::running(3, 15);
    net.settle(SECOND).expect("all know all");
    net.kill(2);
    net.set_cluster(2, "other");
    net.start(2);
    net.run(500 * MS, |_| ());
    assert_eq!(net.sees(0, 2), Some(Liveness::Dead), "long before it is missed");
    assert_eq!(net.nodes[0].known.beyond.len(), 1);
}

#[test]
fn fifty_cost_what_they_should() {
    let mut net = Net::running(50, 16);
    let took = net.settle(5 * SECOND).expect("all know all");
    assert!(took < 2 * SECOND, "{took:?}");
    net.run(2 * SECOND, |_| ());
    let sent = net.sent;
    net.run(4 * SECOND, |_| ());
    let each = (net.sent - sent) / 50 / 4;
    assert!((180..=210).contains(&each), "one per peer and round: {each}/s");
}
