//! What happens in a history, and what must have come of it once nothing happens any more. In: chance. Out: how long it took until
//! every proxy sent its clients to somebody who serves them.

use std::time::Duration;

use jiff::SignedDuration;

use crate::chain::event::Event;
use crate::gossip::ROUND;
use crate::gossip::testing::MS;
use crate::redirect::hold;

use super::check::DEAD_KNOWN;
use super::client::Client;
use super::ground::WORST_LINK;
use super::plan::{CONNECT, TIMEOUT};
use super::world::{Act, World};

const SECOND: Duration = Duration::from_secs(1);
/// Whoever is shut off says so for so long before it ends.
const DRAINS: Duration = SECOND;
/// Everything that a proxy believes of its servers is true once nothing has changed for so long.
const SURE: Duration = Duration::from_secs(4);
/// What comes on top where probes, rounds and looks are not in step.
const SLACK: Duration = Duration::from_millis(500);

impl World {
    /// So many things happen, then nothing any more; how long after that all were settled.
    pub(super) fn run(&mut self, events: usize) -> Duration {
        self.pass(2 * SECOND);
        for _ in 0..events {
            let pause = if self.rng.u8(0..4) == 0 { 6_000 } else { 1_500 };
            let pause = MS * self.rng.u32(0..pause);
            self.pass(pause);
            self.happen();
        }
        let pause = MS * self.rng.u32(0..6_000);
        self.pass(pause);
        self.calm();
        let took = self.settle();
        self.judged = Some(self.now());
        self.stays_settled(SECOND);
        if self.seed.is_multiple_of(8) {
            self.comes_home();
        }
        took
    }

    /// Lets everybody notice what has happened and draw conclusions; how long it took until all were settled for good.
    fn settle(&mut self) -> Duration {
        let health = &self.plan.chains[0].health;
        let changes = health.fall.max(health.rise);
        let noticed = health.interval * changes + TIMEOUT * (changes + 1);
        let rounds = ROUND.mul_f64(3.0 * (self.proxies.len() as f64).log2());
        let most = noticed + DEAD_KNOWN + CONNECT / 2 + rounds + SLACK;
        let begun = self.now();
        let mut settled = Duration::ZERO;
        loop {
            let took = self.now().duration_since(begun);
            if let Some(why) = self.unsettled() {
                settled = took;
                if took > most {
                    self.fail(&format!("{took:?} of calm, {most:?} at most, and {why}"));
                }
            } else if took > noticed {
                return settled;
            }
            self.pass(50 * MS);
        }
    }

    fn stays_settled(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end {
            self.pass(50 * MS);
            if let Some(why) = self.unsettled() {
                self.fail(&format!("it does not last: {why}"));
            }
        }
    }

    /// Once no detour has to last any longer, whoever has servers serves its clients itself.
    fn comes_home(&mut self) {
        let end = self.now() + hold::LONGEST + SECOND;
        let away = |world: &Self| {
            let mut all = 0..world.proxies.len();
            all.find(|at| {
                world.ground.runs(*at)
                    && world.lives(world.plan.sites[*at])
                    && !world.proxies[*at].serves_itself()
            })
        };
        while let Some(at) = away(self) {
            if self.now() > end {
                self.fail(&format!("{at} has servers, and its clients are still elsewhere"));
            }
            self.stays_settled(SECOND);
        }
    }

    /// Whether a site has a server that answers, and a proxy.
    fn lives(&self, site: usize) -> bool {
        let servers = self.plan.servers.iter().zip(&self.ground.up);
        let mut proxies = (0..self.proxies.len()).filter(|at| self.plan.sites[*at] == site);
        servers
            .filter(|(server, _)| server.site == site)
            .any(|(_, up)| *up)
            && proxies.any(|at| self.ground.runs(at))
    }

    fn anybody_lives(&self) -> bool {
        (0..self.plan.chains.len()).any(|site| self.lives(site))
    }

    /// A client got nothing.
    pub(super) fn must_serve(&self, client: &Client, why: &str) {
        let judged = self.judged.is_some_and(|since| client.came() >= since);
        if judged && self.anybody_lives() {
            let home = client.home();
            self.fail(&format!(
                "a client of {home} is not served although somebody lives: {why}"
            ));
        }
    }

    /// Who does not send its clients to somebody who serves them, as far as anybody does; none: all do.
    fn unsettled(&self) -> Option<String> {
        (0..self.proxies.len())
            .filter(|at| self.ground.runs(*at))
            .find_map(|at| self.unsettled_at(at))
    }

    /// As [`World::unsettled`], of one proxy.
    fn unsettled_at(&self, at: usize) -> Option<String> {
        let differ = |mate: &usize| {
            let since = self.differ.get(&(at.min(*mate), at.max(*mate)));
            since.is_some_and(|since| self.now().duration_since(*since) > ROUND + 2 * self.net.latency)
        };
        if let Some(mate) = self.plan.mates(at).find(differ) {
            return Some(format!("{at} and {mate} are on two tiers"));
        }
        let view = self.proxies[at].running.as_ref()?.state.view();
        if view.detour.is_some() {
            let serves = |to: &usize| self.proxies[*to].serves_itself() && self.unsettled_at(*to).is_none();
            let targets = self.targets(at);
            let bad = targets.iter().find(|to| !serves(to));
            if targets.is_empty() {
                return Some(format!("{at} sends its clients to nobody"));
            }
            return bad.map(|to| format!("{at} sends clients to {to}, which does not serve"));
        }
        let server = |address| {
            self.plan
                .servers
                .iter()
                .position(|server| server.address == address)
        };
        let dead = |address| server(address).is_none_or(|server| !self.ground.reaches(at, server));
        let mut candidates = view.candidates.iter().map(|c| c.endpoint.address);
        if let Some(address) = candidates.find(|address| dead(*address)) {
            return Some(format!("{at} sends clients to {address}, which is dead"));
        }
        let refuses = view.candidates.is_empty();
        if refuses && self.anybody_lives() {
            return Some(format!("{at} refuses its clients, and somebody lives"));
        }
        let words = view.empty.as_ref().map_or("", |empty| &empty.why);
        (refuses && words.is_empty()).then(|| format!("{at} refuses without a word"))
    }

    /// Something happens.
    fn happen(&mut self) {
        let at = self.rng.usize(0..self.proxies.len());
        match self.rng.u8(0..20) {
            0..=3 => self.servers_change(),
            4 | 5 => {
                let machine = self.rng.bool();
                self.kill(at, machine);
            }
            6..=8 => self.restart(at),
            9 | 10 => self.part(),
            11 => {
                let other = self.rng.usize(0..self.proxies.len());
                self.ground.loss[at][other] = 1.0;
            }
            12 => {
                let loss = self.rng.f64() * WORST_LINK;
                self.ground
                    .loss
                    .iter_mut()
                    .flatten()
                    .for_each(|link| *link = loss);
            }
            13 => self.blind(at),
            14 => self.isolate(at),
            15 => self.heal(),
            16 => self.set_clock(at),
            17 => {
                self.proxies[at].full = !self.proxies[at].full;
                self.note(at, "is full, or not any more");
                self.say(at);
            }
            18 => self.drain(at),
            _ => {
                self.ground.flaky[at] = self.rng.f64() * WORST_LINK;
                let now = self.now();
                self.ground.stir(at, now);
            }
        }
        self.relink();
    }

    /// Servers of a site die or come back: one, a tier, all.
    fn servers_change(&mut self) {
        let first = self.plan.servers[self.rng.usize(0..self.plan.servers.len())];
        let (scope, up) = (self.rng.u8(0..4), self.rng.u8(0..5) < 2);
        for at in 0..self.plan.servers.len() {
            let server = self.plan.servers[at];
            let hit = match scope {
                0 => server.address == first.address,
                1 => server.site == first.site && server.tier == first.tier,
                _ => server.site == first.site,
            };
            if hit {
                self.ground.up[at] = up;
            }
        }
        let now = self.now();
        for at in 0..self.proxies.len() {
            if self.plan.sites[at] == first.site {
                self.ground.stir(at, now);
                self.note(at, "servers die or come back");
            }
        }
    }

    fn restart(&mut self, at: usize) {
        if self.rng.u8(0..3) == 0 {
            self.proxies[at].disk = None;
        }
        self.start(at);
    }

    /// Cuts the network in two: between sites, or anywhere.
    fn part(&mut self) {
        let by_site = self.rng.bool();
        let sides: Vec<bool> = (0..self.proxies.len()).map(|_| self.rng.bool()).collect();
        let side = |at: usize| sides[if by_site { self.plan.sites[at] } else { at }];
        for (from, links) in self.ground.loss.iter_mut().enumerate() {
            for (to, link) in links.iter_mut().enumerate() {
                if side(from) != side(to) {
                    *link = 1.0;
                }
            }
        }
    }

    /// A proxy loses its servers: all, or those of one tier.
    fn blind(&mut self, at: usize) {
        let tier = self.rng.bool().then(|| self.rng.u32(0..2));
        for (n, server) in self.plan.servers_of(at) {
            self.ground.cut[at][n] |= tier.is_none_or(|tier| tier == server.tier);
        }
        let now = self.now();
        self.ground.stir(at, now);
        self.note(at, "loses servers");
    }

    /// A proxy loses everything at once; or everything but one tier.
    fn isolate(&mut self, at: usize) {
        let now = self.now();
        let spared = self.rng.bool().then(|| self.rng.u32(0..2));
        let steady = now.duration_since(self.ground.steady[at]) > SURE;
        let reached = self.plan.servers_of(at).all(|(n, _)| self.ground.reaches(at, n));
        let sure = reached && self.ground.flaky[at] <= 0.0;
        for (n, server) in self.plan.servers.iter().enumerate() {
            self.ground.cut[at][n] = spared != Some(server.tier);
        }
        for other in (0..self.proxies.len()).filter(|other| *other != at) {
            self.ground.loss[at][other] = 1.0;
            self.ground.loss[other][at] = 1.0;
        }
        self.ground.stir(at, now);
        self.ground.isolated[at] = (sure && steady && spared.is_none()).then_some(now);
        self.note(at, "loses everything, or all but one tier");
    }

    fn heal(&mut self) {
        self.ground.loss.iter_mut().flatten().for_each(|link| *link = 0.0);
        self.ground.cut.iter_mut().flatten().for_each(|cut| *cut = false);
        self.ground.flaky.fill(0.0);
        let now = self.now();
        (0..self.proxies.len()).for_each(|at| self.ground.stir(at, now));
    }

    /// A wall clock is set: somewhere, or to shortly before prime time begins.
    fn set_clock(&mut self, at: usize) {
        self.proxies[at].skew = if self.rng.bool() {
            let begun = SignedDuration::try_from(Duration::from_secs_f64(self.clock())).unwrap();
            SignedDuration::from_secs(6 * 3_600 - self.rng.i64(0..5)) - begun
        } else {
            SignedDuration::from_secs(self.rng.i64(-200_000..200_000))
        };
        self.note(at, "its clock is set");
    }

    /// A proxy is shut off in order.
    fn drain(&mut self, at: usize) {
        if self.ground.runs(at) && !self.proxies[at].leaving && self.running(at).heard.is_some() {
            self.proxies[at].leaving = true;
            self.note(at, "drains");
            self.tell(at, Event::Draining(true));
            self.push(DRAINS, at, Act::Leave);
        }
    }

    /// From now on nothing happens: all links are whole, all proxies run but for one, perhaps; some servers answer.
    fn calm(&mut self) {
        self.heal();
        self.relink();
        self.pass(DRAINS + SECOND / 10);
        let away = self.rng.usize(0..2 * self.proxies.len());
        for at in 0..self.proxies.len() {
            self.proxies[at].full = false;
            if self.ground.runs(at) {
                self.say(at);
            } else if at != away {
                self.restart(at);
            }
        }
        for site in 0..self.plan.chains.len() {
            let all_dead = self.rng.bool();
            for at in 0..self.plan.servers.len() {
                if self.plan.servers[at].site == site {
                    self.ground.up[at] = !all_dead && self.rng.u8(0..3) > 0;
                }
            }
        }
        let now = self.now();
        (0..self.proxies.len()).for_each(|at| {
            self.ground.stir(at, now);
            self.note(at, "calm begins");
        });
        self.relink();
    }
}
