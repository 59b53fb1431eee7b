//! What a proxy says of itself, with the version of each part's last change. In: what it says now, or [`Delta`]s of it. Out:
//! the deltas that bring somebody who holds an older version up to date, each short enough for a datagram.
//!
//! A delta holds all changes after one version up to another, in order, so whoever has applied it holds what the proxy said at
//! that version, but for changes that came later still; one that holds the newest version holds the whole truth.

use std::collections::BTreeMap;

use switchyard_snapshot::ChainId;

use super::wire::{Delta, Entry, MAX_TIERS, What, chain_fits};
use super::{ChainSaid, Said};

/// Chains of one proxy that are told; a proxy that had more would say nothing of the rest.
pub(crate) const MAX_CHAINS: usize = 4_096;
/// Removed chains that are remembered. Whoever holds a version older than what was forgotten is told everything anew.
const MAX_GONE: usize = 256;
/// More endpoints than this are told as so many.
const MANY: u32 = 9_999;

/// A part of what a proxy says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Head,
    Chain(ChainId),
}

/// What one proxy says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    said: Said,
    version: u64,
    /// The version of each part's last change; of removed chains too.
    changed: BTreeMap<Subject, u64>,
    /// The same, the other way round.
    order: BTreeMap<u64, Subject>,
    /// How many of them are chains that are gone.
    gone: usize,
    /// Removals up to this version are forgotten.
    floor: u64,
}

impl Log {
    /// What it says.
    pub(crate) fn said(&self) -> &Said {
        &self.said
    }

    /// Counts the changes; 0: it has said nothing yet.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Says something new of itself; whether anything has changed. The first time everything has.
    pub(crate) fn say(&mut self, said: &Said) -> bool {
        let before = self.version;
        if before == 0 || (said.leaving, said.load) != (self.said.leaving, self.said.load) {
            (self.said.leaving, self.said.load) = (said.leaving, said.load);
            self.touch(Subject::Head);
        }
        let told = |id: &&ChainId| chain_fits(id);
        let gone: Vec<_> = self
            .said
            .chains
            .keys()
            .filter(|id| !said.chains.contains_key(*id))
            .cloned()
            .collect();
        for id in gone {
            self.said.chains.remove(&id);
            self.touch(Subject::Chain(id));
            self.gone += 1;
        }
        for id in said.chains.keys().filter(told).take(MAX_CHAINS) {
            let chain = bounded(&said.chains[id]);
            if self.said.chains.get(id) != Some(&chain) {
                self.set(id.clone(), chain);
            }
        }
        self.forget();
        self.version != before
    }

    fn set(&mut self, id: ChainId, chain: ChainSaid) {
        let subject = Subject::Chain(id.clone());
        let known = self.changed.contains_key(&subject);
        if self.said.chains.insert(id, chain).is_none() && known {
            self.gone -= 1;
        }
        self.touch(subject);
    }

    /// The part has changed just now.
    fn touch(&mut self, subject: Subject) {
        self.version += 1;
        self.note(subject, self.version);
    }

    fn note(&mut self, subject: Subject, version: u64) {
        self.order.insert(version, subject.clone());
        if let Some(before) = self.changed.insert(subject, version) {
            self.order.remove(&before);
        }
    }

    /// Forgets removals, if there are too many: what is left gets new versions, so that nobody can hold one from before.
    fn forget(&mut self) {
        if self.gone <= MAX_GONE {
            return;
        }
        self.floor = self.version;
        self.gone = 0;
        self.changed.clear();
        for subject in std::mem::take(&mut self.order).into_values() {
            let lives = match &subject {
                Subject::Head => true,
                Subject::Chain(id) => self.said.chains.contains_key(id),
            };
            if lives {
                self.touch(subject);
            }
        }
    }

    /// What to tell somebody who holds version `after`, in `room` bytes of entries; none: there is nothing newer, or not even
    /// one entry has room.
    pub(crate) fn delta(&self, after: u64, room: usize) -> Option<Delta> {
        if after >= self.version {
            return None;
        }
        let base = if after < self.floor { 0 } else { after };
        let mut delta = Delta {
            base,
            upto: base,
            entries: Vec::new(),
        };
        let mut used = 0;
        for (&version, subject) in self.order.range(base + 1..) {
            let entry = self.entry(version, subject);
            used += entry.length();
            if used > room {
                break;
            }
            delta.entries.push(entry);
            delta.upto = version;
        }
        (delta.upto > base).then_some(delta)
    }

    fn entry(&self, version: u64, subject: &Subject) -> Entry {
        let what = match subject {
            Subject::Head => What::Head {
                leaving: self.said.leaving,
                load: self.said.load,
            },
            Subject::Chain(id) => match self.said.chains.get(id) {
                Some(chain) => What::Chain(id.clone(), chain.clone()),
                None => What::Gone(id.clone()),
            },
        };
        Entry { version, what }
    }

    /// Takes in what another has told of itself; whether it was of use.
    pub(crate) fn apply(&mut self, delta: Delta) -> bool {
        if delta.upto <= self.version || delta.base > self.version {
            return false;
        }
        if delta.base == 0 {
            // what was removed before the first of these, nobody knows any more
            *self = Self {
                floor: delta
                    .entries
                    .first()
                    .map_or(delta.upto, |first| first.version - 1),
                ..Self::default()
            };
        }
        for entry in delta.entries {
            if entry.version > self.version {
                self.take(entry);
            }
        }
        self.version = delta.upto;
        true
    }

    fn take(&mut self, entry: Entry) {
        match entry.what {
            What::Head { leaving, load } => {
                (self.said.leaving, self.said.load) = (leaving, load);
                self.note(Subject::Head, entry.version);
            }
            What::Chain(id, chain) => {
                let subject = Subject::Chain(id.clone());
                let known = self.changed.contains_key(&subject);
                if !known && self.said.chains.len() >= MAX_CHAINS {
                    return;
                }
                if self.said.chains.insert(id, chain).is_none() && known {
                    self.gone -= 1;
                }
                self.note(subject, entry.version);
            }
            What::Gone(id) => {
                // one that was never here is remembered too: who is told by us may have had it
                let had = self.said.chains.remove(&id).is_some();
                let subject = Subject::Chain(id);
                let new = !self.changed.contains_key(&subject);
                if new && self.gone > MAX_GONE {
                    return;
                }
                self.gone += usize::from(had || new);
                self.note(subject, entry.version);
            }
        }
    }
}

/// As much of it as is told: with the longest names it still fits into a datagram.
fn bounded(chain: &ChainSaid) -> ChainSaid {
    let mut chain = chain.clone();
    chain.tiers.truncate(MAX_TIERS);
    for tier in &mut chain.tiers {
        tier.serving = tier.serving.min(MANY);
        tier.proven = tier.proven.min(MANY);
    }
    chain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gossip::wire::{MAX_NAME, ROOM};
    use crate::gossip::{Load, TierSaid};

    fn id(n: u16) -> ChainId {
        ChainId {
            namespace: "edge".into(),
            name: format!("chain-{n}"),
        }
    }

    fn said(chains: &[(u16, u64)], sessions: u32) -> Said {
        let chains = chains.iter().map(|&(n, epoch)| {
            let chain = ChainSaid {
                epoch,
                tiers: vec![TierSaid {
                    tier: 0,
                    serving: 2,
                    proven: 1,
                    pending: false,
                }],
                ..ChainSaid::default()
            };
            (id(n), chain)
        });
        Said {
            load: Load {
                sessions,
                ..Load::default()
            },
            chains: chains.collect(),
            ..Said::default()
        }
    }

    /// Brings `held` up to date, a datagram at a time; how many it took.
    fn catch_up(from: &Log, held: &mut Log, room: usize) -> usize {
        let mut datagrams = 0;
        while let Some(delta) = from.delta(held.version(), room) {
            assert!(held.apply(delta), "a delta for what is held is of use");
            datagrams += 1;
        }
        datagrams
    }

    #[derive(Clone, Debug)]
    enum Step {
        Say(Vec<(u16, u64)>, u32),
        /// One datagram of so many bytes arrives.
        Deliver(usize),
        /// A delta made for another version arrives.
        Odd(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let say = (prop::collection::btree_map(0_u16..12, 0_u64..3, 0..8), 0_u32..3)
            .prop_map(|(chains, sessions)| Step::Say(chains.into_iter().collect(), sessions));
        let step = prop_oneof![
            say,
            (40_usize..200).prop_map(Step::Deliver),
            (0_u64..60).prop_map(Step::Odd)
        ];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        /// Whatever is lost, late or cut: who holds the newest version holds exactly what is said; and a third who is told
        /// by the holder does, too.
        #[test]
        fn who_has_the_newest_version_has_the_truth(steps in steps()) {
            let (mut own, mut held, mut third) = (Log::default(), Log::default(), Log::default());
            for step in steps {
                match step {
                    Step::Say(chains, sessions) => {
                        let said = said(&chains, sessions);
                        own.say(&said);
                        prop_assert_eq!(own.said(), &said);
                        prop_assert!(!own.say(&said), "nothing new");
                    }
                    Step::Deliver(room) => {
                        if let Some(delta) = own.delta(held.version(), room) {
                            held.apply(delta);
                        }
                    }
                    Step::Odd(after) => {
                        if let Some(delta) = own.delta(after, 120) {
                            held.apply(delta);
                        }
                    }
                }
                if held.version() == own.version() {
                    prop_assert_eq!(held.said(), own.said());
                    catch_up(&held, &mut third, 150);
                    prop_assert_eq!(third.said(), own.said());
                }
                if own.version() % 3 == 0
                    && let Some(delta) = own.delta(third.version(), 90)
                {
                    third.apply(delta);
                }
            }
            catch_up(&own, &mut held, 150);
            prop_assert_eq!(held.said(), own.said());
        }
    }

    #[test]
    fn many_chains_take_several_datagrams_and_one_change_takes_one_entry() {
        let chains: Vec<_> = (0..300).map(|n| (n, 1)).collect();
        let (mut own, mut held) = (Log::default(), Log::default());
        own.say(&said(&chains, 1));
        let datagrams = catch_up(&own, &mut held, 1_000);
        assert!((6..12).contains(&datagrams), "{datagrams}");
        let mut changed = chains;
        changed[17].1 = 2;
        own.say(&said(&changed, 1));
        let delta = own.delta(held.version(), 1_000).unwrap();
        assert_eq!(delta.entries.len(), 1);
    }

    #[test]
    fn removals_are_not_remembered_for_ever() {
        let (mut own, mut late) = (Log::default(), Log::default());
        own.say(&said(&[(0, 1), (1, 1)], 1));
        catch_up(&own, &mut late, 1_000);
        for n in 2..(MAX_GONE as u16 + 10) {
            own.say(&said(&[(0, 1), (n, 1)], 1));
        }
        assert!(own.order.len() <= MAX_GONE + 3, "{}", own.order.len());
        assert_eq!(own.delta(late.version(), 40).unwrap().base, 0, "everything anew");
        assert!(catch_up(&own, &mut late, 40) > 1, "in several datagrams");
        assert_eq!(late.said(), own.said());
    }

    #[test]
    fn the_longest_chain_fits_into_a_datagram() {
        let long = ChainId {
            namespace: "n".repeat(MAX_NAME),
            name: "c".repeat(MAX_NAME),
        };
        let tier = TierSaid {
            tier: u32::MAX,
            serving: u32::MAX,
            proven: u32::MAX,
            pending: true,
        };
        let chain = ChainSaid {
            epoch: u64::MAX,
            tier: u32::MAX,
            tiers: vec![tier; 100],
            ..ChainSaid::default()
        };
        let mut own = Log::default();
        own.say(&Said {
            chains: [(long, chain)].into(),
            ..Said::default()
        });
        assert_eq!(own.delta(0, ROOM).map(|delta| delta.upto), Some(own.version()));
    }

    #[test]
    fn nothing_is_told_of_chains_beyond_the_bounds() {
        let long = ChainId {
            namespace: "x".repeat(300),
            name: "c".into(),
        };
        let mut said = said(&[(1, 1)], 1);
        said.chains.insert(long, ChainSaid::default());
        let mut own = Log::default();
        own.say(&said);
        assert_eq!(own.said().chains.keys().collect::<Vec<_>>(), [&id(1)]);
        assert!(!own.say(&said), "said once");
    }
}
