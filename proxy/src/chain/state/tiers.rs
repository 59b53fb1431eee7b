//! Which tier serves, as far as the whole chain goes: how each tier does, what mates say, what the machine makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use switchyard_snapshot::{Chain, Failback, Mode};

use super::ChainState;
use super::leave::LeaveReason;
use super::member::Member;
use super::report::backends_of;
use super::roster::Roster;
use crate::chain::event::{Order, TransitionKind};
use crate::clock::Now;
use crate::failover::council::Claim;
use crate::failover::machine::{Change, Rules, TierHealth};
use crate::gossip::{ChainSaid, TierSaid};
use crate::resolve::Lookup;
use crate::verdict::Verdict;

/// So many endpoints at most are probed at once because a mate doubts them, or because they are to take over.
const DOUBTED: usize = 64;

impl ChainState {
    /// A mate says that the tier is down that serves here: one of us is wrong, and probes tell who before the next monitor
    /// does.
    pub(super) fn heed_doubts(&mut self, now: Instant) {
        let (tier, min) = (self.machine.tier(), self.chain.failover.min_healthy);
        let up = self.tiers.iter().any(|t| t.tier == tier && t.serving >= min);
        if !up {
            return;
        }
        let chain = Arc::clone(&self.chain);
        if self
            .circle
            .doubt(&chain, Claim::Down { tier, min }, now)
            .is_none()
        {
            return;
        }
        let doubted = self
            .roster
            .iter_mut()
            .filter(|member| member.tier(&chain) == Some(tier) && member.health.0.serves());
        for member in doubted.take(DOUBTED) {
            member.ejection.doubted();
        }
    }

    /// After a blackout the active tier is asked at once.
    pub(super) fn look_after_blackout(&mut self, now: Instant) {
        let probed = self
            .roster
            .iter()
            .filter(|m| Roster::is_probed(m, &self.chain, now));
        if !self.blackout.look(probed.map(Member::answers), now) {
            return;
        }
        let tier = self.machine.tier();
        let down = self
            .roster
            .iter_mut()
            .filter(|m| m.tier(&self.chain) == Some(tier) && m.health.0 == Verdict::Eject);
        for member in down.take(DOUBTED) {
            member.ejection.doubted();
            if member.wants_confirming(&self.chain, now) {
                // Ordered anew: what confirms it already may have to wait for its timeout first.
                member.confirming = None;
            }
        }
    }

    /// The active tier is down only by what was seen of it during a blackout: for as long as its answer may take.
    fn may_be_well(&self, now: Instant) -> bool {
        let Some(ended) = self.blackout.ended().filter(|_| self.asks_until(now).is_some()) else {
            return false;
        };
        let (tier, min) = (self.machine.tier(), self.chain.failover.min_healthy);
        let serving = self.tiers.iter().filter(|t| t.tier == tier).map(|t| t.serving);
        let unasked = self.roster.iter().filter(|member| {
            member.tier(&self.chain) == Some(tier)
                && member.health.0 == Verdict::Eject
                && Roster::is_probed(member, &self.chain, now)
                && !member.failed_since(ended)
        });
        serving.sum::<u32>() as usize + unasked.count() >= min as usize
    }

    /// Until when those are waited for who are asked after a blackout: for a probe that still fails, and all that must pass.
    pub(super) fn asks_until(&self, now: Instant) -> Option<Instant> {
        let health = &self.chain.health;
        let until = self.blackout.ended()? + (1 + health.rise) * (health.interval + health.timeout);
        Some(until).filter(|until| now < *until)
    }

    /// The tiers, as far as they have been seen since the active one began to fail: what passed before that may have been
    /// cut off together with it. Whoever only passed before is probed at once.
    fn seen_since_the_fall(&mut self, now: Instant) -> Vec<TierHealth> {
        self.looks = false;
        let mut tiers = self.tiers.clone();
        let (chain, tier) = (Arc::clone(&self.chain), self.machine.tier());
        let min = chain.failover.min_healthy;
        let down = |t: &TierHealth| t.tier == tier && t.serving < min && !t.pending;
        if chain.failover.mode == Mode::Manual || !tiers.iter().any(down) {
            return tiers;
        }
        if self.may_be_well(now) {
            self.looks = true;
            let active = tiers.iter_mut().filter(|t| t.tier == tier);
            active.for_each(|active| active.pending = true);
            return tiers;
        }
        let of_active = self.roster.iter().filter(|m| m.tier(&chain) == Some(tier));
        let Some(since) = of_active.filter_map(|m| m.failing_since).max() else {
            return tiers;
        };
        let unseen = self
            .roster
            .iter_mut()
            .filter(|m| m.health.0.serves() && m.proven() && !m.reached_since(since));
        for (at, member) in unseen.enumerate() {
            let of = member.tier(&chain).filter(|of| *of != tier);
            let Some(health) = tiers.iter_mut().find(|t| Some(t.tier) == of) else {
                continue;
            };
            health.proven -= 1;
            self.looks = true;
            if at < DOUBTED {
                member.ejection.doubted();
            }
        }
        tiers
    }

    pub(super) fn fail_over(&mut self, now: Now) {
        let tiers = self.seen_since_the_fall(now.mono);
        let chain = Arc::clone(&self.chain);
        let rules = Rules {
            failover: &chain.failover,
            manual: manual_tier(&chain),
            calendar: self.calendar.as_ref(),
            council: &self.circle.council(&chain, now.mono),
        };
        // A change can bring the next one at once, each to a better tier; before them a mate's may be taken over.
        let rounds = 0..=tiers.len() + 1;
        let changes: Vec<Change> = rounds
            .map_while(|_| self.machine.step(&rules, &tiers, now))
            .collect();
        for change in changes {
            self.others_leave = match (change.kind, chain.failover.mode, chain.failover.failback) {
                (TransitionKind::Switched, Mode::Manual, _) => Some(LeaveReason::Switched),
                (TransitionKind::FailedBack, _, failback) if failback != Failback::Sticky => {
                    Some(LeaveReason::FailedBack)
                }
                _ => None,
            };
            self.announce_change(change, now);
        }
    }

    /// What a restart needs is kept when it changes.
    pub(super) fn keep(&mut self) {
        let mut stored = self.machine.stored();
        stored.returns_at = self.outward.stored(&self.chain);
        if stored != self.kept {
            self.kept = stored.clone();
            self.orders.push(Order::Persist(stored));
        }
    }

    fn announce_change(&mut self, change: Change, now: Now) {
        let (from, to) = (
            backends_of(&self.chain, change.from),
            backends_of(&self.chain, change.to),
        );
        self.announce(change.kind, from, to, change.reason, now);
    }

    pub(super) fn tier_health(&self) -> Vec<TierHealth> {
        let mut all: BTreeMap<u32, TierHealth> = BTreeMap::new();
        for (backend, listing) in self.chain.backends.iter().zip(&self.roster.listings) {
            let health = all.entry(backend.tier).or_insert(TierHealth {
                tier: backend.tier,
                serving: 0,
                proven: 0,
                pending: false,
            });
            health.pending |= listing.pending();
        }
        for member in self.roster.iter().filter(|member| member.health.0.serves()) {
            if let Some(health) = member.tier(&self.chain).and_then(|tier| all.get_mut(&tier)) {
                health.serving += 1;
                health.proven += u32::from(member.proven());
            }
        }
        all.into_values().collect()
    }

    /// What other proxies are told of this chain.
    pub fn said(&self) -> ChainSaid {
        let tiers = self.tiers.iter().map(|health| TierSaid {
            tier: health.tier,
            serving: health.serving,
            proven: health.proven,
            pending: health.pending,
        });
        ChainSaid {
            epoch: self.machine.epoch(),
            tier: self.machine.tier(),
            tiers: tiers.collect(),
            suspended: self.chain.suspend,
            detours: self.outward.detours(),
            reaches: self.reaches(),
        }
    }

    /// Whether anything is reached: an endpoint of any tier, the resolver, another proxy. Who reaches nothing knows nothing.
    pub(super) fn reaches(&self) -> bool {
        let answers = |lookup: &Arc<Lookup>| lookup.answer.is_some() && lookup.failure.is_none();
        self.tiers.iter().any(|tier| tier.proven > 0)
            || self.circle.reaches_a_peer()
            || self.lookups.values().any(answers)
    }
}

/// The tier of the backend that `failover.active` names.
pub(super) fn manual_tier(chain: &Chain) -> Option<u32> {
    let active = chain.failover.active.as_deref()?;
    let mut backends = chain.backends.iter();
    backends
        .find(|backend| backend.name == active)
        .map(|backend| backend.tier)
}
