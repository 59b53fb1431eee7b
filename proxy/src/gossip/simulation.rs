//! Thousands of small histories of bad networks, each from its seed: links that lose, some one way only, partitions, crashes,
//! restarts, processes that stand still. What must hold, holds at every moment of each of them.
//!
//! `SWITCHYARD_SOAK=1` runs twenty times as many. A failure names its seed; `SWITCHYARD_SEED=…` runs that one alone.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::testing::{MS, Net, said};
use super::{Liveness, ROUND, Said};

const SECOND: Duration = Duration::from_secs(1);
/// Nobody who has been dead for so long is held alive.
const DEAD_KNOWN: Duration = Duration::from_secs(5);
/// Nobody who could be heard for so long is held dead.
const FAIR: Duration = Duration::from_secs(6);
/// Nobody loses more than this where a link counts as one.
const WORST_LINK: f64 = 0.3;

/// How one history goes.
struct World {
    net: Net,
    rng: Rng,
    seed: u64,
    /// Since when each pair, one way, has had a link worth the name, and both have been running; none: it has not.
    linked: Vec<Vec<Option<Instant>>>,
    loss: Vec<Vec<f64>>,
    epochs: u64,
}

impl World {
    fn new(nodes: usize, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut net = Net::new(nodes, seed);
        net.latency = Duration::from_millis(rng.u64(1..40));
        (0..nodes).for_each(|node| net.start(node));
        let now = net.now;
        Self {
            net,
            rng,
            seed,
            linked: vec![vec![Some(now); nodes]; nodes],
            loss: vec![vec![0.0; nodes]; nodes],
            epochs: 0,
        }
    }

    fn nodes(&self) -> usize {
        self.loss.len()
    }

    /// Something happens.
    fn happen(&mut self) {
        let node = self.rng.usize(0..self.nodes());
        match self.rng.u8(0..10) {
            0 | 1 => self.net.kill(node),
            2 | 3 => self.net.start(node),
            4 => self.part(),
            5 => {
                let other = self.rng.usize(0..self.nodes());
                self.loss[node][other] = 1.0;
            }
            6 => {
                let loss = self.rng.f64() * WORST_LINK;
                self.loss.iter_mut().flatten().for_each(|link| *link = loss);
            }
            7 if self.net.runs(node) => {
                let still = Duration::from_millis(self.rng.u64(100..8_000));
                self.net.nodes[node].frozen_until = Some(self.net.now + still);
            }
            8 => self.loss.iter_mut().flatten().for_each(|link| *link = 0.0),
            _ => {
                self.epochs += 1;
                self.net.say(node, said(self.epochs));
            }
        }
        self.relink();
    }

    /// Cuts the network in two.
    fn part(&mut self) {
        let sides: Vec<bool> = (0..self.nodes()).map(|_| self.rng.bool()).collect();
        for (from, links) in self.loss.iter_mut().enumerate() {
            for (to, link) in links.iter_mut().enumerate() {
                if sides[from] != sides[to] {
                    *link = 1.0;
                }
            }
        }
    }

    fn calm(&mut self) {
        // what came while a process stood still waits in its socket until it moves again
        let still = |world: &Self| world.net.nodes.iter().any(|node| node.frozen_until.is_some());
        while still(self) {
            self.pass(100 * MS);
        }
        self.loss.iter_mut().flatten().for_each(|link| *link = 0.0);
        self.relink();
    }

    fn relink(&mut self) {
        let loss = self.loss.clone();
        self.net.loss = Box::new(move |from, to| loss[from][to]);
        let now = self.net.now;
        for from in 0..self.nodes() {
            for to in 0..self.nodes() {
                let runs = |node: usize| {
                    let entry = &self.net.nodes[node];
                    entry.core.is_some() && entry.frozen_until.is_none_or(|until| until <= now)
                };
                let fair = |a: usize, b: usize| self.loss[a][b] <= WORST_LINK;
                let link = runs(from) && runs(to) && fair(from, to) && fair(to, from);
                self.linked[from][to] = link.then(|| self.linked[from][to].unwrap_or(now));
            }
        }
    }

    /// What must hold at every moment.
    fn check(&self) {
        let now = self.net.now;
        let seed = self.seed;
        for node in 0..self.nodes() {
            let entry = &self.net.nodes[node];
            if entry.core.is_none() || entry.frozen_until.is_some_and(|until| until >= now) {
                continue;
            }
            for other in (0..self.nodes()).filter(|&other| other != node) {
                let seen = self.net.sees(node, other);
                if let Some(since) = self.net.nodes[other].down_since {
                    let dead = now.duration_since(since);
                    assert!(
                        dead <= DEAD_KNOWN || seen != Some(Liveness::Alive),
                        "seed {seed}: {node} holds {other} alive, dead for {dead:?}"
                    );
                }
                if let Some(since) = self.linked[node][other] {
                    let linked = now.duration_since(since);
                    assert!(
                        linked <= FAIR || seen != Some(Liveness::Dead),
                        "seed {seed}: {node} holds {other} dead, linked for {linked:?}"
                    );
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.net.now + time;
        while self.net.now < end {
            self.net.run(50 * MS, |_| ());
            self.relink();
            self.check();
        }
    }

    /// One history; how many rounds of calm it took until all knew all.
    fn run(&mut self, events: usize) -> f64 {
        for _ in 0..events {
            let pause = Duration::from_millis(self.rng.u64(0..1_500));
            self.pass(pause);
            self.happen();
        }
        // the dead come back, but for one that may stay away
        let away = self.rng.usize(0..2 * self.nodes());
        for node in (0..self.nodes()).filter(|&node| node != away) {
            if !self.net.runs(node) {
                self.net.start(node);
            }
        }
        self.calm();
        let seed = self.seed;
        let begun = self.net.now;
        while !self.living_agree() {
            self.pass(10 * MS);
            let took = self.net.now.duration_since(begun);
            assert!(
                took < 10 * SECOND,
                "seed {seed}: no agreement after {took:?} of calm: {}",
                self.picture()
            );
        }
        let took = self.net.now.duration_since(begun);
        let rounds = took.as_secs_f64() / ROUND.as_secs_f64();
        let most = 3.0 * (self.nodes() as f64).log2();
        assert!(
            rounds <= most,
            "seed {seed}: {rounds:.1} rounds of calm, {most:.1} at most"
        );
        let all_run = (0..self.nodes()).all(|node| self.net.runs(node));
        self.pass(if all_run { SECOND } else { 5 * SECOND });
        assert!(
            self.net.converged(),
            "seed {seed}: it does not last: {}",
            self.picture()
        );
        rounds
    }

    /// Who sees whom how.
    fn picture(&self) -> String {
        let all = 0..self.nodes();
        let row = |node: usize| {
            let seen: Vec<_> = all.clone().map(|other| self.net.sees(node, other)).collect();
            let epoch = |said: &Said| said.chains.values().next().map(|chain| chain.epoch);
            let known: Vec<_> = self.net.nodes[node]
                .known
                .peers
                .values()
                .map(|known| epoch(&known.said))
                .collect();
            let entry = &self.net.nodes[node];
            let dead = entry.down_since.map(|since| self.net.now - since);
            format!(
                "{node} says {:?}, dead for {dead:?}, sees {seen:?} saying {known:?}",
                epoch(&entry.said)
            )
        };
        all.clone().map(row).collect::<Vec<_>>().join("; ")
    }

    /// Whether all who run see all others who run alive, with what they say now.
    fn living_agree(&self) -> bool {
        let all = || (0..self.nodes()).filter(|&node| self.net.runs(node));
        all().all(|node| {
            all().filter(|&other| other != node).all(|other| {
                let known = self.net.nodes[node]
                    .known
                    .peers
                    .get(&super::testing::peer_id(other));
                known.is_some_and(|known| {
                    known.liveness == Liveness::Alive && *known.said == self.net.nodes[other].said
                })
            })
        })
    }
}

/// Which seeds to run: so many, or more, or one.
fn seeds(many: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    match (number("SWITCHYARD_SEED"), number("SWITCHYARD_SOAK")) {
        (Some(seed), _) => vec![seed],
        (None, Some(1..)) => (0..20 * many).collect(),
        _ => (0..many).collect(),
    }
}

fn histories(nodes: impl Fn(u64) -> usize, events: usize, many: u64) {
    let mut worst: f64 = 0.0;
    let seeds = seeds(many);
    for &seed in &seeds {
        let nodes = nodes(seed);
        let rounds = World::new(nodes, seed).run(events);
        worst = worst.max(rounds / (nodes as f64).log2());
    }
    println!(
        "{} histories; {worst:.2} × log2(n) rounds of calm at worst",
        seeds.len()
    );
}

#[test]
fn small_networks_bear_everything() {
    histories(|seed| 3 + (seed % 3) as usize, 6, 250);
}

/// A history in which word of a run that is over comes after that of the present one.
#[test]
fn who_runs_is_listened_to_whatever_others_say_of_its_former_run() {
    let seed = 458;
    World::new(3 + (seed % 3) as usize, seed).run(6);
}

/// A history in which somebody who has just started hears of one who died a moment ago.
#[test]
fn word_of_the_dead_is_as_old_as_it_is_to_who_has_just_started() {
    let seed = 921;
    World::new(3 + (seed % 3) as usize, seed).run(6);
}

/// A history in which somebody stands still just after its start, and another dies meanwhile.
#[test]
fn who_slept_when_it_was_young_doubts_what_it_knew() {
    let seed = 2374;
    World::new(3 + (seed % 3) as usize, seed).run(6);
}

#[test]
fn middling_networks_bear_everything() {
    histories(|seed| 8 + (seed % 5) as usize, 5, 6);
}

#[test]
fn fifty_bear_everything() {
    histories(|_| 50, 2, 1);
}
