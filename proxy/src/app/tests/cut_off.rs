//! Who hears nobody and reaches no server is not ready: others may serve its clients.

use std::net::IpAddr;
use std::time::Instant;

use switchyard_snapshot::{Gossip, GossipKey, PeerPool, PeerProxy, PoolId, Private};

use super::*;
use crate::app::cut_off::{CutOff, Serving};
use crate::gossip::Liveness;
use crate::redirect::fixture::{World, peer};

#[test]
fn only_who_can_do_nothing_while_others_might() {
    type Case = (Serving, usize, bool, fn(&mut Liveness), Option<&'static str>);
    let dead: fn(&mut Liveness) = |it| *it = Liveness::Dead;
    let none = "no chain has anywhere to send a client, and none of the pool's others is heard (1 known)";
    #[rustfmt::skip]
    let table: [Case; 7] = [
        // of its chains serve, proxies of each pool, second-hand, the others; cut off
        (Serving::No,   2, false, dead,                          Some(none)),
        (Serving::Some, 2, false, dead,                          None),
        (Serving::All,  2, false, dead,                          None),
        (Serving::No,   2, false, |_| {},                        None),
        (Serving::No,   2, false, |it| *it = Liveness::Suspect,  None),
        // it is the only one: nobody else could serve its clients
        (Serving::No,   1, false, dead,                          None),
        // it does not listen to the others itself
        (Serving::No,   2, true,  dead,                          None),
    ];
    for (serving, proxies, second_hand, fate, wanted) in table {
        let mut world = World::of(1, 3, proxies);
        for neighbour in world.neighbours.peers.values_mut() {
            fate(&mut neighbour.liveness);
        }
        world.topology.second_hand = second_hand;
        let hood = hood(&world);
        let mut cut_off = CutOff::default();
        let found = cut_off.look(&hood, serving, world.now);
        assert_eq!(found, wanted, "{serving:?} {proxies} {second_hand} {hood:?}");
    }
    // One proxy of any other pool is enough.
    let mut world = World::of(1, 3, 2);
    for (id, neighbour) in &mut world.neighbours.peers {
        if **id != peer(3, 2) {
            neighbour.liveness = Liveness::Dead;
        }
    }
    assert_eq!(
        CutOff::default().look(&hood(&world), Serving::No, world.now),
        None
    );
    assert_eq!(
        CutOff::default().look(&Hood::default(), Serving::No, world.now),
        None
    );
}

/// Whose network is back cannot serve by that alone: it takes a moment until it has found its servers, one chain after another,
/// or another is known to have some.
#[test]
fn whoever_was_cut_off_is_so_until_it_serves_or_its_network_has_been_back_for_a_while() {
    /// How many of its chains serve and whether it hears others, from which tenth of a second on.
    type Moment = ((Serving, bool), u64);
    let (gone, heard) = ((Serving::No, false), (Serving::No, true));
    let (some, some_heard) = ((Serving::Some, false), (Serving::Some, true));
    let (all, all_heard) = ((Serving::All, false), (Serving::All, true));
    #[rustfmt::skip]
    let table: [(&[Moment], bool); 18] = [
        // cut off after the last
        (&[(gone, 0), (heard, 10)], true),
        (&[(gone, 0), (heard, 10), (heard, 59)], true),
        (&[(gone, 0), (heard, 10), (heard, 60)], false),
        (&[(gone, 0), (heard, 10), (all_heard, 11)], false),
        (&[(gone, 0), (all, 10)], false),
        // clients of its other chains would be turned away
        (&[(gone, 0), (some, 10)], true),
        (&[(gone, 0), (heard, 10), (some_heard, 11)], true),
        (&[(gone, 0), (some, 10), (all, 11)], false),
        // a chain whose servers are dead keeps it away for a while only
        (&[(gone, 0), (some, 10), (some, 39)], true),
        (&[(gone, 0), (some, 10), (some, 40)], false),
        // the others' servers may be found right before the time to hear of somebody is over
        (&[(gone, 0), (heard, 10), (some, 59), (some, 88)], true),
        (&[(gone, 0), (heard, 10), (some, 59), (some, 89)], false),
        // heard, lost, heard again: time begins anew
        (&[(gone, 0), (heard, 10), (gone, 40), (heard, 50), (heard, 99)], true),
        (&[(gone, 0), (heard, 10), (gone, 40), (heard, 50), (heard, 100)], false),
        (&[(gone, 0), (some, 10), (gone, 30), (some, 50), (some, 79)], true),
        // it served meanwhile, and does no more: the others have been heard all the while
        (&[(gone, 0), (all, 10), (heard, 11)], false),
        (&[(heard, 0), (gone, 1)], true),
        // who still has some use was never cut off
        (&[(all, 0), (some, 1)], false),
    ];
    let start = Instant::now();
    for (story, wanted) in table {
        let mut cut_off = CutOff::default();
        let mut found = false;
        for ((serving, hears), tenths) in story {
            let mut world = World::of(1, 1, 2);
            if !hears {
                for neighbour in world.neighbours.peers.values_mut() {
                    neighbour.liveness = Liveness::Dead;
                }
            }
            let now = start + Duration::from_millis(100 * tenths);
            found = cut_off.look(&hood(&world), *serving, now).is_some();
        }
        assert_eq!(found, wanted, "{story:?}");
    }
}

#[test]
fn who_has_no_chain_turns_nobody_away() {
    #[rustfmt::skip]
    let table: [(&[bool], Serving); 6] = [
        (&[],             Serving::All),
        (&[true],         Serving::All),
        (&[false],        Serving::No),
        (&[true, true],   Serving::All),
        (&[true, false],  Serving::Some),
        (&[false, false], Serving::No),
    ];
    for (chains, wanted) in table {
        assert_eq!(Serving::of(chains.iter().copied()), wanted, "{chains:?}");
    }
}

fn hood(world: &World) -> Hood {
    Hood {
        topology: Some(Arc::new(world.topology.clone())),
        neighbours: Arc::new(world.neighbours.clone()),
        ..Hood::default()
    }
}

/// Proxies of one pool, at addresses of their own on loopback.
fn pool_of(members: &[(&str, IpAddr)], listeners: Vec<Listener>, chains: Vec<Chain>) -> Snapshot {
    let port = free_port();
    let mut snapshot = snapshot(listeners, chains);
    snapshot.pool.gossip = Some(Gossip {
        port,
        bind_address: None,
        cluster: String::new(),
        keys: vec![GossipKey {
            key: Private::new("07".repeat(32)),
        }],
        seeds: vec![],
    });
    let proxies = members.iter().map(|(name, ip)| PeerProxy {
        name: (*name).to_owned(),
        ip: *ip,
        node: String::new(),
        listed: vec![],
        serves: None,
    });
    snapshot.peers = vec![PeerPool {
        id: PoolId {
            namespace: snapshot.pool.namespace.clone(),
            name: snapshot.pool.name.clone(),
        },
        site: snapshot.pool.site.clone(),
        gossip_port: port,
        proxies: Some(proxies.collect()),
        listeners: vec![],
        addresses: vec![],
    }];
    snapshot
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_without_servers_is_ready_while_it_hears_another() {
    let resolver = Resolver::start();
    let servers = [Server::start("one").await, Server::start("two").await];
    let listeners = ["one", "two"].map(|name| Listener {
        addresses: vec![],
        ..listener(name)
    });
    let members = [
        ("pool-0", [127, 0, 0, 1].into()),
        ("pool-1", [127, 0, 0, 2].into()),
    ];
    let chains = listeners
        .iter()
        .zip(&servers)
        .map(|(listener, server)| chain(&listener.name, listener, vec![at("server", 0, server.address)]));
    let snapshot = pool_of(&members, listeners.to_vec(), chains.collect());
    let start = async |(name, ip): (&str, IpAddr)| {
        let config = ProxyConfig {
            name: name.to_owned(),
            bind: Some(ip),
            advertise: Some(ip),
            ..config(&resolver)
        };
        Proxy::start(config, snapshot.clone()).await.unwrap()
    };
    let (proxy, other) = (start(members[0]).await, start(members[1]).await);
    until(&proxy, "/table", |_, said| said["peers"][0]["state"] == "Alive").await;
    let mut addresses = vec![];
    for server in servers {
        addresses.push(server.kill().await);
    }
    until(&proxy, "/table", |_, said| {
        (0..2).all(|chain| said["chains"][chain]["standing"]["standing"] == "Dead")
    })
    .await;
    // So says the other one, too: the servers are dead, not the network.
    assert_eq!(request(&proxy, "GET", "/readyz").await.0, 200);
    within(other.stop()).await;
    let cut_off = |why: &'static str| {
        move |status, said: &Value| status == 503 && said["cutOff"].to_string().contains(why)
    };
    until(&proxy, "/readyz", cut_off("none of the pool's others is heard")).await;
    let (_, metrics) = request(&proxy, "GET", "/metrics").await;
    assert!(metrics.contains("switchyard_ready 0"), "{metrics}");
    // Clients of the chain that has no server yet would be turned away.
    let _one = Server::start_on(addresses[0], "one").await;
    until(&proxy, "/readyz", cut_off("not every chain has")).await;
    let _two = Server::start_on(addresses[1], "two").await;
    until(&proxy, "/readyz", |status, _| status == 200).await;
    within(proxy.stop()).await;
    resolver.stop().await;
}
