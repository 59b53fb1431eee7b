//! Where a proxy stands that does not gossip: a sidecar. In: what the operator tells of the proxies of other pools. Out: the
//! same values that gossip would have brought, at second hand.
//!
//! Of a proxy that the operator knows nothing of any more (it has just started, say) the last that it told is kept, as that
//! of a suspect: it is tried where no other is known to serve.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use switchyard_snapshot::{ChainId, PeerPool, PeerProxy, PoolId, Snapshot};

use crate::gossip::{ChainSaid, Liveness, Load, Neighbour, Neighbours, PeerId, Said, TierSaid};
use crate::redirect::Topology;

/// How many guests a proxy takes is its own to say, when they come: all weigh the same.
const ROOM: u32 = 1;

/// What the operator tells of others.
pub(super) struct Told {
    pub(super) topology: Arc<Topology>,
    pub(super) neighbours: Arc<Neighbours>,
}

impl Told {
    /// As the snapshot says; what is the same as before stays the same value. None: it says nothing of others, or the proxy hears
    /// them itself.
    pub(super) fn follow(
        before: Option<Self>,
        name: &str,
        snapshot: &Snapshot,
        now: Instant,
    ) -> Option<Self> {
        if snapshot.pool.gossip.is_some() || snapshot.peers.is_empty() {
            return None;
        }
        let same = |told: &Self| told.topology.pools == snapshot.peers;
        if before.as_ref().is_some_and(same) {
            return before;
        }
        let known = before.as_ref().map(|before| &*before.neighbours);
        let me = PeerId {
            pool: PoolId {
                namespace: snapshot.pool.namespace.clone(),
                name: snapshot.pool.name.clone(),
            },
            name: name.to_owned(),
        };
        let topology = Topology {
            me,
            since: before.as_ref().map_or(now, |before| before.topology.since),
            pools: snapshot.peers.clone(),
            second_hand: true,
        };
        Some(Self {
            topology: Arc::new(topology),
            neighbours: Arc::new(neighbours(&snapshot.peers, known, now)),
        })
    }
}

fn neighbours(pools: &[PeerPool], known: Option<&Neighbours>, now: Instant) -> Neighbours {
    let mut peers = BTreeMap::new();
    for pool in pools {
        for proxy in pool.proxies.iter().flatten() {
            let id = PeerId {
                pool: pool.id.clone(),
                name: proxy.name.clone(),
            };
            let last = known.and_then(|known| known.peers.get(&id));
            if let Some(neighbour) = neighbour(proxy, last, now) {
                peers.insert(Arc::new(id), neighbour);
            }
        }
    }
    Neighbours {
        news: known.map_or(0, |known| known.news + 1),
        peers,
        beyond: BTreeMap::new(),
    }
}

fn neighbour(proxy: &PeerProxy, last: Option<&Neighbour>, now: Instant) -> Option<Neighbour> {
    let Some(serves) = &proxy.serves else {
        return last.map(|last| Neighbour {
            ip: proxy.ip,
            liveness: Liveness::Suspect,
            ..last.clone()
        });
    };
    let said = Said {
        leaving: false,
        load: Load {
            sessions: 0,
            room: ROOM,
            guest_room: ROOM,
        },
        chains: serves
            .iter()
            .map(|chain| (chain.clone(), serving()))
            .collect::<BTreeMap<ChainId, _>>(),
    };
    Some(Neighbour {
        ip: proxy.ip,
        liveness: Liveness::Alive,
        said: Arc::new(said),
        confirmed: now,
    })
}

/// What a proxy that serves a chain would say of it.
fn serving() -> ChainSaid {
    ChainSaid {
        epoch: 0,
        tier: 0,
        tiers: vec![TierSaid {
            tier: 0,
            serving: 1,
            proven: 1,
            pending: false,
        }],
        suspended: false,
        detours: false,
        reaches: true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use switchyard_snapshot::Pool;

    use super::*;

    fn chain() -> ChainId {
        ChainId {
            namespace: "edge".to_owned(),
            name: "far".to_owned(),
        }
    }

    fn snapshot(proxies: &[(&str, Option<bool>)]) -> Snapshot {
        let proxy = |(name, serves): &(&str, Option<bool>)| PeerProxy {
            name: (*name).to_owned(),
            ip: "10.0.0.1".parse().unwrap(),
            node: String::new(),
            listed: Vec::new(),
            serves: serves.map(|serves| serves.then(chain).into_iter().collect()),
        };
        let id = PoolId {
            namespace: "edge".to_owned(),
            name: "far".to_owned(),
        };
        Snapshot {
            pool: Pool {
                namespace: "edge".to_owned(),
                name: "side".to_owned(),
                site: "here".to_owned(),
                snat: Vec::new(),
                affinity: None,
                drain_timeout: Duration::ZERO,
                ticket_keys: Vec::new(),
                gossip: None,
                relay_keys: Vec::new(),
            },
            listeners: Vec::new(),
            chains: Vec::new(),
            peers: vec![PeerPool {
                id,
                site: "there".to_owned(),
                gossip_port: 17946,
                proxies: Some(proxies.iter().map(proxy).collect()),
                listeners: Vec::new(),
                addresses: Vec::new(),
            }],
        }
    }

    /// Who is known, how it is, and whether it serves.
    fn seen(told: &Told) -> Vec<(&str, Liveness, bool)> {
        let peers = told.neighbours.peers.iter();
        peers
            .map(|(id, it)| {
                (
                    id.name.as_str(),
                    it.liveness,
                    it.said.chains.contains_key(&chain()),
                )
            })
            .collect()
    }

    #[test]
    fn whoever_serves_by_the_operators_word_is_a_neighbour_that_does() {
        let now = Instant::now();
        let first = snapshot(&[("a", Some(true)), ("b", Some(false)), ("c", None)]);
        let told = Told::follow(None, "app-0", &first, now).unwrap();
        assert!(told.topology.second_hand);
        assert_eq!(
            seen(&told),
            [("a", Liveness::Alive, true), ("b", Liveness::Alive, false)]
        );
        let same = Told::follow(Some(told), "app-0", &first, now + Duration::from_secs(9)).unwrap();
        assert_eq!(same.neighbours.peers.values().next().unwrap().confirmed, now);
        // An operator that has just begun to lead knows of nobody.
        let unknown = snapshot(&[("a", None), ("b", None)]);
        let told = Told::follow(Some(same), "app-0", &unknown, now).unwrap();
        assert_eq!(
            seen(&told),
            [("a", Liveness::Suspect, true), ("b", Liveness::Suspect, false)]
        );
        // Who is no longer listed is no neighbour.
        let told = Told::follow(Some(told), "app-0", &snapshot(&[("a", Some(false))]), now).unwrap();
        assert_eq!(seen(&told), [("a", Liveness::Alive, false)]);
        assert!(
            Told::follow(
                Some(told),
                "app-0",
                &Snapshot {
                    peers: Vec::new(),
                    ..first
                },
                now
            )
            .is_none()
        );
    }
}
