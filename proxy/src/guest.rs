//! Clients that are here because another chain's proxy sent them: whoever comes to a direct port. In: what a relay header
//! says, or that there is none. Out: one of the listener's places for guests, given back with the connection; and who is here
//! from where.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use switchyard_snapshot::ChainId;

use crate::access_log;
use crate::counters::ChainCounts;
use crate::listener::ChainLocal;
use crate::listener::gate::Pass;

/// One connection on a direct port, a load balancer's probe included.
#[derive(Debug, Default)]
pub(crate) struct Guest {
    /// The chain that it came for; none: whoever redirected it natively has not told us.
    pub(crate) home: Option<ChainId>,
    /// The chain that a relaying proxy asks for; none: it was redirected natively, and the name it came to tells.
    pub(crate) chain: Option<ChainId>,
    /// What it occupies; none: it is a probe, and in no count.
    pub(crate) stay: Option<Stay>,
    /// Where it is counted.
    counted: OnceCell<(Key, Arc<ChainCounts>)>,
}

/// What a guest occupies.
#[derive(Debug)]
pub(crate) struct Stay {
    pub(crate) _passes: Vec<Pass>,
    pub(crate) book: Rc<Book>,
}

/// The chain that serves guests, and the one they came for, where that is known.
pub(crate) type Key = (ChainId, Option<ChainId>);

/// The guests of one worker.
#[derive(Debug, Default)]
pub(crate) struct Book {
    here: RefCell<BTreeMap<Key, u64>>,
}

impl Guest {
    pub(crate) fn new(home: Option<ChainId>, chain: Option<ChainId>, stay: Option<Stay>) -> Self {
        Self {
            home,
            chain,
            stay,
            counted: OnceCell::new(),
        }
    }

    pub(crate) fn is_relayed(&self) -> bool {
        self.chain.is_some()
    }

    /// It is served by `chain`: that is where it is counted from now on. Only the first call counts.
    pub(crate) fn belongs(&self, chain: &ChainLocal) {
        let Some(Stay { book, .. }) = &self.stay else {
            return;
        };
        self.counted.get_or_init(|| {
            let key = (chain.handle.id.clone(), self.home.clone());
            *book.here.borrow_mut().entry(key.clone()).or_default() += 1;
            chain.counts.guests.add(1);
            (key, Arc::clone(&chain.counts))
        });
    }

    /// Whether it goes back once these are alive. Who has not told where it belongs goes where its client is sent next.
    pub(crate) fn returns_to(&self, homes: &HashSet<ChainId>) -> bool {
        self.stay.is_some() && !homes.is_empty() && self.home.as_ref().is_none_or(|home| homes.contains(home))
    }

    /// For people; none: it is a probe.
    pub(crate) fn record(&self) -> Option<access_log::Guest> {
        self.stay.as_ref()?;
        Some(access_log::Guest {
            home: self.home.as_ref().map(ToString::to_string),
            relayed: self.is_relayed(),
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let (Some(Stay { book, .. }), Some((key, counts))) = (&self.stay, self.counted.get()) else {
            return;
        };
        counts.guests_left.add(1);
        let mut here = book.here.borrow_mut();
        if let Some(count) = here.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                here.remove(key);
            }
        }
    }
}

impl Book {
    /// How many are here.
    pub(crate) fn count(&self) -> Vec<(Key, u64)> {
        let here = self.here.borrow();
        here.iter().map(|(key, count)| (key.clone(), *count)).collect()
    }
}
