//! The redirect table of a chain's group: which chains live, and how their proxies are reached, in order. In: the chain,
//! where this proxy stands, what others say. Out: one [`Row`] per chain, for the detour and for people.

mod show;

pub use show::Age;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::Serialize;
use switchyard_snapshot::{
    Chain, ChainId, DirectHost, GroupMember, GroupPlace, PeerListener, PeerPool, Standing, StandingReport,
};

use super::Topology;
use crate::chain::view::Direct;
use crate::failover::council;
use crate::gossip::{ChainSaid, Liveness, Neighbour, Neighbours, PeerId};
use crate::route::direct_name;

/// What another pool's proxy said is evidence for so long. They confirm less often to each other than pool-mates do.
pub const EVIDENCE: Duration = Duration::from_secs(10);

/// What monitors say of chains beyond this cluster.
pub type Remotes = BTreeMap<ChainId, Result<(), String>>;

/// What a table is made from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// Whose group it is.
    pub chain: &'a Chain,
    /// How it stands here.
    pub own: &'a StandingReport,
    /// Where this proxy stands.
    pub topology: &'a Topology,
    /// What others say.
    pub neighbours: &'a Neighbours,
    /// Chains beyond this cluster.
    pub remotes: &'a Remotes,
    /// The moment.
    pub now: Instant,
}

/// A group, as one proxy sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// Its name; none: the chain is in none, and only its own pool's proxies stand in for each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// In the order of the group.
    pub chains: Vec<Row>,
}

/// One chain of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Which.
    #[serde(serialize_with = "show::text")]
    pub chain: ChainId,
    /// The pool its clients come to; none: beyond this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Where that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Lower goes first.
    pub priority: i32,
    /// The chain whose table this is.
    pub own: bool,
    /// In one word. Of other chains: whether some proxy of the pool that lives serves it now.
    pub standing: Standing,
    /// In words.
    pub reason: String,
    /// Its proxies, sorted by name, or the addresses beyond this cluster.
    pub proxies: Vec<Proxy>,
}

/// One proxy of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// Which; none: an address beyond this cluster.
    #[serde(skip)]
    pub peer: Option<PeerId>,
    /// Its name, or the address.
    pub name: String,
    /// The proxy that shows this.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub myself: bool,
    /// Whether it lives; none: it has not been heard of, or is not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Liveness>,
    /// It serves the chain now, by its own word.
    pub serves: bool,
    /// The tier that serves there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<u32>,
    /// Established client connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// How many more it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<u32>,
    /// Guests that it may still take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_room: Option<u32>,
    /// How long ago it last stood by its words; none at second hand: the operator says so as soon as it hears otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_age: Option<Age>,
    /// Its direct port, as other proxies reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<SocketAddr>,
    /// How clients reach it.
    #[serde(serialize_with = "show::ways", skip_serializing_if = "Vec::is_empty")]
    pub direct: Vec<Direct>,
    /// Guests may be sent there, so many more; none: nobody is sent there.
    #[serde(skip)]
    pub takes: Option<u32>,
    /// Why nobody is sent there, or what speaks for it, in words.
    pub reason: String,
}

impl Proxy {
    /// It lives by fresh evidence: others are used only where there is no such one.
    pub fn is_sure(&self) -> bool {
        self.peer.is_none()
            || (self.liveness == Some(Liveness::Alive)
                && self.evidence_age.is_none_or(|age| age.0 <= EVIDENCE))
    }
}

impl Table {
    /// The table of a chain.
    pub fn of(sources: &Sources<'_>) -> Self {
        let chain = sources.chain;
        let alone = chain.group.is_none().then(|| GroupMember {
            chain: chain.id.clone(),
            priority: 0,
            at: GroupPlace::Pool {
                pool: sources.topology.me.pool.clone(),
                listener: chain.listener.clone(),
                hostname: None,
            },
            suspended: chain.suspend,
        });
        let members = chain.group.iter().flat_map(|group| &group.members).chain(&alone);
        Self {
            group: chain.group.as_ref().map(|group| group.name.clone()),
            chains: members.map(|member| sources.row(member)).collect(),
        }
    }

    /// The chains of the group, the own one left out, that live now.
    pub fn living(&self) -> impl Iterator<Item = &Row> {
        let lives = |row: &&Row| !row.own && matches!(row.standing, Standing::Live | Standing::Degraded);
        self.chains.iter().filter(lives)
    }
}

impl Sources<'_> {
    fn row(&self, member: &GroupMember) -> Row {
        let own = member.chain == self.chain.id;
        let (pool, site, proxies) = match &member.at {
            GroupPlace::Pool { pool, listener, .. } => {
                let known = self.topology.pool(pool);
                let proxies = known.map(|known| self.proxies(known, listener, member));
                let site = known.map(|known| known.site.clone());
                (Some(pool.to_string()), site, proxies.unwrap_or_default())
            }
            GroupPlace::Remote { addresses, .. } => (None, None, self.remote(&member.chain, addresses)),
        };
        let (standing, reason) = if own {
            (self.own.standing, self.own.reason.clone())
        } else if member.suspended {
            (Standing::Suspended, "the user wants it so".to_owned())
        } else {
            standing_of(&proxies)
        };
        Row {
            chain: member.chain.clone(),
            pool,
            site,
            priority: member.priority,
            own,
            standing,
            reason,
            proxies,
        }
    }

    fn proxies(&self, pool: &PeerPool, listener: &str, member: &GroupMember) -> Vec<Proxy> {
        let listener = pool.listeners.iter().find(|known| known.name == listener);
        let place = |name: &str| Place {
            pool,
            listener,
            name: name.to_owned(),
        };
        if let Some(listed) = &pool.proxies {
            let proxies = listed.iter().enumerate();
            return proxies
                .map(|(at, proxy)| self.proxy(&place(&proxy.name), Some(at), proxy.ip, member))
                .collect();
        }
        let heard = self.neighbours.peers.iter().filter(|(id, _)| id.pool == pool.id);
        let heard = heard.map(|(id, neighbour)| self.proxy(&place(&id.name), None, neighbour.ip, member));
        let me = &self.topology.me;
        let myself = (me.pool == pool.id).then(|| self.myself(me.clone()));
        let mut all: Vec<Proxy> = heard.chain(myself).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    fn myself(&self, peer: PeerId) -> Proxy {
        Proxy {
            // nobody is sent to where he comes from
            takes: None,
            name: peer.name.clone(),
            peer: Some(peer),
            myself: true,
            serves: matches!(self.own.standing, Standing::Live | Standing::Degraded),
            reason: self.own.reason.clone(),
            ..Proxy::default()
        }
    }

    fn proxy(&self, place: &Place<'_>, listed: Option<usize>, ip: IpAddr, member: &GroupMember) -> Proxy {
        let peer = PeerId {
            pool: place.pool.id.clone(),
            name: place.name.clone(),
        };
        let relay = place
            .listener
            .map(|listener| SocketAddr::new(ip, listener.direct_port));
        let proxy = Proxy {
            name: place.name.clone(),
            relay,
            direct: place.ways(listed, ip, &member.chain),
            ..Proxy::default()
        };
        if peer == self.topology.me {
            return Proxy {
                relay: proxy.relay,
                direct: proxy.direct,
                ..self.myself(peer)
            };
        }
        let Some(neighbour) = self.neighbours.peers.get(&peer) else {
            return Proxy {
                reason: "it has not been heard of".to_owned(),
                peer: Some(peer),
                ..proxy
            };
        };
        let said = neighbour.said.chains.get(&member.chain);
        let verdict = takes(neighbour, said, member.suspended);
        let proxy = Proxy {
            peer: Some(peer),
            liveness: Some(neighbour.liveness),
            serves: serves(neighbour, said, member.suspended).is_ok(),
            takes: verdict.as_ref().ok().copied().filter(|_| relay.is_some()),
            ..proxy
        };
        if self.topology.second_hand {
            return Proxy {
                reason: verdict.map_or_else(str::to_owned, |_| "it serves, says the operator".to_owned()),
                ..proxy
            };
        }
        let load = neighbour.said.load;
        Proxy {
            tier: said.map(|said| said.tier),
            sessions: Some(load.sessions),
            room: Some(load.room),
            guest_room: Some(load.guest_room),
            evidence_age: Some(Age(self.now.saturating_duration_since(neighbour.confirmed))),
            reason: verdict.map_or_else(str::to_owned, |room| format!("it serves; room for {room} guests")),
            ..proxy
        }
    }

    fn remote(&self, chain: &ChainId, addresses: &[String]) -> Vec<Proxy> {
        let passes = self.remotes.get(chain);
        let proxy = |address: &String| {
            let (host, port) = address.rsplit_once(':')?;
            let serves = matches!(passes, Some(Ok(())));
            Some(Proxy {
                name: address.clone(),
                serves,
                direct: vec![Direct {
                    host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
                    port: port.parse().ok()?,
                    networks: Vec::new(),
                }],
                takes: serves.then_some(1),
                reason: match passes {
                    Some(Ok(())) => "its monitors pass".to_owned(),
                    Some(Err(why)) => why.clone(),
                    None => "its monitors have not answered yet".to_owned(),
                },
                ..Proxy::default()
            })
        };
        addresses.iter().filter_map(proxy).collect()
    }
}

/// How a chain stands whose proxies these are.
fn standing_of(proxies: &[Proxy]) -> (Standing, String) {
    let lives = |proxy: &&Proxy| proxy.serves && proxy.liveness != Some(Liveness::Suspect);
    if let Some(proxy) = proxies.iter().find(lives) {
        let degraded = proxies
            .iter()
            .filter(lives)
            .all(|proxy| proxy.tier.is_some_and(|t| t > 0));
        let standing = if degraded {
            Standing::Degraded
        } else {
            Standing::Live
        };
        return (standing, format!("{} serves it", proxy.name));
    }
    let heard = |proxy: &&Proxy| matches!(proxy.liveness, Some(Liveness::Alive | Liveness::Suspect));
    match proxies.iter().find(heard).or(proxies.first()) {
        Some(proxy) if heard(&proxy) || proxy.peer.is_none() => {
            (Standing::Dead, format!("{}: {}", proxy.name, proxy.reason))
        }
        _ => (Standing::Unsure, "none of its proxies is heard".to_owned()),
    }
}

/// Whether a proxy serves a chain, by its own word; else why not.
fn serves(neighbour: &Neighbour, said: Option<&ChainSaid>, suspended: bool) -> Result<(), &'static str> {
    if neighbour.liveness == Liveness::Dead {
        return Err("it does not answer");
    }
    let said = said.ok_or("it says nothing of this chain")?;
    if suspended || said.suspended {
        return Err("the chain is suspended");
    }
    if said.detours {
        return Err("it sends its own clients elsewhere");
    }
    if council::proves(said) {
        Ok(())
    } else {
        Err("nobody serves there")
    }
}

/// How many guests a proxy takes; else why it takes none.
fn takes(neighbour: &Neighbour, said: Option<&ChainSaid>, suspended: bool) -> Result<u32, &'static str> {
    serves(neighbour, said, suspended)?;
    if neighbour.said.leaving {
        return Err("it takes nobody new");
    }
    match neighbour.said.load.room.min(neighbour.said.load.guest_room) {
        0 => Err("it has no room for guests"),
        room => Ok(room),
    }
}

/// A proxy, and the listener that guests come to.
struct Place<'a> {
    pool: &'a PeerPool,
    listener: Option<&'a PeerListener>,
    name: String,
}

impl Place<'_> {
    /// How clients reach it, in the order of the pool's addresses. `listed`: which of the pool's proxies it is.
    fn ways(&self, listed: Option<usize>, ip: IpAddr, chain: &ChainId) -> Vec<Direct> {
        let Some(listener) = self.listener else {
            return Vec::new();
        };
        let listed = listed.and_then(|at| self.pool.proxies.as_ref()?.get(at));
        let node = listed.map_or("", |proxy| proxy.node.as_str());
        let mut of_listed = listed.into_iter().flat_map(|proxy| &proxy.listed);
        let mut ways = Vec::new();
        for address in &self.pool.addresses {
            let port = address.port.unwrap_or(listener.direct_port);
            let (host, port) = match &address.host {
                DirectHost::Ip => (ip.to_string(), port),
                DirectHost::Listed => match of_listed.next() {
                    Some(Some(listed)) => {
                        let mut ports = listed.ports.iter();
                        let own = ports.find(|(name, _)| *name == listener.name);
                        (listed.host.clone(), own.map_or(port, |(_, port)| *port))
                    }
                    _ => continue,
                },
                DirectHost::Template(template) if node.is_empty() && template.contains("{node}") => continue,
                DirectHost::Template(template) => (direct_name(template, &self.name, node, chain), port),
            };
            ways.push(Direct {
                host,
                port,
                networks: address.networks.clone(),
            });
        }
        ways
    }
}

#[cfg(test)]
mod tests;
