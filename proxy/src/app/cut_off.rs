//! Whether clients had better be led to another proxy. In: whom this one hears, whom its pool has, whether any chain here has
//! somewhere to send a client, and the time. Out: why, in words; none: they need not.
//!
//! A network that ends at this proxy: to it all servers are dead, and it hears nobody. It can only turn its clients away, and a
//! Service or a load balancer that still reaches it should lead them to the others, who may be well. Nothing is lost when they
//! are not.

use std::time::{Duration, Instant};

use super::Hood;
use crate::gossip::Liveness;

/// Who hears another again does not know at once whether that one can serve, nor has it found its own servers: in this time both
/// are known (two probes of the default interval, and a gossip round).
const SETTLED: Duration = Duration::from_secs(5);

/// Whether this proxy is of no use to any client, while others of its pool may be. A pool of one is never cut off, and neither is
/// who has heard somebody all the while: another proxy can say whether the servers are dead, and take the clients. Who does not
/// gossip cannot tell.
#[derive(Debug, Default)]
pub(super) struct CutOff {
    why: Option<String>,
    /// Since when somebody is heard again.
    heard: Option<Instant>,
}

impl CutOff {
    /// How it is now; says in the log when it begins, and when it has ended.
    pub(super) fn look(&mut self, hood: &Hood, serves: bool, now: Instant) -> Option<&str> {
        let was = self.why.take();
        self.why = self.judge(hood, serves, was.is_some(), now);
        match (&was, &self.why) {
            (None, Some(why)) => tracing::warn!(why, "cut off, and not ready: others may serve its clients"),
            (Some(_), None) => tracing::info!("cut off no more"),
            _ => {}
        }
        self.why.as_deref()
    }

    fn judge(&mut self, hood: &Hood, serves: bool, was: bool, now: Instant) -> Option<String> {
        let others = others(hood).filter(|others| !serves && *others > 0);
        let Some(others) = others else {
            self.heard = None;
            return None;
        };
        let neighbours = &hood.neighbours;
        let mut all = neighbours.peers.values().chain(neighbours.beyond.values());
        if !all.any(|it| it.liveness != Liveness::Dead) {
            self.heard = None;
            return Some(format!(
                "no chain has anywhere to send a client, and none of the pool's others is heard ({others} known)"
            ));
        }
        let heard = *self.heard.get_or_insert(now);
        (was && now.saturating_duration_since(heard) < SETTLED).then(|| {
            "no chain has anywhere to send a client yet; others are heard again since a moment ago".to_owned()
        })
    }
}

/// How many other proxies its pool has; none: it does not listen to them itself.
fn others(hood: &Hood) -> Option<usize> {
    let topology = hood.topology.as_ref().filter(|it| !it.second_hand)?;
    let listed = topology.pool(&topology.me.pool)?.proxies.as_deref()?;
    Some(listed.iter().filter(|it| it.name != topology.me.name).count())
}
