//! What a pool agrees on. In: what pool-mates say of a chain's tiers, how old that is, and whether they live. Out: who does
//! not agree with a change and why, who knows a newer tier, and who holds a tier for down.
//!
//! | a pool-mate | its part in a change |
//! | --- | --- |
//! | lives, says the same, no longer ago than evidence lasts | agrees |
//! | lives, says otherwise or has said nothing lately | is waited for |
//! | does not answer any more (suspect), and its last word is still evidence | as above |
//! | does not answer any more, and has not said the same lately | is waited for until it counts as dead: it may be alive on the far side of a bad link, with clients on the tier |
//! | is dead, or has never been heard of | has no part |
//! | lives, but has said nothing of this chain or tier | is waited for, for 5 s: it starts. After that it runs another configuration |
//! | says that it reaches nothing | has no part: it knows nothing |
//!
//! Of two tiers the one with the higher epoch holds; of equal epochs the better tier (the lower number): whoever left it
//! without having heard of the other may have been blind, and the other was not.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use switchyard_snapshot::Health;

use crate::gossip::{ChainSaid, Liveness, TierSaid};

/// A proxy that starts hears of its mates before it changes a tier, or waits so long.
pub const GRACE: Duration = Duration::from_secs(1);

/// Who lives and says nothing of a chain is waited for so long.
pub const SILENT_FOR: Duration = Duration::from_secs(5);

/// Evidence lasts so long at least, however often monitors look.
const EVIDENCE_AT_LEAST: Duration = Duration::from_secs(1);

/// How long evidence lasts: two monitor intervals, and a second at least.
pub fn evidence_lasts(health: &Health) -> Duration {
    (2 * health.interval).max(EVIDENCE_AT_LEAST)
}

/// Another proxy of this pool that is not dead.
#[derive(Clone, Copy, Debug)]
pub struct Mate<'a> {
    /// Its name in the pool.
    pub name: &'a str,
    /// It answers; else it is suspect.
    pub answers: bool,
    /// When it last confirmed what it says.
    pub confirmed: Instant,
    /// What it says of the chain, or since when it lives without a word of it.
    pub said: Result<&'a ChainSaid, Instant>,
}

/// The pool-mates of one moment.
#[derive(Clone, Debug)]
pub struct Council<'a> {
    mates: Vec<Mate<'a>>,
    lasts: Duration,
    now: Instant,
    /// When a proxy that has heard of nobody decides by itself.
    grace_until: Option<Instant>,
}

/// What a change needs all mates to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Fewer than `min` endpoints of the tier serve.
    Down {
        /// Which.
        tier: u32,
        /// `minHealthy`.
        min: u32,
    },
    /// At least `min` endpoints of the tier have passed their monitors.
    Ready {
        /// Which.
        tier: u32,
        /// `minHealthy`.
        min: u32,
    },
}

impl Claim {
    /// Nothing of the tier serves.
    pub fn dead(tier: u32) -> Self {
        Self::Down { tier, min: 1 }
    }

    /// Of which tier.
    pub fn tier(self) -> u32 {
        match self {
            Self::Down { tier, .. } | Self::Ready { tier, .. } => tier,
        }
    }

    fn holds(self, said: &TierSaid) -> bool {
        match self {
            Self::Down { min, .. } => said.serving < min && !said.pending,
            Self::Ready { min, .. } => said.proven >= min,
        }
    }

    /// What somebody says who does not agree.
    fn denied(self, said: &TierSaid) -> String {
        match self {
            Self::Down { tier, .. } if said.pending => format!("it does not know yet how tier {tier} does"),
            Self::Down { tier, .. } => format!("it still sees tier {tier} up"),
            Self::Ready { tier, .. } => format!("it does not see tier {tier} up"),
        }
    }
}

/// A mate knows a newer tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newer<'a> {
    /// Who.
    pub name: &'a str,
    /// Its epoch.
    pub epoch: u64,
    /// Its tier.
    pub tier: u32,
}

impl Council<'static> {
    /// Nobody else is there, nor expected.
    pub fn alone(now: Instant) -> Self {
        Self {
            mates: Vec::new(),
            lasts: EVIDENCE_AT_LEAST,
            now,
            grace_until: None,
        }
    }
}

impl<'a> Council<'a> {
    /// These mates, whose evidence `lasts` so long, at `now`. `since` is when this proxy began to listen to them.
    pub fn new(mates: Vec<Mate<'a>>, lasts: Duration, since: Instant, now: Instant) -> Self {
        let heard = mates.iter().any(|mate| mate.said.is_ok());
        let grace_until = Some(since + GRACE).filter(|until| !heard && now < *until);
        Self {
            mates,
            lasts,
            now,
            grace_until,
        }
    }

    /// Who is not dead.
    pub fn mates(&self) -> &[Mate<'a>] {
        &self.mates
    }

    /// Why no change may be made as yet, in words; none: all agree.
    pub fn objection(&self, claim: Claim) -> Option<String> {
        if self.grace_until.is_some() {
            return Some("waits for a first word of the pool's other proxies".to_owned());
        }
        let mut objections = self
            .mates
            .iter()
            .filter_map(|mate| Some((mate.name, self.objection_of(mate, claim)?)));
        let (name, why) = objections.next()?;
        Some(match objections.count() {
            0 => format!("waits for {name}: {why}"),
            more => format!("waits for {name}: {why}; and for {more} more"),
        })
    }

    fn objection_of(&self, mate: &Mate<'_>, claim: Claim) -> Option<String> {
        let tier = match mate.said {
            Ok(said) if !said.reaches => return None,
            Ok(said) => said.tiers.iter().find(|said| said.tier == claim.tier()),
            Err(since) if self.now < since + SILENT_FOR => {
                return Some("it has said nothing of this chain yet".to_owned());
            }
            Err(_) => return None,
        };
        let said = tier?;
        let age = self.now.saturating_duration_since(mate.confirmed);
        let (holds, fresh) = (claim.holds(said), age <= self.lasts);
        match (holds, fresh) {
            (true, true) => None,
            (false, true) => Some(claim.denied(said)),
            (_, false) if mate.answers => Some(format!("its word is {} s old", age.as_secs())),
            (_, false) => Some("it does not answer, and may be alive".to_owned()),
        }
    }

    /// Whether every mate that has a word in it says so now, stale words left aside: of tiers that are ready here, such a
    /// one is where all can follow.
    pub fn all_say(&self, claim: Claim) -> bool {
        self.mates
            .iter()
            .all(|mate| self.objection_of(mate, claim).is_none())
    }

    /// The newest tier that a mate knows, of those that are configured here; none: nothing newer than ours.
    pub fn newer(&self, epoch: u64, tier: u32, configured: impl Fn(u32) -> bool) -> Option<Newer<'a>> {
        let said = self.mates.iter().filter_map(|mate| {
            let said = mate.said.ok()?;
            Some(Newer {
                name: mate.name,
                epoch: said.epoch,
                tier: said.tier,
            })
        });
        said.filter(|newer| configured(newer.tier))
            .max_by_key(|newer| (newer.epoch, Reverse(newer.tier), Reverse(newer.name)))
            .filter(|newer| (newer.epoch, Reverse(newer.tier)) > (epoch, Reverse(tier)))
    }

    /// Mates whose fresh word is that a tier is down.
    pub fn doubters(&self, claim: Claim) -> impl Iterator<Item = &'a str> {
        let fresh = |mate: &&Mate<'a>| self.now.saturating_duration_since(mate.confirmed) <= self.lasts;
        let says = move |mate: &Mate<'a>| {
            let said = mate.said.ok().filter(|said| said.reaches)?;
            let tier = said.tiers.iter().find(|said| said.tier == claim.tier())?;
            claim.holds(tier).then_some(mate.name)
        };
        self.mates.iter().filter(fresh).filter_map(says)
    }

    /// When time alone changes what is agreed: the grace of the beginning, or somebody's silence, is over.
    pub fn changes_at(&self) -> Option<Instant> {
        let silent = self.mates.iter().filter_map(|mate| mate.said.err());
        silent
            .map(|since| since + SILENT_FOR)
            .filter(|at| *at > self.now)
            .chain(self.grace_until)
            .min()
    }

    /// A mate that lives and proves, by its fresh word, that it serves the chain; its name. Whoever serves nobody while such
    /// a one does is blind.
    pub fn who_serves(&self) -> Option<&'a str> {
        let serving = |mate: &&Mate<'a>| {
            let fresh = self.now.saturating_duration_since(mate.confirmed) <= self.lasts;
            mate.answers && fresh && mate.said.is_ok_and(proves)
        };
        self.mates.iter().find(serving).map(|mate| mate.name)
    }

    /// Why a chain that nobody serves here may not be called dead as yet, in words; none: no mate serves it.
    pub fn somebody_may_serve(&self) -> Option<String> {
        if self.grace_until.is_some() {
            return Some("the pool's other proxies have not been heard of yet".to_owned());
        }
        self.mates.iter().find_map(|mate| {
            let claim = match mate.said {
                Ok(said) => Claim::dead(said.tier),
                Err(_) => Claim::dead(0),
            };
            let why = self.objection_of(mate, claim)?;
            Some(format!("{}: {why}", mate.name))
        })
    }

    /// When the oldest evidence that matters ends.
    pub fn stale_at(&self) -> Option<Instant> {
        let ends = self.mates.iter().map(|mate| mate.confirmed + self.lasts);
        ends.filter(|at| *at > self.now).min()
    }
}

/// Whether a proxy that says this serves the chain's next connection by an endpoint that has passed its monitors. One that
/// has just started serves what nobody has looked at yet; that proves nothing.
pub fn proves(said: &ChainSaid) -> bool {
    let mut tiers = said.tiers.iter();
    !said.suspended && tiers.any(|tier| tier.tier == said.tier && tier.serving > 0 && tier.proven > 0)
}

/// A liveness as a mate's part in a change; none: it has none.
pub fn answers(liveness: Liveness) -> Option<bool> {
    match liveness {
        Liveness::Alive => Some(true),
        Liveness::Suspect => Some(false),
        Liveness::Dead => None,
    }
}

#[cfg(test)]
mod tests;
