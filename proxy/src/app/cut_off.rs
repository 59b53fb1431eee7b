//! Whether clients had better be led to another proxy. In: whom this one hears, whom its pool has, how many of the chains here
//! have somewhere to send a client, and the time. Out: why, in words; none: they need not.
//!
//! A network that ends at this proxy: to it all servers are dead, and it hears nobody. It can only turn its clients away, and a
//! Service or a load balancer that still reaches it should lead them to the others, who may be well. Nothing is lost when they
//! are not. Where its network is back, the first of its chains may have to wait a moment for the last: others may be well still.

use std::time::{Duration, Instant};

use super::Hood;
use crate::gossip::Liveness;

/// Who hears another again does not know at once whether that one can serve, nor has it found its own servers: in this time both
/// are known (two probes of the default interval, and a gossip round).
const SETTLED: Duration = Duration::from_secs(5);

/// Who has found the servers of one chain finds those of the others in this time (the default interval and timeout of probes).
const FOUND: Duration = Duration::from_secs(3);

/// Of how many clients this proxy is of use: which of its chains have somewhere to send theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serving {
    No,
    /// The clients of the other chains are turned away.
    Some,
    /// Also who has no chain at all.
    All,
}

impl Serving {
    /// Of chains of which each has somewhere to send a client, or has not.
    pub(super) fn of(chains: impl Iterator<Item = bool>) -> Self {
        let (mut any, mut all) = (false, true);
        for serves in chains {
            any |= serves;
            all &= serves;
        }
        match (any, all) {
            (_, true) => Self::All,
            (true, false) => Self::Some,
            (false, false) => Self::No,
        }
    }
}

/// Whether this proxy is of no use to any client, while others of its pool may be. A pool of one is never cut off, and neither is
/// who has heard somebody all the while: another proxy can say whether the servers are dead, and take the clients. Who does not
/// gossip cannot tell.
#[derive(Debug, Default)]
pub(super) struct CutOff {
    why: Option<String>,
    /// Since when there is this much of its network: somebody is heard and no chain has a server, or some chains have.
    sign: Option<(Serving, Instant)>,
}

impl CutOff {
    /// How it is now; says in the log when it begins, and when it has ended.
    pub(super) fn look(&mut self, hood: &Hood, serving: Serving, now: Instant) -> Option<&str> {
        let was = self.why.take();
        self.why = self.judge(hood, serving, was.is_some(), now);
        match (&was, &self.why) {
            (None, Some(why)) => tracing::warn!(why, "cut off, and not ready: others may serve its clients"),
            (Some(_), None) => tracing::info!("cut off no more"),
            _ => {}
        }
        self.why.as_deref()
    }

    fn judge(&mut self, hood: &Hood, serving: Serving, was: bool, now: Instant) -> Option<String> {
        let others = others(hood).filter(|others| serving != Serving::All && *others > 0);
        let Some(others) = others else {
            self.sign = None;
            return None;
        };
        let neighbours = &hood.neighbours;
        let mut all = neighbours.peers.values().chain(neighbours.beyond.values());
        let heard = all.any(|it| it.liveness != Liveness::Dead);
        let (limit, which) = match serving {
            Serving::No if !heard => {
                self.sign = None;
                return Some(format!(
                    "no chain has anywhere to send a client, and none of the pool's others is heard ({others} known)"
                ));
            }
            Serving::No => (SETTLED, "no chain has"),
            Serving::Some | Serving::All => (FOUND, "not every chain has"),
        };
        let same = self.sign.filter(|(known, _)| *known == serving);
        let (_, since) = *self.sign.insert(same.unwrap_or((serving, now)));
        let settling = was && now.saturating_duration_since(since) < limit;
        settling
            .then(|| format!("{which} anywhere to send a client yet; its network is back since a moment ago"))
    }
}

/// How many other proxies its pool has; none: it does not listen to them itself.
fn others(hood: &Hood) -> Option<usize> {
    let topology = hood.topology.as_ref().filter(|it| !it.second_hand)?;
    let listed = topology.pool(&topology.me.pool)?.proxies.as_deref()?;
    Some(listed.iter().filter(|it| it.name != topology.me.name).count())
}
