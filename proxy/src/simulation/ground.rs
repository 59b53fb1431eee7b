//! What is the case, whatever anybody believes. In: what happens to links, servers and proxies. Out: who can reach whom, and
//! since when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::plan::Plan;

/// Nobody loses more datagrams than this where a link counts as one.
pub(super) const WORST_LINK: f64 = 0.3;

/// The world without opinions.
pub(super) struct Ground {
    /// Share of datagrams lost, from one proxy to another; 1: nothing passes, connections neither.
    pub(super) loss: Vec<Vec<f64>>,
    /// Of each server: it answers.
    pub(super) up: Vec<bool>,
    /// Of each proxy and server: packets between them are lost.
    pub(super) cut: Vec<Vec<bool>>,
    /// Of each proxy: share of its probes that get no answer.
    pub(super) flaky: Vec<f64>,
    /// Of each proxy: since when it is dead; none: it runs.
    pub(super) dead: Vec<Option<Instant>>,
    /// Of each proxy: its machine died with it, so that nobody refuses connections.
    pub(super) gone: Vec<bool>,
    /// Of each pair, one way: since when both run and hear each other at least as well as on the worst link.
    pub(super) linked: Vec<Vec<Option<Instant>>>,
    /// The same, where nothing is lost.
    pub(super) lossless: Vec<Vec<Option<Instant>>>,
    /// Of each proxy: the tiers of which it reaches no server, and since when.
    pub(super) lost: Vec<BTreeMap<u32, Instant>>,
    /// Of each proxy: since when nothing has changed on its way to servers.
    pub(super) steady: Vec<Instant>,
    /// Of each proxy: since when it was cut off from everything at once, having been steady before for so long that all it
    /// believed was true; none: it is not, or it had doubts.
    pub(super) isolated: Vec<Option<Instant>>,
    /// Of each proxy: since when it reaches no server at all, in this run of it.
    dark: Vec<Option<Instant>>,
    /// Of each proxy: what it has reached ever since it was last dark.
    pub(super) dawn: Vec<Option<Dawn>>,
}

/// Servers answer a proxy that had reached none.
pub(super) struct Dawn {
    /// How long it had reached none.
    pub(super) after: Duration,
    /// Tiers of which every server has answered since.
    pub(super) tiers: BTreeSet<u32>,
}

impl Ground {
    pub(super) fn new(plan: &Plan, now: Instant) -> Self {
        let (proxies, servers) = (plan.ids.len(), plan.servers.len());
        Self {
            loss: vec![vec![0.0; proxies]; proxies],
            up: vec![true; servers],
            cut: vec![vec![false; servers]; proxies],
            flaky: vec![0.0; proxies],
            dead: vec![Some(now); proxies],
            gone: vec![false; proxies],
            linked: vec![vec![None; proxies]; proxies],
            lossless: vec![vec![None; proxies]; proxies],
            lost: vec![BTreeMap::new(); proxies],
            steady: vec![now; proxies],
            isolated: vec![None; proxies],
            dark: vec![None; proxies],
            dawn: (0..proxies).map(|_| None).collect(),
        }
    }

    pub(super) fn runs(&self, proxy: usize) -> bool {
        self.dead[proxy].is_none()
    }

    /// Whether a connection from one proxy to the machine of another gets through.
    pub(super) fn passes(&self, from: usize, to: usize) -> bool {
        from == to || (self.loss[from][to] < 1.0 && self.loss[to][from] < 1.0)
    }

    /// Whether a proxy reaches a server that answers.
    pub(super) fn reaches(&self, proxy: usize, server: usize) -> bool {
        self.up[server] && !self.cut[proxy][server]
    }

    /// Something has changed: for whom, since when.
    pub(super) fn note(&mut self, plan: &Plan, now: Instant) {
        let all = 0..plan.ids.len();
        for from in all.clone() {
            for to in all.clone() {
                let loss = self.loss[from][to].max(self.loss[to][from]);
                let run = self.runs(from) && self.runs(to);
                let link = &mut self.linked[from][to];
                *link = (run && loss <= WORST_LINK).then(|| link.unwrap_or(now));
                let link = &mut self.lossless[from][to];
                *link = (run && loss <= 0.0).then(|| link.unwrap_or(now));
            }
            let mut reached: BTreeMap<u32, bool> = BTreeMap::new();
            for (at, server) in plan.servers_of(from) {
                *reached.entry(server.tier).or_default() |= self.reaches(from, at);
            }
            let others = || all.clone().filter(|to| *to != from);
            let mut servers = plan.servers_of(from);
            if others().any(|to| self.loss[from][to].min(self.loss[to][from]) < 1.0)
                || servers.any(|(at, _)| !self.cut[from][at])
            {
                self.isolated[from] = None;
            }
            self.note_light(plan, from, now);
            let lost = &mut self.lost[from];
            for (tier, reached) in reached {
                if reached {
                    lost.remove(&tier);
                } else {
                    lost.entry(tier).or_insert(now);
                }
            }
        }
    }

    fn note_light(&mut self, plan: &Plan, proxy: usize, now: Instant) {
        let servers = || {
            plan.servers_of(proxy)
                .map(|(at, server)| (self.reaches(proxy, at), server.tier))
        };
        if !servers().any(|(reached, _)| reached) {
            self.dark[proxy].get_or_insert(now);
            self.dawn[proxy] = None;
            return;
        }
        let missing: BTreeSet<u32> = servers()
            .filter(|(reached, _)| !reached)
            .map(|(_, tier)| tier)
            .collect();
        if let Some(since) = self.dark[proxy].take() {
            self.dawn[proxy] = Some(Dawn {
                after: now.duration_since(since),
                tiers: plan.servers_of(proxy).map(|(_, server)| server.tier).collect(),
            });
        }
        if let Some(dawn) = &mut self.dawn[proxy] {
            dawn.tiers
                .retain(|tier| !missing.contains(tier) && self.flaky[proxy] <= 0.0);
        }
    }

    /// A proxy starts: it has seen nothing.
    pub(super) fn begin(&mut self, proxy: usize, now: Instant) {
        self.dead[proxy] = None;
        self.dark[proxy] = None;
        self.dawn[proxy] = None;
        self.stir(proxy, now);
    }

    /// Something between a proxy and its servers has changed.
    pub(super) fn stir(&mut self, proxy: usize, now: Instant) {
        self.steady[proxy] = now;
        self.isolated[proxy] = None;
    }
}
