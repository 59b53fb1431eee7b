use std::time::Duration;

use super::*;
use crate::redirect::fixture::{World, chain_id, serving};

fn standings(world: &World) -> Vec<(String, Standing, String)> {
    let rows = world.table().chains.into_iter();
    rows.map(|row| (row.chain.name, row.standing, row.reason))
        .collect()
}

#[test]
fn a_chain_lives_where_some_proxy_that_lives_serves_it() {
    let mut world = World::of(1, 3, 2);
    world.says(2, 1, serving(0));
    world.says(3, 1, serving(0));
    world.neighbour(3, 2).liveness = Liveness::Dead;
    let expected = [
        ("suite-1", Standing::Dead, "all are out"),
        ("suite-2", Standing::Live, "dmz-2-2 serves it"),
        ("suite-3", Standing::Dead, "dmz-3-1: nobody serves there"),
    ];
    let found = standings(&world);
    let found: Vec<_> = found
        .iter()
        .map(|(a, b, c)| (a.as_str(), *b, c.as_str()))
        .collect();
    assert_eq!(found, expected);
    let living: Vec<_> = world.table().living().map(|row| row.chain.name.clone()).collect();
    assert_eq!(living, ["suite-2"]);
}

#[test]
fn why_nobody_is_sent_to_a_proxy() {
    let reason = |change: &dyn Fn(&mut World)| {
        let mut world = World::of(1, 2, 2);
        change(&mut world);
        let proxy = world.table().chains[1].proxies[0].clone();
        (proxy.takes, proxy.reason)
    };
    let none = |reason: &str| (None, reason.to_owned());
    assert_eq!(
        reason(&|_| {}),
        (Some(100), "it serves; room for 100 guests".to_owned())
    );
    assert_eq!(
        reason(&|w| w.said(2, 1).load.room = 7),
        (Some(7), "it serves; room for 7 guests".to_owned())
    );
    assert_eq!(
        reason(&|w| w.said(2, 1).load.guest_room = 0),
        none("it has no room for guests")
    );
    assert_eq!(
        reason(&|w| w.said(2, 1).leaving = true),
        none("it takes nobody new")
    );
    assert_eq!(
        reason(&|w| w.of_chain(2, 1).suspended = true),
        none("the chain is suspended")
    );
    assert_eq!(
        reason(&|w| w.chain.group.as_mut().unwrap().members[1].suspended = true),
        none("the chain is suspended")
    );
    assert_eq!(
        reason(&|w| w.of_chain(2, 1).detours = true),
        none("it sends its own clients elsewhere")
    );
    assert_eq!(
        reason(&|w| w.of_chain(2, 1).tiers[0].proven = 0),
        none("nobody serves there")
    );
    assert_eq!(
        reason(&|w| w.of_chain(2, 1).tier = 1),
        none("nobody serves there")
    );
    assert_eq!(
        reason(&|w| w.said(2, 1).chains.clear()),
        none("it says nothing of this chain")
    );
    assert_eq!(
        reason(&|w| w.neighbour(2, 1).liveness = Liveness::Dead),
        none("it does not answer")
    );
    assert_eq!(
        reason(&|w| w.neighbours.peers.clear()),
        none("it has not been heard of")
    );
}

#[test]
fn how_a_proxy_is_reached() {
    let world = World::of(1, 2, 2);
    let proxies = &world.table().chains[1].proxies;
    let ways = |at: usize| -> Vec<String> {
        let ways = proxies[at].direct.iter();
        ways.map(|way| format!("{}:{} {:?}", way.host, way.port, way.networks))
            .collect()
    };
    assert_eq!(
        ways(0),
        [
            "10.2.0.1:18443 [10.0.0.0/8]",
            "192.0.2.1:30443 []",
            "dmz-2-1.suite-2.example.com:443 []",
            "node-1.example.com:18443 []"
        ]
    );
    // no address has been listed for the second, and its node is not known
    assert_eq!(
        ways(1),
        [
            "10.2.0.2:18443 [10.0.0.0/8]",
            "dmz-2-2.suite-2.example.com:443 []"
        ]
    );
    assert_eq!(proxies[1].relay, Some("10.2.0.2:18443".parse().unwrap()));
}

#[test]
fn proxies_that_nobody_lists_are_those_that_are_heard() {
    let mut world = World::of(1, 2, 2);
    for pool in &mut world.topology.pools {
        pool.proxies = None;
    }
    let table = world.table();
    let names =
        |at: usize| -> Vec<&str> { table.chains[at].proxies.iter().map(|p| p.name.as_str()).collect() };
    assert_eq!(names(0), ["dmz-1-1", "dmz-1-2"]);
    assert_eq!(names(1), ["dmz-2-1", "dmz-2-2"]);
    assert!(table.chains[0].proxies[0].myself);
    assert_eq!(
        table.chains[1].proxies[0].relay,
        Some("10.2.0.1:18443".parse().unwrap())
    );
}

#[test]
fn a_chain_without_a_group_has_its_own_pool() {
    let mut world = World::of(1, 2, 2);
    world.chain.group = None;
    world.says(1, 2, serving(1));
    let table = world.table();
    assert_eq!((table.group.as_deref(), table.chains.len()), (None, 1));
    assert_eq!(table.chains[0].proxies[1].takes, Some(100));
}

#[test]
fn beyond_the_cluster_monitors_tell() {
    let mut world = World::of(1, 1, 1);
    let remote = GroupMember {
        chain: chain_id(9),
        priority: 9,
        at: GroupPlace::Remote {
            addresses: vec!["dr.example.com:18443".into(), "[2001:db8::1]:18443".into()],
            monitors: Vec::new(),
        },
        suspended: false,
    };
    world.chain.group.as_mut().unwrap().members.push(remote);
    let row = |world: &World| world.table().chains[1].clone();
    assert_eq!(row(&world).standing, Standing::Dead);
    assert_eq!(
        row(&world).proxies[0].reason,
        "its monitors have not answered yet"
    );
    world.remotes.insert(chain_id(9), Ok(()));
    assert_eq!(row(&world).standing, Standing::Live);
    assert_eq!(row(&world).proxies[1].direct[0].host, "2001:db8::1");
    world
        .remotes
        .insert(chain_id(9), Err("connection refused".into()));
    assert_eq!(row(&world).reason, "dr.example.com:18443: connection refused");
}

#[test]
fn it_reads_as_people_know_it() {
    let mut world = World::of(1, 2, 1);
    world.neighbour(2, 1).confirmed -= Duration::from_millis(1_240);
    let table = serde_json::to_value(world.table()).unwrap();
    let expected = serde_json::json!({
        "group": "suite",
        "chains": [
            {"chain": "edge/suite-1", "pool": "edge/dmz-1", "site": "site-1", "priority": 1, "own": true,
                "standing": "Dead", "reason": "all are out",
                "proxies": [{"name": "dmz-1-1", "myself": true, "serves": false, "relay": "10.1.0.1:18443",
                    "direct": ["10.1.0.1:18443 for 10.0.0.0/8", "192.0.2.1:30443", "dmz-1-1.suite-1.example.com:443",
                        "node-1.example.com:18443"],
                    "reason": "all are out"}]},
            {"chain": "edge/suite-2", "pool": "edge/dmz-2", "site": "site-2", "priority": 2, "own": false,
                "standing": "Live", "reason": "dmz-2-1 serves it",
                "proxies": [{"name": "dmz-2-1", "liveness": "Alive", "serves": true, "tier": 0, "sessions": 5, "room": 1000,
                    "guestRoom": 100, "evidenceAge": "1.2s", "relay": "10.2.0.1:18443",
                    "direct": ["10.2.0.1:18443 for 10.0.0.0/8", "192.0.2.1:30443", "dmz-2-1.suite-2.example.com:443",
                        "node-1.example.com:18443"],
                    "reason": "it serves; room for 100 guests"}]}
        ]
    });
    assert_eq!(table, expected);
}

#[test]
fn the_operators_word_has_no_age() {
    let mut world = World::of(1, 2, 2);
    world.neighbour(2, 1).confirmed = world.now.checked_sub(Duration::from_secs(50)).unwrap();
    world.neighbour(2, 2).liveness = Liveness::Suspect;
    let sure = |world: &World| -> Vec<bool> {
        let table = world.table();
        table.chains[1].proxies.iter().map(Proxy::is_sure).collect()
    };
    assert_eq!(sure(&world), [false, false]);
    world.topology.second_hand = true;
    assert_eq!(sure(&world), [true, false]);
    let table = world.table();
    let one = &table.chains[1].proxies[0];
    assert_eq!(one.reason, "it serves, says the operator");
    assert_eq!(
        (one.room, one.sessions, one.evidence_age.is_none()),
        (None, None, true)
    );
}
