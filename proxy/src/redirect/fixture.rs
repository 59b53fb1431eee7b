//! A group of three sites, one pool of two proxies each, as one of those proxies sees it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_snapshot::{
    Chain, ChainId, DirectAddress, DirectHost, Group, GroupMember, GroupPlace, ListedAddress, PeerListener,
    PeerPool, PeerProxy, PoolId, Standing, StandingReport,
};

use super::Topology;
use super::table::{Remotes, Sources, Table};
use crate::chain::fixture::{self, backend};
use crate::gossip::{ChainSaid, Liveness, Load, Neighbour, Neighbours, PeerId, Said, TierSaid};

pub fn chain_id(site: usize) -> ChainId {
    ChainId {
        namespace: "edge".into(),
        name: format!("suite-{site}"),
    }
}

pub fn pool_id(site: usize) -> PoolId {
    PoolId {
        namespace: "edge".into(),
        name: format!("dmz-{site}"),
    }
}

/// Proxy `n` of a site.
pub fn peer(site: usize, n: usize) -> PeerId {
    PeerId {
        pool: pool_id(site),
        name: format!("dmz-{site}-{n}"),
    }
}

pub fn ip(site: usize, n: usize) -> IpAddr {
    IpAddr::from([10, site as u8, 0, n as u8])
}

fn pool(site: usize, proxies: usize) -> PeerPool {
    let proxy = |n| PeerProxy {
        name: peer(site, n).name,
        ip: ip(site, n),
        node: if n == 1 { "node-1".into() } else { String::new() },
        listed: vec![(n == 1).then(|| ListedAddress {
            host: "192.0.2.1".into(),
            ports: vec![("sync".into(), 30_443)],
        })],
        serves: None,
    };
    let address = |host, networks: &str, port| DirectAddress {
        host,
        networks: networks
            .split_whitespace()
            .map(|net| net.parse().unwrap())
            .collect(),
        port,
    };
    PeerPool {
        id: pool_id(site),
        site: format!("site-{site}"),
        gossip_port: 17_946,
        proxies: Some((1..=proxies).map(proxy).collect()),
        listeners: vec![PeerListener {
            name: "sync".into(),
            direct_port: 18_443,
            access_host: Some(format!("sync-{site}.example.com")),
            access_port: 8_443,
        }],
        addresses: vec![
            address(DirectHost::Ip, "10.0.0.0/8", None),
            address(DirectHost::Listed, "", None),
            address(
                DirectHost::Template("{proxy}.{chain}.Example.com".into()),
                "",
                Some(443),
            ),
            address(DirectHost::Template("{node}.example.com".into()), "", None),
        ],
    }
}

/// What a proxy says that serves with so many endpoints, all proven.
pub fn serving(up: u32) -> ChainSaid {
    ChainSaid {
        tiers: vec![TierSaid {
            tier: 0,
            serving: up,
            proven: up,
            pending: false,
        }],
        reaches: true,
        ..ChainSaid::default()
    }
}

pub struct World {
    pub chain: Chain,
    pub own: StandingReport,
    pub topology: Topology,
    pub neighbours: Neighbours,
    pub remotes: Remotes,
    pub now: Instant,
}

impl World {
    /// What proxy 1 of `me` sees: all live, all proxies of the other sites serve.
    pub fn of(me: usize, sites: usize, proxies: usize) -> Self {
        let now = Instant::now() + Duration::from_hours(1);
        let mut chain = fixture::chain(vec![backend("primary", "10.0.0.1", 0)]);
        chain.id = chain_id(me);
        let member = |site| GroupMember {
            chain: chain_id(site),
            priority: i32::try_from(site).unwrap(),
            at: GroupPlace::Pool {
                pool: pool_id(site),
                listener: "sync".into(),
                hostname: None,
            },
            suspended: false,
        };
        chain.group = Some(Group {
            name: "suite".into(),
            schedule: None,
            members: (1..=sites).map(member).collect(),
        });
        let mut world = Self {
            chain,
            own: StandingReport {
                standing: Standing::Dead,
                reason: "all are out".into(),
            },
            topology: Topology {
                me: peer(me, 1),
                since: now.checked_sub(Duration::from_mins(1)).unwrap(),
                pools: (1..=sites).map(|site| pool(site, proxies)).collect(),
                second_hand: false,
            },
            neighbours: Neighbours::default(),
            remotes: Remotes::default(),
            now,
        };
        for site in 1..=sites {
            for n in 1..=proxies {
                if peer(site, n) != world.topology.me {
                    world.says(site, n, serving(u32::from(site != me)));
                }
            }
        }
        world
    }

    /// A proxy says this of its site's chain, alive, now.
    pub fn says(&mut self, site: usize, n: usize, said: ChainSaid) {
        let neighbour = Neighbour {
            ip: ip(site, n),
            liveness: Liveness::Alive,
            said: Arc::new(Said {
                leaving: false,
                load: Load {
                    sessions: 5,
                    room: 1_000,
                    guest_room: 100,
                },
                chains: [(chain_id(site), said)].into(),
            }),
            confirmed: self.now,
        };
        self.neighbours.peers.insert(Arc::new(peer(site, n)), neighbour);
    }

    pub fn neighbour(&mut self, site: usize, n: usize) -> &mut Neighbour {
        self.neighbours.peers.get_mut(&peer(site, n)).unwrap()
    }

    /// What a proxy says of itself.
    pub fn said(&mut self, site: usize, n: usize) -> &mut Said {
        Arc::make_mut(&mut self.neighbour(site, n).said)
    }

    /// What a proxy says of its chain.
    pub fn of_chain(&mut self, site: usize, n: usize) -> &mut ChainSaid {
        self.said(site, n).chains.get_mut(&chain_id(site)).unwrap()
    }

    pub fn table(&self) -> Table {
        Table::of(&Sources {
            chain: &self.chain,
            own: &self.own,
            topology: &self.topology,
            neighbours: &self.neighbours,
            remotes: &self.remotes,
            now: self.now,
        })
    }
}
