//! A chain among other proxies of its pool.

use std::net::IpAddr;

use switchyard_snapshot::{ChainId, PoolId};

use super::*;
use crate::gossip::{ChainSaid, Liveness, Neighbour, Neighbours, PeerId, Said, TierSaid};
use crate::redirect::Topology;

fn peer(pool: &str, name: &str) -> PeerId {
    PeerId {
        pool: PoolId {
            namespace: "edge".into(),
            name: pool.into(),
        },
        name: name.into(),
    }
}

fn chain_id() -> ChainId {
    fixture::chain(Vec::new()).id
}

impl Rig {
    fn gossips(&mut self) {
        let topology = Topology {
            me: peer("dmz", "a"),
            since: self.clock.0.mono,
            pools: Vec::new(),
            second_hand: false,
        };
        self.send(Event::Topology(Some(Arc::new(topology))));
    }

    /// Hears others, each with its liveness and what it says of the chain.
    fn hears(&mut self, peers: &[(PeerId, Liveness, Option<ChainSaid>)]) -> &[Order] {
        let neighbour = |liveness, said: &Option<ChainSaid>| Neighbour {
            ip: IpAddr::from([10, 9, 9, 9]),
            liveness,
            said: Arc::new(Said {
                chains: said.iter().map(|said| (chain_id(), said.clone())).collect(),
                ..Said::default()
            }),
            confirmed: self.clock.0.mono,
        };
        let peers = peers
            .iter()
            .map(|(id, liveness, said)| (Arc::new(id.clone()), neighbour(*liveness, said)));
        let neighbours = Neighbours {
            peers: peers.collect(),
            ..Neighbours::default()
        };
        self.send(Event::Neighbours(Arc::new(neighbours)))
    }

    fn waits(&self) -> Option<String> {
        self.state.report(self.clock.0).waits
    }
}

/// Two tiers, each with so many that serve and are proven.
fn said(epoch: u64, tier: u32, up: [u32; 2]) -> ChainSaid {
    let tiers = up.iter().zip(0..).map(|(&up, tier)| TierSaid {
        tier,
        serving: up,
        proven: up,
        pending: false,
    });
    ChainSaid {
        epoch,
        tier,
        tiers: tiers.collect(),
        reaches: true,
        ..ChainSaid::default()
    }
}

fn b(epoch: u64, tier: u32, up: [u32; 2]) -> [(PeerId, Liveness, Option<ChainSaid>); 1] {
    [(peer("dmz", "b"), Liveness::Alive, Some(said(epoch, tier, up)))]
}

#[test]
fn a_tier_is_left_together() {
    let mut rig = pair(Failback::Sticky);
    rig.gossips();
    rig.hears(&b(0, 0, [1, 1]));
    rig.probed("10.0.0.1", "--");
    // blind so far: its tier stays, and its clients have nobody here
    assert_eq!(rig.candidates(), [""; 0]);
    assert_eq!(
        rig.waits().as_deref(),
        Some("waits for b: it still sees tier 0 up")
    );
    let mine = rig.state.said();
    assert_eq!(
        (mine.tier, mine.tiers[0].serving, mine.tiers[1].proven),
        (0, 0, 1)
    );
    assert!(mine.reaches);
    rig.hears(&b(0, 0, [0, 1]));
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
    assert_eq!((rig.waits(), rig.state.said().epoch), (None, 1));
    assert_eq!(rig.persisted().unwrap().epoch, 1);
}

#[test]
fn words_that_others_stand_by_matter_to_who_waits_for_them() {
    let mut rig = pair(Failback::Sticky);
    rig.gossips();
    rig.hears(&b(0, 0, [1, 1]));
    let heeds = |rig: &mut Rig| {
        let before = rig.state.conclusions();
        rig.hears(&b(0, 0, [1, 1]));
        rig.state.conclusions() > before
    };
    assert!(!rig.state.is_attentive() && !heeds(&mut rig));
    rig.probed("10.0.0.1", "--");
    assert!(rig.state.is_attentive(), "it waits for b");
    assert!(heeds(&mut rig));
    rig.hears(&b(0, 0, [0, 1]));
    assert!(!rig.state.is_attentive(), "b agreed");
}

#[test]
fn other_pools_the_dead_and_oneself_have_no_part() {
    let up = || Some(said(0, 0, [1, 1]));
    let mut rig = pair(Failback::Sticky);
    rig.gossips();
    rig.hears(&[
        (peer("dmz", "a"), Liveness::Alive, up()),
        (peer("dmz", "c"), Liveness::Dead, up()),
        (peer("other", "b"), Liveness::Alive, up()),
    ]);
    rig.pass(1_000);
    rig.probed("10.0.0.1", "--");
    rig.confirmed("10.0.1.1", Ok(()));
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
}

#[test]
fn a_suspect_is_waited_for_until_it_is_dead() {
    let mut rig = pair(Failback::Sticky);
    rig.gossips();
    let suspect = |liveness| [(peer("dmz", "b"), liveness, Some(said(0, 0, [1, 1])))];
    rig.hears(&suspect(Liveness::Suspect));
    rig.pass(1_000);
    rig.probed("10.0.0.1", "--");
    rig.confirmed("10.0.1.1", Ok(()));
    assert_eq!(rig.candidates(), [""; 0]);
    rig.hears(&suspect(Liveness::Dead));
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
}

#[test]
fn who_starts_waits_a_second_for_a_first_word_and_takes_over_the_highest_epoch() {
    let mut rig = pair(Failback::Sticky);
    rig.gossips();
    rig.probed("10.0.0.1", "--");
    assert_eq!(
        rig.waits().as_deref(),
        Some("waits for a first word of the pool's other proxies")
    );
    rig.pass(999);
    assert_eq!(rig.state.said().epoch, 0);
    rig.pass(1);
    assert_eq!((rig.state.said().epoch, rig.state.said().tier), (1, 1));
    let mut rig = pair(Failback::Sticky);
    rig.gossips();
    rig.hears(&b(5, 1, [1, 1]));
    assert_eq!((rig.state.said().epoch, rig.state.said().tier), (5, 1));
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
}

#[test]
fn a_mate_that_says_nothing_of_the_chain_is_waited_for_while_it_starts() {
    let mut rig = pair(Failback::Sticky);
    rig.gossips();
    rig.hears(&[(peer("dmz", "b"), Liveness::Alive, None)]);
    rig.pass(2_000);
    rig.probed("10.0.0.1", "--");
    rig.confirmed("10.0.1.1", Ok(()));
    assert_eq!(
        rig.waits().as_deref(),
        Some("waits for b: it has said nothing of this chain yet")
    );
    rig.pass(2_999);
    assert_eq!(rig.state.said().tier, 0);
    rig.pass(1);
    assert_eq!(rig.state.said().tier, 1);
}

#[test]
fn a_doubt_is_looked_into_at_once_and_two_probes_decide() {
    let mut rig = pair(Failback::Sticky);
    rig.gossips();
    rig.hears(&b(0, 0, [1, 1]));
    let confirm = Order::Confirm(rig.id("10.0.0.1"));
    assert_eq!(rig.hears(&b(0, 0, [0, 1])), std::slice::from_ref(&confirm));
    // a lost packet of ours is not enough
    rig.confirmed("10.0.0.1", Err("no answer within 1s"));
    assert_eq!(rig.candidates(), ["10.0.0.1"]);
    rig.confirmed("10.0.0.1", Ok(()));
    // the same word again starts nothing, a new one does, once a second
    assert_eq!(rig.hears(&b(0, 0, [0, 1])), []);
    rig.hears(&b(0, 0, [1, 1]));
    assert_eq!(rig.hears(&b(0, 0, [0, 1])), []);
    rig.pass(1_000);
    assert_eq!(rig.orders, [confirm]);
    rig.confirmed("10.0.0.1", Err("connection refused"));
    rig.confirmed("10.0.0.1", Err("connection refused"));
    rig.confirmed("10.0.1.1", Ok(()));
    assert_eq!(rig.candidates(), ["10.0.1.1"], "now both say so");
}

#[test]
fn a_doubt_that_the_fall_overtakes_wakes_nobody() {
    let mut rig = pair(Failback::Sticky);
    rig.gossips();
    for tiers in [[0, 1], [1, 1], [0, 1]] {
        rig.hears(&b(0, 0, tiers));
    }
    // the second doubt waits for its second; before that nothing at all serves any more
    rig.probed("10.0.1.1", "--");
    rig.probed("10.0.0.1", "--");
    assert_eq!(rig.candidates(), [""; 0]);
    let wakes = rig.state.conclusions();
    rig.pass(60_000);
    assert!(
        rig.state.conclusions() - wakes < 10,
        "it rests until something happens"
    );
}

#[test]
fn without_gossip_nothing_is_asked_of_anybody() {
    let mut rig = pair(Failback::Sticky);
    rig.hears(&b(9, 1, [0, 1]));
    assert_eq!((rig.state.said().epoch, rig.state.said().tier), (0, 0));
    assert_eq!(rig.orders, []);
    rig.probed("10.0.0.1", "--");
    assert_eq!(rig.candidates(), ["10.0.1.1"]);
    assert_eq!(rig.waits(), None);
}

#[test]
fn a_standby_that_was_seen_before_the_fall_is_looked_at_first() {
    let mut rig = pair(Failback::Sticky);
    rig.pass(10_000);
    rig.probed("10.0.0.1", "-");
    rig.pass(500);
    rig.probed("10.0.0.1", "-");
    let standby = rig.id("10.0.1.1");
    assert_eq!(rig.state.said().tier, 0);
    assert!(rig.orders.contains(&Order::Confirm(standby)));
    rig.confirmed("10.0.1.1", Ok(()));
    assert_eq!(
        (rig.state.said().tier, rig.candidates()),
        (1, vec!["10.0.1.1".to_owned()])
    );
    // one that has passed since then takes over at once
    let mut rig = pair(Failback::Sticky);
    rig.pass(10_000);
    rig.probed("10.0.0.1", "-");
    rig.pass(500);
    rig.probed("10.0.1.1", "+");
    rig.probed("10.0.0.1", "-");
    assert_eq!(rig.state.said().tier, 1);
}

#[test]
fn the_isolated_keep_their_tier() {
    let mut rig = pair(Failback::Sticky);
    rig.gossips();
    rig.pass(10_000);
    rig.probed("10.0.0.1", "--");
    for _ in 0..2 {
        rig.confirmed("10.0.1.1", Err("no answer within 1s"));
    }
    let said = rig.state.said();
    assert_eq!((said.tier, said.epoch, said.reaches), (0, 0, false));
    assert_eq!(
        rig.state.standing().standing,
        switchyard_snapshot::Standing::Isolated
    );
    // what is reached first serves
    rig.confirmed("10.0.1.1", Ok(()));
    rig.confirmed("10.0.1.1", Ok(()));
    assert_eq!(rig.state.said().tier, 1);
}
