//! Thousands of small histories of whole proxies, each from its seed: gossip and chains as they are, in two sites or three, with
//! servers that die and return, partitions (one way, too, and from servers only), losses, crashes, restarts, clocks that are set;
//! and clients, which follow what they are told, hop by hop. Time is simulated; no byte leaves the process. In: a seed. Out:
//! nothing, where all that must hold has held at every moment ([`check`]) and in the end ([`history`]).
//!
//! `SWITCHYARD_SOAK=1` runs twenty times as many. A failure names its seed; `SWITCHYARD_SEED=…` runs that one alone.

mod check;
mod client;
mod ground;
mod history;
mod plan;
mod proxy;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use world::{Tally, World};

/// Which seeds to run: so many, or more, or one.
fn seeds(many: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    match (number("SWITCHYARD_SEED"), number("SWITCHYARD_SOAK")) {
        (Some(seed), _) => vec![seed],
        (None, Some(1..)) => (0..20 * many).collect(),
        _ => (0..many).collect(),
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    tally: Tally,
    slowest: Duration,
}

impl Sum {
    fn add(&mut self, world: &World, took: Duration) {
        let (sum, one) = (&mut self.tally, world.tally);
        sum.at_home += one.at_home;
        sum.elsewhere += one.elsewhere;
        sum.bounced += one.bounced;
        sum.refused += one.refused;
        sum.lost += one.lost;
        self.slowest = self.slowest.max(took);
    }
}

/// Runs histories side by side, one thread per core.
fn histories(proxies: impl Fn(u64) -> usize + Sync, events: usize, many: u64) {
    let seeds = seeds(many);
    let (next, sum) = (AtomicUsize::new(0), Mutex::new(Sum::default()));
    let work = || {
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut world = World::new(proxies(seed), seed);
            let took = world.run(events);
            sum.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(&world, took);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let Sum { tally, slowest } = *sum.lock().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} histories, settled after {slowest:?} of calm at most; clients: {tally:?}",
        seeds.len()
    );
    let alone = seeds.len() == 1;
    assert!(
        alone || (tally.at_home > 0 && tally.elsewhere > 0 && tally.refused > 0),
        "{tally:?}"
    );
}

#[test]
fn property_small_groups_bear_everything() {
    histories(|seed| 3 + (seed % 4) as usize, 6, 100);
}

#[test]
fn property_middling_groups_bear_everything() {
    histories(|seed| 8 + (seed % 6) as usize, 4, 2);
}

#[test]
fn property_large_groups_bear_everything() {
    let soak = std::env::var("SWITCHYARD_SOAK").is_ok();
    histories(|seed| if soak { 20 + (seed % 31) as usize } else { 20 }, 1, 1);
}
