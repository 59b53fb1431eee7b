//! What must hold at every moment of a history. In: what is the case, and what proxies believe. Out: nothing, or the end of the
//! test, with the seed.
//!
//! | property | what is looked at |
//! | --- | --- |
//! | nobody is sent to the dead | targets and attempts: none that has been dead for more than 5 s |
//! | no loop | who hears another well sends nobody there that sends its own clients elsewhere, or serves nobody |
//! | no takeover by the blind | a tier is left only if no mate that is heard serves it by its own probes; an isolated proxy changes nothing |
//! | no takeover after a blackout | a tier that has answered ever since nothing did is not left by what was seen before |
//! | one tier of a pool | mates that hear each other are on one tier but for a round, and the way there |
//! | nobody is stuck | who serves nobody and hears somebody well who takes guests sends its clients somewhere |

use std::time::{Duration, Instant};

use crate::failover::council;
use crate::gossip::{Liveness, PeerId, ROUND};

use super::client::Client;
use super::plan::TIMEOUT;
use super::world::World;

/// Nobody who has been dead for so long is anybody's target.
pub(super) const DEAD_KNOWN: Duration = Duration::from_secs(5);
/// Who has been linked for so long hears each other.
pub(super) const FAIR: Duration = Duration::from_secs(6);
/// Who has been linked for so long, without any loss, has met.
const MET: Duration = Duration::from_secs(3);
/// What somebody says is known to all who hear it after this, also over the worst link; and whoever waits for others has
/// waited long enough.
pub(super) const KNOWN: Duration = Duration::from_secs(3);
/// A probe that has begun ends, passing, within this.
const PROBE_ENDS: Duration = Duration::from_millis(20);
/// What comes on top where probes, rounds and looks are not in step.
const SLACK: Duration = Duration::from_millis(300);

impl World {
    /// Everything that can be looked at at any moment.
    pub(super) fn check(&mut self) {
        let now = self.now();
        self.proxies.iter_mut().for_each(|proxy| proxy.look(now));
        for at in 0..self.proxies.len() {
            self.check_targets(at);
            self.check_stranded(at);
        }
        self.check_tiers();
    }

    /// The test is over.
    pub(super) fn fail(&self, what: &str) -> ! {
        panic!(
            "seed {} at {:.3} s: {what}\n{}",
            self.seed,
            self.clock(),
            self.picture()
        );
    }

    fn lasts(since: Option<Instant>, now: Instant) -> Duration {
        since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }

    /// To whom a proxy sends its clients.
    pub(super) fn targets(&self, at: usize) -> Vec<usize> {
        let Some(running) = &self.proxies[at].running else {
            return Vec::new();
        };
        let view = running.state.view();
        let relays = view
            .candidates
            .iter()
            .filter_map(|c| c.relay.as_ref())
            .map(|to| &to.peer);
        let native = view.detour.iter().flat_map(|detour| &detour.targets);
        let all: Vec<&PeerId> = relays
            .chain(native.filter_map(|target| target.peer.as_ref()))
            .collect();
        let mut all: Vec<usize> = all.into_iter().filter_map(|id| self.plan.proxy(id)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn check_targets(&self, at: usize) {
        let now = self.now();
        for to in self.targets(at) {
            if to == at {
                self.fail(&format!("{at} sends clients to itself"));
            }
            let dead = Self::lasts(self.ground.dead[to], now);
            if dead > DEAD_KNOWN {
                self.fail(&format!("{at} sends clients to {to}, dead for {dead:?}"));
            }
            let linked = Self::lasts(self.ground.linked[at][to], now);
            let Some(target) = &self.proxies[to].running else {
                continue;
            };
            let refuses = Self::lasts(target.seen.refuses, now);
            if linked > FAIR && refuses > KNOWN {
                self.fail(&format!(
                    "{at} hears {to} for {linked:?} and sends clients there, which has taken nobody for {refuses:?}"
                ));
            }
        }
    }

    /// A client is sent to a proxy.
    pub(super) fn goes(&self, client: &Client, to: usize) {
        let dead = Self::lasts(self.ground.dead[to], self.now());
        if dead > DEAD_KNOWN {
            self.fail(&format!(
                "a client of {} is sent to {to}, dead for {dead:?}",
                client.home()
            ));
        }
    }

    /// Nobody serves here, and somebody does whom we hear.
    fn check_stranded(&self, at: usize) {
        let now = self.now();
        let Some(running) = &self.proxies[at].running else {
            return;
        };
        let stranded = Self::lasts(running.seen.stranded, now);
        if stranded <= KNOWN {
            return;
        }
        let helps = |to: &usize| {
            let takes = self.proxies[*to]
                .running
                .as_ref()
                .and_then(|other| other.seen.takes);
            *to != at
                && Self::lasts(self.ground.linked[at][*to], now) > FAIR
                && Self::lasts(takes, now) > FAIR
        };
        if let Some(to) = (0..self.proxies.len()).find(helps) {
            self.fail(&format!(
                "{at} has sent its clients nowhere for {stranded:?}, and {to} takes guests"
            ));
        }
    }

    fn check_tiers(&mut self) {
        let now = self.now();
        for at in 0..self.proxies.len() {
            for other in self
                .plan
                .mates(at)
                .filter(|other| *other > at)
                .collect::<Vec<_>>()
            {
                let tier = |proxy: usize| self.proxies[proxy].place().map(|(_, tier)| tier);
                let differ = tier(at).zip(tier(other)).is_some_and(|(a, b)| a != b);
                if !differ {
                    self.differ.remove(&(at, other));
                    continue;
                }
                let since = *self.differ.entry((at, other)).or_insert(now);
                let lossless = Self::lasts(self.ground.lossless[at][other], now);
                let linked = Self::lasts(self.ground.linked[at][other], now);
                let limit = if lossless > MET {
                    ROUND + 2 * self.net.latency + SLACK / 3
                } else if linked > FAIR {
                    KNOWN
                } else {
                    continue;
                };
                let lasts = now.duration_since(since);
                if lasts > limit {
                    self.fail(&format!(
                        "{at} and {other} hear each other, and are on two tiers for {lasts:?}"
                    ));
                }
            }
        }
    }

    /// A proxy's tier may have changed; `before` is its epoch and tier.
    pub(super) fn judge_change(&self, at: usize, before: (u64, u32)) {
        let Some(after) = self.proxies[at].place() else {
            return;
        };
        if after.0 < before.0 {
            self.fail(&format!(
                "{at} goes from {before:?} to {after:?}: the epoch went back"
            ));
        }
        let from = self
            .newest_heard(at)
            .filter(|heard| newer(*heard, before))
            .unwrap_or(before);
        if after.1 == before.1 || after == from {
            return;
        }
        let (from, to) = (from.1, after.1);
        self.judge_own_change(at, from, to);
    }

    /// The newest place of a mate that is not dead.
    fn newest_heard(&self, at: usize) -> Option<(u64, u32)> {
        let chain = &self.plan.chain(at).id;
        let words = self
            .mates_heard(at)
            .filter_map(|(_, said)| said.chains.get(chain));
        words
            .map(|said| (said.epoch, said.tier))
            .reduce(|a, b| if newer(b, a) { b } else { a })
    }

    /// Mates that a proxy has heard of and does not hold dead.
    fn mates_heard(&self, at: usize) -> impl Iterator<Item = (usize, &crate::gossip::Said)> {
        let heard = self.proxies[at]
            .running
            .as_ref()
            .and_then(|running| running.heard.as_ref());
        self.plan.mates(at).filter_map(move |mate| {
            let known = heard?.peers.get(&self.plan.ids[mate])?;
            (known.liveness != Liveness::Dead).then_some((mate, &*known.said))
        })
    }

    /// A proxy has decided by itself.
    fn judge_own_change(&self, at: usize, from: u32, to: u32) {
        let now = self.now();
        let health = &self.plan.chain(at).health;
        let told = council::evidence_lasts(health) + self.net.latency + SLACK;
        let long = |since: Option<&Instant>| since.is_some_and(|since| now.duration_since(*since) > told);
        let seen = |mate: usize| self.proxies[mate].running.as_ref().map(|running| &running.seen);
        let chain = &self.plan.chain(at).id;
        let mates: Vec<usize> = self
            .mates_heard(at)
            .filter(|(_, said)| said.chains.contains_key(chain))
            .map(|(mate, _)| mate)
            .collect();
        let serves = |mate: &&usize| seen(**mate).is_some_and(|seen| long(seen.serves.get(&from)));
        let unready = |mate: &&usize| seen(**mate).is_some_and(|seen| long(seen.unready.get(&to)));
        let (serving, unready) = (mates.iter().find(serves), mates.iter().find(unready));
        if let Some(mate) = serving.filter(|_| to > from || unready.is_some()) {
            self.fail(&format!(
                "{at} leaves tier {from} for {to}, and {mate} serves it and is heard"
            ));
        }
        let noticed = health.interval * health.fall + TIMEOUT * (health.fall + 1) + SLACK;
        let lost = Self::lasts(self.ground.lost[at].get(&to).copied(), now);
        if lost > noticed {
            self.fail(&format!(
                "{at} takes tier {to}, of which it has reached nothing for {lost:?}"
            ));
        }
        let servers = self.plan.servers_of(at).filter(|(_, server)| server.tier == from);
        let enough = servers.count() >= self.plan.chain(at).failover.min_healthy as usize;
        let dawn = self.ground.dawn[at].as_ref().filter(|_| enough && to > from);
        if dawn.is_some_and(|dawn| dawn.after > noticed && dawn.tiers.contains(&from)) {
            self.fail(&format!(
                "{at} leaves tier {from} by what it saw of it while it reached nothing"
            ));
        }
        let isolated = Self::lasts(self.ground.isolated[at], now);
        if isolated > PROBE_ENDS && to > from {
            self.fail(&format!(
                "{at} takes tier {to}, cut off from everything for {isolated:?}"
            ));
        }
    }

    /// What everybody believes.
    pub(super) fn picture(&self) -> String {
        let mut lines = Vec::new();
        for (at, proxy) in self.proxies.iter().enumerate() {
            let dead = Self::lasts(self.ground.dead[at], self.now());
            let servers = self.plan.servers_of(at);
            let servers: Vec<_> = servers
                .map(|(n, server)| (server.tier, self.ground.reaches(at, n)))
                .collect();
            let Some(running) = &proxy.running else {
                lines.push(format!("{at} ({}) dead for {dead:?}", self.plan.ids[at]));
                continue;
            };
            let heard = running.heard.iter().flat_map(|heard| &heard.peers);
            let heard: Vec<_> = heard
                .map(|(id, peer)| {
                    let age = self.now().saturating_duration_since(peer.confirmed);
                    (self.plan.proxy(id), peer.liveness, age)
                })
                .collect();
            let links: Vec<_> = self.ground.linked[at]
                .iter()
                .map(|since| Self::lasts(*since, self.now()).as_millis())
                .collect();
            lines.push(format!(
                "{at} ({}) epoch, tier {:?}, {:?} {}; to {:?}; servers (tier, reached) {servers:?}\n  says {:?}\n  hears \
                 {heard:?}\n  linked {links:?} ms\n  {}",
                self.plan.ids[at],
                proxy.place(),
                running.state.standing().standing,
                running.state.standing().reason,
                self.targets(at),
                running.told.chains.values().next(),
                proxy.history.iter().cloned().collect::<Vec<_>>().join("\n  "),
            ));
        }
        lines.join("\n")
    }
}

/// Of two tiers the one with the higher epoch holds; of equal epochs the better.
fn newer(one: (u64, u32), other: (u64, u32)) -> bool {
    one.0 > other.0 || (one.0 == other.0 && one.1 < other.1)
}
