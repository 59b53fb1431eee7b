use std::cell::Cell;
use std::time::Duration;

use super::*;
use crate::gossip::testing::{chain, key, peer_id, said};
use crate::gossip::{Liveness, Refused};
use crate::resolve::SystemFiles;
use crate::testing::eventually;
use crate::testing::rig::free_port;

const SECOND: Duration = Duration::from_secs(1);

/// A proxy that gossips on the loopback.
struct Proxy {
    gossip: Gossip,
    tasks: Tasks,
    known: watch::Receiver<Arc<Neighbours>>,
}

impl Proxy {
    fn start(node: usize, port: u16, seeds: &[&Self]) -> Self {
        let seeds = seeds.iter().map(|seed| seed.gossip.address().to_string());
        Self::with(node, port, seeds.collect(), Resolver::start())
    }

    fn with(node: usize, port: u16, seeds: Vec<String>, resolver: Resolver) -> Self {
        let tasks = Tasks::new();
        let config = GossipConfig {
            id: peer_id(node),
            cluster: String::new(),
            bind: ([127, 0, 0, 1], port).into(),
            advertise: None,
            keys: vec![key('a')],
            seeds,
            resolver,
        };
        let gossip = Gossip::start(config, &tasks).unwrap();
        gossip.say(said(node as u64));
        Self {
            known: gossip.neighbours(),
            gossip,
            tasks,
        }
    }

    fn sees(&self, node: usize) -> Option<Liveness> {
        self.known
            .borrow()
            .peers
            .get(&peer_id(node))
            .map(|known| known.liveness)
    }

    fn epoch_of(&self, node: usize) -> Option<u64> {
        let known = self.known.borrow();
        Some(
            known
                .peers
                .get(&peer_id(node))?
                .said
                .chains
                .get(&chain("msuite"))?
                .epoch,
        )
    }

    async fn knows(&self, others: &[usize]) {
        let all = || {
            let alive =
                |&node: &usize| self.sees(node) == Some(Liveness::Alive) && self.epoch_of(node).is_some();
            others.iter().all(alive)
        };
        eventually("everybody is known", 5 * SECOND, all).await;
    }

    /// As if killed: nobody is told.
    async fn kill(self) -> SocketAddr {
        let address = self.gossip.address();
        let Self { gossip, tasks, .. } = self;
        // whatever it says from now on cannot be opened by anybody
        gossip.reconfigure(&[key('f')], &[]).unwrap();
        let refused = Arc::clone(&gossip.counters);
        eventually("its keys are others", 5 * SECOND, || {
            refused.refused(Refused::NoKey) > 0
        })
        .await;
        tasks.stop().await;
        address
    }
}

/// Waits until `check` holds, and says how much of that time this runtime was awake; panics after `limit` of it. The proxies run in
/// it too, and rightly count no time in which they could have heard nobody. What the clock on the wall shows, where nobody
/// sleeps, is proven in `core::tests`.
async fn awake(what: &str, limit: Duration, mut check: impl FnMut() -> bool) -> Duration {
    const LONGEST_LOOK: Duration = Duration::from_millis(50);
    let (mut awake, mut looked) = (Duration::ZERO, Instant::now());
    while !check() {
        assert!(awake < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = Instant::now();
        awake += now.duration_since(looked).min(LONGEST_LOOK);
        looked = now;
    }
    awake
}

#[tokio::test]
async fn three_proxies_hear_each_other_and_miss_who_dies() {
    let first = Proxy::start(0, 0, &[]);
    let second = Proxy::start(1, 0, &[&first]);
    // It dies, and until it is back nobody else may have its port.
    let third = Proxy::start(2, free_port(), &[&first]);
    for (proxy, others) in [(&first, [1, 2]), (&second, [0, 2]), (&third, [0, 1])] {
        proxy.knows(&others).await;
    }
    second.gossip.say(said(77));
    eventually("news", 5 * SECOND, || third.epoch_of(1) == Some(77)).await;
    let address = third.kill().await;
    let suspected = awake("it is missed", 2 * SECOND, || {
        first.sees(2) == Some(Liveness::Suspect)
    })
    .await;
    assert!(suspected <= SECOND, "{suspected:?}");
    let buried = awake("it is dead", 6 * SECOND, || {
        assert_ne!(first.sees(1), Some(Liveness::Dead));
        first.sees(2) == Some(Liveness::Dead) && second.sees(2) == Some(Liveness::Dead)
    });
    let buried = suspected + buried.await;
    assert!(buried <= 5 * SECOND, "{buried:?}");
    // after a stall it may be in doubt, until it is heard
    eventually("who lives is known to", 5 * SECOND, || {
        first.sees(1) == Some(Liveness::Alive)
    })
    .await;
    // it comes back where it was, without a seed: it is still asked for
    let third = Proxy::start(2, address.port(), &[]);
    third.knows(&[0, 1]).await;
    first.knows(&[1, 2]).await;
    let said_so = Cell::new(false);
    let leaving = async {
        third.gossip.leave().await;
        said_so.set(true);
    };
    let heard = awake("it has left", 5 * SECOND, || {
        said_so.get() && first.sees(2) == Some(Liveness::Dead)
    });
    let ((), took) = tokio::join!(leaving, heard);
    assert!(took < 500 * crate::gossip::testing::MS, "{took:?}");
    for proxy in [first, second, third] {
        proxy.tasks.stop().await;
    }
}

#[tokio::test]
async fn keys_rotate_while_all_know_all() {
    let first = Proxy::start(0, 0, &[]);
    let second = Proxy::start(1, 0, &[&first]);
    first.knows(&[1]).await;
    second.knows(&[0]).await;
    for keys in [&['a', 'b'][..], &['b', 'a'], &['b']] {
        let keys: Vec<_> = keys.iter().copied().map(key).collect();
        for proxy in [&first, &second] {
            proxy.gossip.reconfigure(&keys, &[]).unwrap();
            let known = proxy
                .gossip
                .counters()
                .datagrams_in
                .load(std::sync::atomic::Ordering::Relaxed);
            let heard = || {
                proxy
                    .gossip
                    .counters()
                    .datagrams_in
                    .load(std::sync::atomic::Ordering::Relaxed)
                    > known + 4
            };
            eventually("a few rounds", 5 * SECOND, || {
                assert_eq!(
                    (first.sees(1), second.sees(0)),
                    (Some(Liveness::Alive), Some(Liveness::Alive))
                );
                heard()
            })
            .await;
        }
    }
    assert_eq!(first.gossip.counters().refused(Refused::NoKey), 0);
    assert_eq!(first.gossip.reconfigure(&[], &[]), Err(KeyError::None));
    for proxy in [first, second] {
        proxy.tasks.stop().await;
    }
}

#[tokio::test]
async fn garbage_is_counted_and_changes_nothing() {
    let first = Proxy::start(0, 0, &[]);
    let second = Proxy::start(1, 0, &[&first]);
    first.knows(&[1]).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let counters = first.gossip.counters();
    for length in [0, 1, 52, 53, 300, 1_400, 1_401, 9_000] {
        let bytes: Vec<u8> = (0..length)
            .map(|n| if n == 0 { 1 } else { fastrand::u8(..) })
            .collect();
        stranger.send_to(&bytes, first.gossip.address()).await.unwrap();
    }
    let expected = [
        (Refused::Malformed, 3),
        (Refused::NoKey, 3),
        (Refused::TooLong, 2),
    ];
    eventually("all are counted", 5 * SECOND, || {
        expected
            .iter()
            .all(|&(why, times)| counters.refused(why) == times)
    })
    .await;
    let nothing = tokio::time::timeout(300 * crate::gossip::testing::MS, stranger.readable()).await;
    assert!(nothing.is_err(), "a stranger gets no answer");
    assert_eq!(first.sees(1), Some(Liveness::Alive));
    for proxy in [first, second] {
        proxy.tasks.stop().await;
    }
}

#[tokio::test]
async fn seeds_are_names_that_may_come_to_mean_somebody_else() {
    let files = tempfile::tempdir().unwrap();
    let hosts = files.path().join("hosts");
    std::fs::write(&hosts, "192.0.2.1 dmz-a.test\n").unwrap();
    let first = Proxy::start(0, 0, &[]);
    let port = first.gossip.address().port();
    let resolver = Resolver::with_system_files(SystemFiles {
        hosts: hosts.clone(),
        ..SystemFiles::default()
    });
    let second = Proxy::with(1, 0, vec![format!("dmz-a.test:{port}")], resolver.clone());
    eventually("the name was asked for", 5 * SECOND, || {
        resolver.freshness().unanswered <= 1
    })
    .await;
    assert_eq!(second.sees(0), None);
    std::fs::write(&hosts, "127.0.0.1 dmz-a.test\n").unwrap();
    let took = awake("it is found", 15 * SECOND, || {
        second.sees(0) == Some(Liveness::Alive)
    })
    .await;
    assert!(took < 8 * SECOND, "{took:?}");
    for proxy in [first, second] {
        proxy.tasks.stop().await;
    }
    resolver.stop().await;
}

#[tokio::test]
async fn a_name_that_nobody_would_read_is_refused() {
    let config = GossipConfig {
        id: peer_id(1),
        cluster: "the west".into(),
        bind: ([127, 0, 0, 1], 0).into(),
        advertise: None,
        keys: vec![key('a')],
        seeds: Vec::new(),
        resolver: Resolver::start(),
    };
    let error = Gossip::start(config, &Tasks::new()).unwrap_err().to_string();
    assert!(error.contains("the west/edge/pool-0/pool-0-1"), "{error}");
}

#[tokio::test]
async fn a_port_that_somebody_has_is_named() {
    let first = Proxy::start(0, 0, &[]);
    let tasks = Tasks::new();
    let config = GossipConfig {
        id: peer_id(1),
        cluster: String::new(),
        bind: first.gossip.address(),
        advertise: None,
        keys: vec![key('a')],
        seeds: Vec::new(),
        resolver: Resolver::start(),
    };
    let error = Gossip::start(config, &tasks).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&first.gossip.address().to_string()) && text.contains("peers.port"),
        "{text}"
    );
    first.tasks.stop().await;
}
