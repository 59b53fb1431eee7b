//! Metrics of gossip: what goes over the wire, what is refused, who is heard.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Reading;
use super::families::Families;
use crate::gossip::{GossipCounters, Liveness, Neighbours, Refused};

/// What is known of gossip at one moment.
#[derive(Debug)]
pub(super) struct Gossip {
    pub(super) counters: Arc<GossipCounters>,
    pub(super) neighbours: Arc<Neighbours>,
}

impl Reading {
    /// Nothing, where this proxy talks to nobody.
    pub(super) fn gossip(&self, out: &mut Families<'_>) -> Result<(), Error> {
        let Some(Gossip { counters, neighbours }) = &self.gossip else {
            return Ok(());
        };
        let direction = |received, sent| [([("direction", "in")], received), ([("direction", "out")], sent)];
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        out.counters(
            "gossip_datagrams",
            "Datagrams of gossip",
            direction(count(&counters.datagrams_in), count(&counters.datagrams_out)),
        )?;
        out.counters(
            "gossip_bytes",
            "Bytes of gossip",
            direction(count(&counters.bytes_in), count(&counters.bytes_out)),
        )?;
        out.counter(
            "gossip_unsent",
            "Datagrams that the system did not take",
            count(&counters.unsent),
        )?;
        out.counters(
            "gossip_refused",
            "Datagrams that were not believed, by reason",
            Refused::ALL.map(|why| ([("reason", why.word())], counters.refused(why))),
        )?;
        let states = [
            (Liveness::Alive, "alive"),
            (Liveness::Suspect, "suspect"),
            (Liveness::Dead, "dead"),
        ];
        let peers = states.map(|(state, word)| {
            let is = neighbours.peers.values().filter(|peer| peer.liveness == state);
            ([("state", word)], is.count() as f64)
        });
        out.gauges("peers", "Other proxies, by whether they live", peers)
    }
}
