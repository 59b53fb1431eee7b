//! A chain that sends its clients elsewhere, and its guests back.

use switchyard_snapshot::{Return, Schedule, Standing};

use super::*;
use crate::gossip::Liveness;
use crate::redirect::fixture::{World, chain_id, peer, serving};

/// The chain of site 1, with one endpoint, among three sites of two proxies each.
struct Site {
    rig: Rig,
    world: World,
}

impl Site {
    fn new() -> Self {
        Self::of(|_| {})
    }

    fn of(change: impl Fn(&mut Chain)) -> Self {
        let mut world = World::of(1, 3, 2);
        change(&mut world.chain);
        let mut rig = Rig::of(world.chain.clone(), None);
        world.now = rig.clock.0.mono;
        world.topology.since = world.now;
        rig.send(Event::Topology(Some(Arc::new(world.topology.clone()))));
        let mut site = Self { rig, world };
        for n in 1..=2 {
            for other in 2..=3 {
                site.world.says(other, n, serving(1));
            }
        }
        site.world.says(1, 2, serving(1));
        site.hear();
        site.rig.probed("10.0.0.1", "+");
        site
    }

    /// Everybody stands by its words.
    fn hear(&mut self) {
        for neighbour in self.world.neighbours.peers.values_mut() {
            neighbour.confirmed = self.rig.clock.0.mono;
        }
        let neighbours = Arc::new(self.world.neighbours.clone());
        self.rig.send(Event::Neighbours(neighbours));
    }

    fn says(&mut self, site: usize, n: usize, up: u32) {
        self.world.says(site, n, serving(up));
        self.hear();
    }

    fn dies(&mut self) {
        self.rig.probed("10.0.0.1", "--");
    }

    fn lives(&mut self) {
        self.rig.probed("10.0.0.1", "++");
    }

    fn standing(&self) -> Standing {
        self.rig.state.standing().standing
    }

    /// It dies, and a mate still says that it serves when that has been waited for.
    fn is_blind(&mut self) {
        self.dies();
        self.pass(1_500);
    }

    /// Whom clients are relayed to, and the chain most go to.
    fn relays(&self) -> Vec<String> {
        let candidates = self.rig.state.view().candidates.iter();
        candidates
            .map(|c| {
                c.relay
                    .as_ref()
                    .map_or_else(String::new, |relay| relay.peer.name.clone())
            })
            .collect()
    }

    fn pass(&mut self, millis: u64) {
        self.rig.pass(millis);
        self.hear();
    }

    fn returning(&self) -> Vec<String> {
        let returning = self.rig.state.view().returning.iter();
        returning
            .flat_map(|r| {
                r.homes
                    .iter()
                    .map(|(home, host, port)| format!("{} {host}:{port}", home.name))
            })
            .collect()
    }
}

const OWN: [&str; 1] = [""];

#[test]
fn the_blind_relay_to_a_mate_and_the_dead_to_the_group() {
    let http = [switchyard_snapshot::Dialect::Http];
    let mut site = Site::of(|chain| chain.redirect.dialects = http.to_vec());
    assert_eq!(
        (site.standing(), site.relays()),
        (Standing::Live, OWN.map(str::to_owned).to_vec())
    );
    site.dies();
    assert_eq!(site.standing(), Standing::Blind);
    site.pass(1_499);
    assert_eq!(site.relays(), [""; 0], "the mate may not have noticed yet");
    site.pass(1);
    assert_eq!(site.relays()[0], "dmz-1-2");
    let dialects = |site: &Site| site.rig.state.view().detour.as_ref().unwrap().dialects.clone();
    assert_eq!(dialects(&site), [], "to a mate by relay only");
    assert_eq!(site.rig.state.view().candidates[0].rank, 0);
    assert!(site.rig.state.said().detours, "nobody shall send guests here");
    assert_eq!(site.rig.state.said().tier, 0);
    let report = site.rig.state.report(site.rig.clock.0);
    assert_eq!(report.redirect.unwrap().to, chain_id(1));
    // the mate sees it, too
    site.says(1, 2, 0);
    assert_eq!(site.standing(), Standing::Dead);
    assert_eq!(site.relays(), ["dmz-2-1", "dmz-2-2", "dmz-3-1", "dmz-3-2"]);
    assert_eq!(dialects(&site), http);
    let view = site.rig.state.view();
    assert_eq!((view.empty.as_ref(), view.away.len()), (None, 0));
    let why = &view.detour.as_ref().unwrap().why;
    assert!(
        why.starts_with("the only endpoint of tier 0 is out") && why.ends_with("so say all of the pool"),
        "{why}"
    );
}

#[test]
fn a_mate_whose_servers_die_too_is_never_a_target() {
    let mut site = Site::new();
    site.dies();
    site.pass(200);
    assert_eq!(site.relays(), [""; 0]);
    site.says(1, 2, 0);
    assert_eq!(site.standing(), Standing::Dead);
    assert_eq!(site.relays(), ["dmz-2-1", "dmz-2-2", "dmz-3-1", "dmz-3-2"]);
}

#[test]
fn own_clients_go_at_once_though_mates_have_not_agreed() {
    let mut site = Site::new();
    site.world.neighbour(1, 2).liveness = Liveness::Suspect;
    site.hear();
    site.dies();
    assert_eq!(site.standing(), Standing::Unsure);
    assert_eq!(site.relays(), ["dmz-2-1", "dmz-2-2", "dmz-3-1", "dmz-3-2"]);
}

#[test]
fn a_detour_holds_for_ten_seconds_and_guests_are_not_sent_here_meanwhile() {
    let mut site = Site::new();
    site.is_blind();
    site.pass(1_000);
    site.lives();
    assert_eq!(site.standing(), Standing::Live);
    assert_eq!(site.relays()[0], "dmz-1-2");
    assert!(site.rig.state.said().detours);
    site.pass(8_999);
    assert_eq!(site.relays()[0], "dmz-1-2");
    site.pass(1);
    assert_eq!(site.relays(), OWN);
    assert!(!site.rig.state.said().detours);
}

#[test]
fn with_nobody_left_whoever_serves_here_serves_at_once() {
    let mut site = Site::new();
    site.is_blind();
    site.lives();
    for other in 1..=3 {
        for n in 1..=2 {
            if other != 1 || n != 1 {
                site.says(other, n, 0);
            }
        }
    }
    assert_eq!(site.relays(), OWN);
    // and with nobody anywhere it says why
    site.dies();
    let view = site.rig.state.view();
    assert!(view.detour.is_none() && view.candidates.is_empty());
    assert!(view.empty.is_some());
}

#[test]
fn a_tier_change_that_waits_for_mates_goes_before_a_detour() {
    let mut site = Site::of(|chain| chain.backends.push(backend("standby", "10.0.1.1", 1)));
    site.rig.probed("10.0.1.1", "+");
    site.dies();
    assert!(site.rig.state.report(site.rig.clock.0).waits.is_some());
    assert_eq!(site.relays(), [""; 0], "clients wait for a moment");
    site.says(1, 2, 0);
    assert_eq!(
        (site.relays(), site.rig.state.view().tier),
        (OWN.map(str::to_owned).to_vec(), 1)
    );
    // who does not agree in time does not keep clients waiting
    let mut site = Site::of(|chain| chain.backends.push(backend("standby", "10.0.1.1", 1)));
    site.rig.probed("10.0.1.1", "+");
    site.dies();
    site.rig.pass(1_499);
    assert_eq!(site.relays(), [""; 0]);
    site.rig.pass(1);
    assert_eq!(site.relays()[0], "dmz-1-2");
    assert_eq!(site.rig.state.said().tier, 0, "the blind keep their tier");
}

#[test]
fn who_waits_for_its_first_answer_sends_nobody_away() {
    let mut world = World::of(1, 2, 2);
    world.chain.backends = vec![backend("primary", "cms.example", 0)];
    let mut rig = Rig::of(world.chain.clone(), None);
    rig.send(Event::Topology(Some(Arc::new(world.topology.clone()))));
    rig.send(Event::Neighbours(Arc::new(world.neighbours.clone())));
    assert_eq!(rig.state.standing().standing, Standing::Unsure);
    assert!(rig.state.view().detour.is_none());
    let failing = fixture::failing(None, FailureKind::Server, 1, rig.clock.0.mono);
    rig.resolved("cms.example", failing);
    assert!(rig.state.view().detour.is_some());
}

#[test]
fn a_suspended_chain_sends_its_clients_to_the_group() {
    let mut site = Site::new();
    let mut chain = (*site.rig.state.chain).clone();
    chain.suspend = true;
    if let Some(group) = &mut chain.group {
        group.members[0].suspended = true;
    }
    site.rig.send(Event::Configured(Arc::new(chain)));
    assert_eq!(site.standing(), Standing::Suspended);
    assert_eq!(site.relays(), ["dmz-2-1", "dmz-2-2", "dmz-3-1", "dmz-3-2"]);
}

#[test]
fn the_same_proxy_is_the_same_endpoint_whatever_its_room() {
    let mut site = Site::new();
    site.is_blind();
    let id = |site: &Site| site.rig.state.view().candidates[1].endpoint.id;
    let (before, version) = (id(&site), site.rig.state.view().version);
    site.world.said(2, 1).load.guest_room = 99;
    site.hear();
    assert_eq!(site.rig.state.view().version, version, "not worth a view");
    site.world.said(2, 1).load.guest_room = 50;
    site.hear();
    assert_eq!(id(&site), before);
    assert_eq!(site.rig.state.view().candidates[1].weight, 48);
    assert_eq!(site.rig.state.view().version, version + 1);
}

#[test]
fn that_others_stand_by_their_words_changes_nothing() {
    let mut site = Site::new();
    let (version, wake) = (site.rig.state.view().version, site.rig.state.wake_at());
    for _ in 0..100 {
        site.rig.clock.pass(10);
        site.hear();
        assert_eq!(site.rig.orders, []);
    }
    assert_eq!(
        (site.rig.state.view().version, site.rig.state.wake_at()),
        (version, wake)
    );
}

#[test]
fn guests_go_home_when_the_home_has_lived_for_its_delay() {
    let mut site = Site::of(|chain| chain.failover.delay = Duration::from_mins(1));
    site.says(2, 1, 0);
    site.says(2, 2, 0);
    site.pass(59_999);
    assert_eq!(site.returning(), [""; 0]);
    site.pass(1);
    assert_eq!(site.returning(), ["suite-3 sync-3.example.com:8443"]);
    site.says(2, 2, 1);
    let due = site.rig.clock.0.wall + jiff::SignedDuration::from_secs(60);
    assert!(
        site.rig.state.report(site.rig.clock.0).returns_at.unwrap() < due,
        "the others go already"
    );
    site.pass(60_000);
    assert_eq!(site.returning().len(), 2);
}

#[test]
fn a_start_of_prime_time_brings_guests_home_also_one_that_came_during_a_restart() {
    let schedule: Schedule = serde_json::from_str(
        r#"{"timeZone": "Europe/London", "starts": [{"days": ["Mon", "Tue", "Wed", "Thu", "Fri"], "at": "07:00"}]}"#,
    )
    .unwrap();
    let change = move |chain: &mut Chain| {
        chain.redirect.return_ = Return::Scheduled;
        if let Some(group) = &mut chain.group {
            group.schedule = Some(schedule.clone());
        }
    };
    let mut site = Site::of(&change);
    let monday = "2026-11-23T07:00:00Z".parse().unwrap();
    assert_eq!(site.rig.state.kept.returns_at, Some(monday));
    let kept = site.rig.state.kept.clone();
    site.pass(46 * 3_600_000 - 1_000);
    assert_eq!(site.returning(), [""; 0]);
    site.says(1, 2, 0);
    site.dies();
    assert_eq!(site.rig.state.view().detour.as_ref().unwrap().until, Some(monday));
    site.pass(2_000);
    assert_eq!(site.returning().len(), 2);
    // a process that starts half an hour later goes on with it
    let mut world = World::of(1, 2, 2);
    change(&mut world.chain);
    let mut clock = Clock::new();
    clock.set_wall("2026-11-23T07:30:00Z");
    let mut state = ChainState::new(Arc::new(world.chain.clone()), Some(kept), clock.0);
    state.handle(Event::Topology(Some(Arc::new(world.topology.clone()))), clock.0);
    state.handle(
        Event::Neighbours(Arc::new(world.neighbours.clone())),
        clock.pass(2_000),
    );
    assert_eq!(state.view().returning.as_ref().unwrap().homes.len(), 1);
}

#[test]
fn told_to_return_guests_go_now() {
    let mut site = Site::of(|chain| chain.redirect.return_ = Return::OnDemand);
    site.pass(10_000_000);
    assert_eq!(site.returning(), [""; 0]);
    site.rig.send(Event::Return);
    assert_eq!(site.returning().len(), 2);
    let home = chain_id(2);
    assert!(!site.rig.state.grace_is_over(&home, site.rig.clock.0.mono));
    site.pass(3_600_000);
    assert!(site.rig.state.grace_is_over(&home, site.rig.clock.0.mono));
}

#[test]
fn one_that_drains_is_not_dead() {
    let mut site = Site::new();
    site.rig.send(Event::Draining(true));
    assert_eq!(
        (site.standing(), site.relays()),
        (Standing::Draining, OWN.map(str::to_owned).to_vec())
    );
    let table = site.rig.state.table(site.rig.clock.0.mono).unwrap();
    assert_eq!(table.chains[0].standing, Standing::Draining);
    assert_eq!(table.chains[0].proxies[1].peer, Some(peer(1, 2)));
}
