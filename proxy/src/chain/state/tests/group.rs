//! Two sites of two proxies each, all of them chains' states that hear each other now and then.

use proptest::prelude::*;

use super::*;
use crate::gossip::{Liveness, Neighbour, Neighbours, PeerId, Said};
use crate::redirect::fixture::{World, chain_id, ip, peer};

/// Site and number of each proxy.
const ALL: [(usize, usize); 4] = [(1, 1), (1, 2), (2, 1), (2, 2)];

/// What happens to them.
#[derive(Clone, Debug)]
enum Act {
    /// A proxy sees the endpoint of a tier come or go.
    Sees(usize, usize, bool),
    /// A backend comes or goes, for all proxies of a site.
    Backend(usize, usize, bool),
    /// A proxy hears what another says now.
    Hears(usize, usize),
    /// A proxy holds another for suspect, or dead.
    Loses(usize, usize, bool),
    Pass(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let proxy = || 0..ALL.len();
    let act = prop_oneof![
        3 => (proxy(), 0usize..2, any::<bool>()).prop_map(|(who, tier, up)| Act::Sees(who, tier, up)),
        3 => (1usize..=2, 0usize..2, any::<bool>()).prop_map(|(site, tier, up)| Act::Backend(site, tier, up)),
        10 => (proxy(), proxy()).prop_map(|(who, whom)| Act::Hears(who, whom)),
        2 => (proxy(), proxy(), any::<bool>()).prop_map(|(who, whom, dead)| Act::Loses(who, whom, dead)),
        4 => prop_oneof![0u64..500, 500u64..20_000].prop_map(Act::Pass),
    ];
    prop::collection::vec(act, 1..60)
}

/// One proxy: its rig, and what it knows of the others.
struct One {
    rig: Rig,
    neighbours: Neighbours,
}

struct Group {
    all: Vec<One>,
}

const TIERS: [&str; 2] = ["10.0.0.1", "10.0.1.1"];

impl Group {
    fn new() -> Self {
        let clock = Clock::new();
        let one = |&(site, n): &(usize, usize)| {
            let mut world = World::of(site, 2, 2);
            world.chain.backends = TIERS
                .iter()
                .zip(0..)
                .map(|(address, tier)| backend(&format!("backend-{tier}"), address, tier))
                .collect();
            world.topology.me = peer(site, n);
            world.topology.since = clock.0.mono;
            let state = ChainState::new(Arc::new(world.chain), None, clock.0);
            let mut rig = Rig {
                clock,
                state,
                orders: Vec::new(),
            };
            rig.send(Event::Topology(Some(Arc::new(world.topology))));
            One {
                rig,
                neighbours: Neighbours::default(),
            }
        };
        let mut group = Self {
            all: ALL.iter().map(one).collect(),
        };
        for who in 0..ALL.len() {
            for tier in 0..TIERS.len() {
                group.sees(who, tier, true);
            }
        }
        group.all_hear();
        group
    }

    fn sees(&mut self, who: usize, tier: usize, up: bool) {
        let (probes, result) = if up {
            ("++", Ok(()))
        } else {
            ("--", Err("connection refused"))
        };
        let rig = &mut self.all[who].rig;
        rig.probed(TIERS[tier], probes);
        for _ in 0..2 {
            rig.confirmed(TIERS[tier], result);
        }
    }

    fn hears(&mut self, who: usize, whom: usize, liveness: Liveness) {
        if who == whom {
            return;
        }
        let (site, n) = ALL[whom];
        let id: PeerId = peer(site, n);
        let one = &self.all[who];
        let known = one.neighbours.peers.get(&id).cloned();
        let confirmed = one.rig.clock.0.mono;
        let neighbour = match (liveness, known) {
            (Liveness::Alive, _) => {
                let mut said = Said::default();
                (said.load.room, said.load.guest_room) = (1_000, 100);
                said.chains
                    .insert(chain_id(site), self.all[whom].rig.state.said());
                Neighbour {
                    ip: ip(site, n),
                    liveness,
                    said: Arc::new(said),
                    confirmed,
                }
            }
            (_, Some(known)) => Neighbour { liveness, ..known },
            (_, None) => return,
        };
        let one = &mut self.all[who];
        one.neighbours.peers.insert(Arc::new(id), neighbour);
        let neighbours = Arc::new(one.neighbours.clone());
        one.rig.send(Event::Neighbours(neighbours));
        // doubts start probes; what they find is what the monitors see
        let doubted = one
            .rig
            .orders
            .iter()
            .any(|order| matches!(order, Order::Confirm(_)));
        if doubted {
            for (tier, address) in TIERS.iter().enumerate() {
                if self.all[who].up(tier) {
                    self.all[who].rig.confirmed(address, Ok(()));
                }
            }
        }
    }

    fn all_hear(&mut self) {
        for who in 0..ALL.len() {
            for whom in 0..ALL.len() {
                self.hears(who, whom, Liveness::Alive);
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        self.all.iter_mut().for_each(|one| one.rig.pass(millis));
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Sees(who, tier, up) => self.sees(who, tier, up),
            Act::Backend(site, tier, up) => {
                let of_site = (0..ALL.len()).filter(|who| ALL[*who].0 == site);
                of_site.for_each(|who| self.sees(who, tier, up));
            }
            Act::Hears(who, whom) => self.hears(who, whom, Liveness::Alive),
            Act::Loses(who, whom, true) => self.hears(who, whom, Liveness::Dead),
            Act::Loses(who, whom, false) => self.hears(who, whom, Liveness::Suspect),
            Act::Pass(millis) => self.pass(millis),
        }
    }
}

impl One {
    fn up(&self, tier: usize) -> bool {
        self.rig.state.tiers[tier].serving > 0
    }

    fn place(&self) -> (u32, u64) {
        (self.rig.state.said().tier, self.rig.state.said().epoch)
    }

    /// The fresh word of a mate, that this one may hear, is that the tier is up.
    fn hears_up(&self, site: usize, tier: u32) -> bool {
        let now = self.rig.clock.0.mono;
        let mates = self
            .neighbours
            .peers
            .iter()
            .filter(|(id, _)| ***id == peer(site, 1) || ***id == peer(site, 2));
        let mut words = mates.filter(|(_, mate)| {
            mate.liveness == Liveness::Alive && now <= mate.confirmed + Duration::from_secs(4)
        });
        words.any(|(_, mate)| mate.said.chains[&chain_id(site)].tiers[tier as usize].serving > 0)
    }

    /// Whom clients are sent to.
    fn sends_to(&self) -> Vec<PeerId> {
        let candidates = self.rig.state.view().candidates.iter();
        candidates
            .filter_map(|c| c.relay.as_ref().map(|relay| relay.peer.clone()))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is seen, lost and heard late: no epoch goes back, nobody leaves a tier that a mate lives on by its fresh
    /// word, except by that mate's newer word; nobody is sent to the proxy that sends it. Once they hear each other
    /// again, a pool is on one tier, and a client is served by the proxy that it comes to, or by the one that it is sent to, as
    /// long as anybody anywhere serves.
    #[test]
    fn property_no_takeover_by_the_blind_no_loop_and_everybody_is_served(acts in acts()) {
        let mut group = Group::new();
        for act in &acts {
            let before: Vec<_> = group.all.iter().map(One::place).collect();
            let led: Vec<bool> = group.all.iter().zip(ALL).map(|(one, (site, _))| one.hears_up(site, one.place().0)).collect();
            group.act(act);
            for (at, one) in group.all.iter().enumerate() {
                let (tier, epoch) = one.place();
                prop_assert!(epoch >= before[at].1, "the epoch went back");
                let heard = matches!(act, Act::Hears(who, _) if *who == at) || matches!(act, Act::Pass(_));
                // a mate that is dead by now has no part in it
                let led = led[at] && one.hears_up(ALL[at].0, before[at].0);
                if tier != before[at].0 && !heard {
                    prop_assert!(!led || tier < before[at].0, "{:?} left tier {} by itself", ALL[at], before[at].0);
                }
                let me = peer(ALL[at].0, ALL[at].1);
                prop_assert!(!one.sends_to().contains(&me));
            }
        }
        // calm: all hear each other, and longer than any detour holds
        for _ in 0..8 {
            group.all_hear();
        }
        for _ in 0..40 {
            group.pass(10_000);
            for _ in 0..3 {
                group.all_hear();
            }
        }
        let places: Vec<_> = group.all.iter().map(One::place).collect();
        prop_assert_eq!(places[0], places[1]);
        prop_assert_eq!(places[2], places[3]);
        let serves = |at: usize| group.all[at].up(places[at].0 as usize);
        let anybody = (0..ALL.len()).any(serves);
        for (at, one) in group.all.iter().enumerate() {
            let to = one.sends_to();
            prop_assert_eq!(to.is_empty(), serves(at) || !anybody, "{:?} sends to {:?}", ALL[at], to);
            for target in to {
                let there = ALL.iter().position(|(site, n)| peer(*site, *n) == target).unwrap();
                prop_assert!(serves(there) && group.all[there].sends_to().is_empty(), "{} goes on from there", target);
            }
        }
    }
}
