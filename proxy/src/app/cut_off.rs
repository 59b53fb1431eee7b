//! Whether clients had better be led to another proxy. In: whom this one hears, whom its pool has, and whether any chain here has
//! somewhere to send a client. Out: why, in words; none: they need not.
//!
//! A network that ends at this proxy: to it all servers are dead, and it hears nobody. It can only turn its clients away, and a
//! Service or a load balancer that still reaches it should lead them to the others, who may be well. Nothing is lost when they
//! are not.

use super::Hood;
use crate::gossip::Liveness;

/// Why this proxy is of no use to any client, while others of its pool may be. A pool of one is never cut off, and neither is who
/// hears anybody: another proxy can say whether the servers are dead, and take the clients. Who does not gossip cannot tell.
pub(super) fn why(hood: &Hood, serves: bool) -> Option<String> {
    if serves {
        return None;
    }
    let topology = hood.topology.as_ref()?;
    let listed = topology.pool(&topology.me.pool)?.proxies.as_deref()?;
    let others = listed.iter().filter(|it| it.name != topology.me.name).count();
    let neighbours = &hood.neighbours;
    let mut all = neighbours.peers.values().chain(neighbours.beyond.values());
    if others == 0 || topology.second_hand || all.any(|it| it.liveness != Liveness::Dead) {
        return None;
    }
    Some(format!(
        "no chain has anywhere to send a client, and of the pool's {others} other proxies none is heard"
    ))
}

/// Says in the log when it begins, and when it has ended.
#[derive(Debug, Default)]
pub(super) struct Log {
    cut_off: bool,
}

impl Log {
    /// It is so now.
    pub(super) fn note(&mut self, why: Option<&str>) {
        match (self.cut_off, why) {
            (false, Some(why)) => tracing::warn!(why, "cut off, and not ready: others may serve its clients"),
            (true, None) => tracing::info!("cut off no more"),
            _ => {}
        }
        self.cut_off = why.is_some();
    }
}
