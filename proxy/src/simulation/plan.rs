//! Who there is in one history. In: chance. Out: proxies, the servers of their sites, and their chains, as snapshots have them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use switchyard_snapshot::{
    Chain, Dialect, DirectAddress, DirectHost, Failback, Group, GroupMember, GroupPlace, PeerListener,
    PeerPool, PeerProxy, Return, Schedule,
};

use crate::chain::fixture::{self, backend};
use crate::gossip::PeerId;
use crate::gossip::testing::{MS, address};
use crate::redirect::fixture::{chain_id, peer, pool_id};

/// How long a probe waits for an answer.
pub(super) const TIMEOUT: Duration = Duration::from_millis(300);
/// How long a client's attempt waits for one.
pub(super) const CONNECT: Duration = Duration::from_secs(1);
/// Guests that a proxy takes.
pub(super) const ROOM: u32 = 1_000;

/// A server of one site.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    pub(super) site: usize,
    pub(super) tier: u32,
    pub(super) address: SocketAddr,
}

/// Sites with a pool and a chain each, all of one group.
#[derive(Debug)]
pub(super) struct Plan {
    /// Of each proxy.
    pub(super) sites: Vec<usize>,
    /// Of each proxy.
    pub(super) ids: Vec<PeerId>,
    pub(super) servers: Vec<Server>,
    /// Of each site.
    pub(super) chains: Vec<Arc<Chain>>,
    pub(super) pools: Vec<PeerPool>,
}

impl Plan {
    /// So many proxies, in two sites or three.
    pub(super) fn new(proxies: usize, rng: &mut Rng) -> Self {
        let count = if proxies < 4 { 2 } else { rng.usize(2..=3) };
        let mut sites: Vec<usize> = (0..proxies)
            .map(|n| if n < count { n } else { rng.usize(0..count) })
            .collect();
        sites.sort_unstable();
        let number = |at: usize| 1 + sites[..at].iter().filter(|site| **site == sites[at]).count();
        let ids: Vec<PeerId> = (0..proxies).map(|at| peer(sites[at], number(at))).collect();
        let mut servers = Vec::new();
        for site in 0..count {
            for tier in 0..rng.u32(1..=2) {
                for n in 1..=rng.u8(1..=2) {
                    let address = ([10, 100 + site as u8, tier as u8, n], 80).into();
                    servers.push(Server { site, tier, address });
                }
            }
        }
        let listed = rng.bool();
        let pools = (0..count).map(|site| pool(site, &sites, &ids, listed)).collect();
        let rules = Rules::new(rng);
        let chains = (0..count).map(|site| Arc::new(rules.chain(site, count, &servers, rng)));
        Self {
            chains: chains.collect(),
            sites,
            ids,
            servers,
            pools,
        }
    }

    /// Which proxy listens at this address.
    pub(super) fn proxy_at(&self, ip: IpAddr) -> Option<usize> {
        (0..self.ids.len()).find(|at| address(*at).ip() == ip)
    }

    /// Which proxy this is.
    pub(super) fn proxy(&self, id: &PeerId) -> Option<usize> {
        self.ids.iter().position(|known| known == id)
    }

    /// The servers of a proxy's site.
    pub(super) fn servers_of(&self, proxy: usize) -> impl Iterator<Item = (usize, &Server)> {
        let site = self.sites[proxy];
        self.servers
            .iter()
            .enumerate()
            .filter(move |(_, server)| server.site == site)
    }

    /// The other proxies of a pool.
    pub(super) fn mates(&self, proxy: usize) -> impl Iterator<Item = usize> {
        let all = 0..self.sites.len();
        all.filter(move |other| *other != proxy && self.sites[*other] == self.sites[proxy])
    }

    pub(super) fn chain(&self, proxy: usize) -> &Arc<Chain> {
        &self.chains[self.sites[proxy]]
    }
}

/// What all chains of a history have in common, as those of a group do.
struct Rules {
    interval: Duration,
    dialects: Vec<Dialect>,
    schedule: Schedule,
    ranked: bool,
}

impl Rules {
    fn new(rng: &mut Rng) -> Self {
        let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let starts = serde_json::json!([{ "days": days, "at": "18:00" }]);
        let schedule = serde_json::json!({ "timeZone": "UTC", "starts": starts });
        Self {
            interval: MS * [400, 800][rng.usize(0..2)],
            dialects: if rng.u8(0..3) == 0 {
                vec![Dialect::Http]
            } else {
                Vec::new()
            },
            schedule: serde_json::from_value(schedule).unwrap(),
            ranked: rng.bool(),
        }
    }

    fn chain(&self, site: usize, sites: usize, servers: &[Server], rng: &mut Rng) -> Chain {
        let own = servers.iter().filter(|server| server.site == site);
        let backends = own.map(|server| {
            let ip = server.address.ip().to_string();
            backend(&format!("b-{ip}"), &ip, server.tier)
        });
        let mut chain = fixture::chain(backends.collect());
        chain.id = chain_id(site);
        chain.health.interval = self.interval;
        chain.health.timeout = TIMEOUT;
        chain.health.passive = None;
        chain.connect.timeout = CONNECT;
        chain.schedule = Some(self.schedule.clone());
        chain.failover.delay = Duration::from_secs(2);
        chain.failover.min_healthy = 1 + u32::from(rng.u8(0..4) == 0);
        let ways = [
            Failback::Sticky,
            Failback::Immediate,
            Failback::Delayed,
            Failback::Scheduled,
        ];
        chain.failover.failback = ways[rng.usize(0..4)];
        chain.redirect.dialects.clone_from(&self.dialects);
        chain.redirect.return_ = [Return::Scheduled, Return::WhenHealthy][rng.usize(0..2)];
        let member = |other: usize| GroupMember {
            chain: chain_id(other),
            priority: if self.ranked {
                i32::try_from(other).unwrap()
            } else {
                0
            },
            at: GroupPlace::Pool {
                pool: pool_id(other),
                listener: chain.listener.clone(),
                hostname: None,
            },
            suspended: false,
        };
        chain.group = Some(Group {
            name: "suite".into(),
            schedule: Some(self.schedule.clone()),
            members: (0..sites).map(member).collect(),
        });
        chain
    }
}

fn pool(site: usize, sites: &[usize], ids: &[PeerId], listed: bool) -> PeerPool {
    let of_site = (0..ids.len()).filter(|at| sites[*at] == site);
    let proxy = |at: usize| PeerProxy {
        name: ids[at].name.clone(),
        ip: address(at).ip(),
        node: String::new(),
        listed: Vec::new(),
        serves: None,
    };
    PeerPool {
        id: pool_id(site),
        site: format!("site-{site}"),
        gossip_port: 17_946,
        proxies: listed.then(|| of_site.map(proxy).collect()),
        listeners: vec![PeerListener {
            name: "sync".into(),
            direct_port: 18_443,
            access_host: Some(format!("sync-{site}.example.com")),
            access_port: 8_443,
        }],
        addresses: vec![DirectAddress {
            host: DirectHost::Ip,
            networks: Vec::new(),
            port: None,
        }],
    }
}
