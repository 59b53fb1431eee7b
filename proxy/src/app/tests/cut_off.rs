//! Who hears nobody and reaches no server is not ready: others may serve its clients.

use std::net::IpAddr;
use std::time::Instant;

use switchyard_snapshot::{Gossip, GossipKey, PeerPool, PeerProxy, PoolId, Private};

use super::*;
use crate::app::cut_off::CutOff;
use crate::gossip::Liveness;
use crate::redirect::fixture::{World, peer};

#[test]
fn only_who_can_do_nothing_while_others_might() {
    type Case = (bool, usize, bool, fn(&mut Liveness), Option<&'static str>);
    let dead: fn(&mut Liveness) = |it| *it = Liveness::Dead;
    let none = "no chain has anywhere to send a client, and none of the pool's others is heard (1 known)";
    #[rustfmt::skip]
    let table: [Case; 6] = [
        // serves, proxies of each pool, second-hand, the others; cut off
        (false, 2, false, dead,                          Some(none)),
        (true,  2, false, dead,                          None),
        (false, 2, false, |_| {},                        None),
        (false, 2, false, |it| *it = Liveness::Suspect,  None),
        // it is the only one: nobody else could serve its clients
        (false, 1, false, dead,                          None),
        // it does not listen to the others itself
        (false, 2, true,  dead,                          None),
    ];
    for (serves, proxies, second_hand, fate, wanted) in table {
        let mut world = World::of(1, 3, proxies);
        for neighbour in world.neighbours.peers.values_mut() {
            fate(&mut neighbour.liveness);
        }
        world.topology.second_hand = second_hand;
        let hood = hood(&world);
        let mut cut_off = CutOff::default();
        let found = cut_off.look(&hood, serves, world.now);
        assert_eq!(found, wanted, "{serves} {proxies} {second_hand} {hood:?}");
    }
    // One proxy of any other pool is enough.
    let mut world = World::of(1, 3, 2);
    for (id, neighbour) in &mut world.neighbours.peers {
        if **id != peer(3, 2) {
            neighbour.liveness = Liveness::Dead;
        }
    }
    assert_eq!(CutOff::default().look(&hood(&world), false, world.now), None);
    assert_eq!(CutOff::default().look(&Hood::default(), false, world.now), None);
}

/// Who hears another again cannot serve by that alone: it takes a moment until one of them is known to.
#[test]
fn whoever_was_cut_off_is_so_until_it_serves_or_the_others_have_been_heard_for_a_while() {
    let (alive, dead, serves) = ("alive", "dead", "serves");
    #[rustfmt::skip]
    let table: [(&[(&str, u64)], bool); 9] = [
        // what is so from which tenth of a second on; cut off after the last
        (&[(dead, 0), (alive, 10)], true),
        (&[(dead, 0), (alive, 10), (alive, 59)], true),
        (&[(dead, 0), (alive, 10), (alive, 60)], false),
        (&[(dead, 0), (alive, 10), (serves, 11)], false),
        (&[(dead, 0), (serves, 10)], false),
        // heard, lost, heard again: time begins anew
        (&[(dead, 0), (alive, 10), (dead, 40), (alive, 50), (alive, 99)], true),
        (&[(dead, 0), (alive, 10), (dead, 40), (alive, 50), (alive, 100)], false),
        // it served meanwhile, and does no more: the others have been heard all the while
        (&[(dead, 0), (serves, 10), (alive, 11)], false),
        (&[(alive, 0), (dead, 1)], true),
    ];
    let start = Instant::now();
    for (story, wanted) in table {
        let mut cut_off = CutOff::default();
        let mut found = false;
        for (what, tenths) in story {
            let mut world = World::of(1, 1, 2);
            if *what == dead {
                for neighbour in world.neighbours.peers.values_mut() {
                    neighbour.liveness = Liveness::Dead;
                }
            }
            let now = start + Duration::from_millis(100 * tenths);
            found = cut_off.look(&hood(&world), *what == serves, now).is_some();
        }
        assert_eq!(found, wanted, "{story:?}");
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
    let server = Server::start("server").await;
    let mut sync = listener("sync");
    sync.addresses = vec![];
    let members = [
        ("pool-0", [127, 0, 0, 1].into()),
        ("pool-1", [127, 0, 0, 2].into()),
    ];
    let chains = vec![chain("c", &sync, vec![at("server", 0, server.address)])];
    let snapshot = pool_of(&members, vec![sync], chains);
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
    let address = server.kill().await;
    until(&proxy, "/table", |_, said| {
        said["chains"][0]["standing"]["standing"] == "Dead"
    })
    .await;
    // So says the other one, too: the servers are dead, not the network.
    assert_eq!(request(&proxy, "GET", "/readyz").await.0, 200);
    within(other.stop()).await;
    let said = until(&proxy, "/readyz", |status, _| status == 503).await;
    assert!(
        said["cutOff"]
            .as_str()
            .unwrap()
            .contains("none of the pool's others is heard"),
        "{said}"
    );
    let (_, metrics) = request(&proxy, "GET", "/metrics").await;
    assert!(metrics.contains("switchyard_ready 0"), "{metrics}");
    let _server = Server::start_on(address, "server").await;
    until(&proxy, "/readyz", |status, _| status == 200).await;
    within(proxy.stop()).await;
    resolver.stop().await;
}
