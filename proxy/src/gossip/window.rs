//! Which numbers have been seen. In: counters as they come, in any order. Out: whether one comes for the first time.

/// How far behind the highest a number may come. Older ones are refused, seen or not.
pub(crate) const BEHIND: u64 = 1_024;

const WORDS: usize = (BEHIND / 64) as usize;

/// A sliding window over one sender's counters (as in RFC 4303 §3.4.3).
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// Numbers from here on may come; every lower one is refused.
    floor: u64,
    /// One above the highest that has come.
    next: u64,
    seen: [u64; WORDS],
}

impl Window {
    /// Nothing below `floor` is taken.
    pub(crate) fn new(floor: u64) -> Self {
        Self {
            floor,
            next: floor,
            seen: [0; WORDS],
        }
    }

    /// Whether the number comes for the first time; from then on it has come.
    pub(crate) fn take(&mut self, number: u64) -> bool {
        if number < self.floor || number == u64::MAX || number.saturating_add(BEHIND) < self.next {
            return false;
        }
        if number >= self.next {
            // the places of what was skipped are those of numbers that are too old now
            let skipped = (number - self.next).saturating_add(1);
            if skipped >= BEHIND {
                self.seen = [0; WORDS];
            } else {
                (self.next..=number).for_each(|number| self.clear(number));
            }
            self.next = number + 1;
        }
        let (word, bit) = place(number);
        let fresh = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        fresh
    }

    fn clear(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.seen[word] &= !bit;
    }
}

fn place(number: u64) -> (usize, u64) {
    let index = (number % BEHIND) as usize;
    (index / 64, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a set that forgets nothing: nothing twice, and nothing refused that is new and not too old.
        #[test]
        fn takes_every_number_once(floor in 0_u64..100, numbers in prop::collection::vec(0_u64..5_000, 0..400)) {
            let mut window = Window::new(floor);
            let mut taken = BTreeSet::new();
            let mut highest = floor;
            for number in numbers {
                let old = number < floor || number + BEHIND <= highest.saturating_sub(1);
                let fresh = !old && taken.insert(number);
                prop_assert_eq!(window.take(number), fresh, "{}", number);
                if fresh {
                    highest = highest.max(number + 1);
                }
            }
        }
    }

    #[test]
    fn the_last_number_is_never_taken() {
        let mut window = Window::new(0);
        assert!(window.take(u64::MAX - 1));
        assert!(!window.take(u64::MAX), "there would be no next one");
        assert!(!window.take(5));
    }
}
