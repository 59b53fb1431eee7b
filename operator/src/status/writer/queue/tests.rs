use std::collections::BTreeMap;

use proptest::prelude::*;
use switchyard_crds::Kind;

use super::*;
use crate::status::fixture::key;

fn object(i: usize) -> ObjectKey {
    key(Kind::ProxyChain, &format!("c{i}"))
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A time at which everything that is marked at `at` has settled.
fn settled(at: Instant) -> Instant {
    at + SETTLE
}

#[test]
fn soon_when_quiet_and_a_second_after_a_write() {
    let (mut queue, marked) = (Queue::default(), Instant::now());
    let start = settled(marked);
    queue.mark(&object(0), marked);
    assert_eq!(queue.pop(marked + ms(99)), None);
    // what comes meanwhile is in the same turn, and does not put it off
    queue.mark(&object(0), marked + ms(99));
    assert_eq!(queue.pop(start), Some(object(0)));
    // what changes while it is written has a turn of its own
    queue.mark(&object(0), start + ms(5));
    assert_eq!(queue.pop(start + ms(6)), None);
    queue.finished(&object(0), Turn::Written, 0.0, start + ms(10));
    assert_eq!(queue.next(), Some(start + ms(1010)));
    assert_eq!(queue.pop(start + ms(1009)), None);
    assert_eq!(queue.pop(start + ms(1010)), Some(object(0)));
    queue.finished(&object(0), Turn::Idle, 0.0, start + ms(1010));
    assert_eq!(queue.next(), None);
    queue.mark(&object(0), start + ms(5000));
    assert_eq!(queue.pop(settled(start + ms(5000))), Some(object(0)));
}

#[test]
fn answers_are_waited_for_but_not_for_ever() {
    let (mut queue, start) = (Queue::default(), Instant::now());
    let k = object(0);
    let waits = |queue: &mut Queue, at: Instant| {
        assert_eq!(queue.pop(at), Some(object(0)));
        let waits = queue.may_wait(&object(0), at);
        let turn = if waits { Turn::Unanswered } else { Turn::Written };
        queue.finished(&object(0), turn, 0.0, at);
        waits
    };
    queue.mark(&k, start);
    assert!(waits(&mut queue, start + ms(100)));
    assert_eq!(queue.next(), Some(start + PATIENCE));
    // an answer, after which another is missing
    queue.mark(&k, start + ms(300));
    assert!(waits(&mut queue, start + ms(400)));
    // one that comes while the object has its turn
    queue.mark(&k, start + ms(500));
    assert_eq!(queue.pop(start + ms(600)), Some(k.clone()));
    queue.mark(&k, start + ms(600));
    queue.finished(&k, Turn::Unanswered, 0.0, start + ms(600));
    assert!(waits(&mut queue, start + ms(700)));
    // the last one never comes
    assert!(!waits(&mut queue, start + PATIENCE));
    assert_eq!(queue.next(), None);
    // the patience is that of the change, not of the object
    let later = start + ms(10_000);
    queue.mark(&k, later);
    assert!(waits(&mut queue, later + ms(100)));
    assert_eq!(queue.next(), Some(later + PATIENCE));
}

#[test]
fn one_object_waits_once_and_does_not_hold_up_others() {
    let (mut queue, start) = (Queue::default(), Instant::now());
    for _ in 0..1000 {
        queue.mark(&object(0), start);
    }
    queue.mark(&object(1), start);
    assert_eq!(queue.len(), 2);
    let start = settled(start);
    assert_eq!(
        (queue.pop(start), queue.pop(start), queue.pop(start)),
        (Some(object(0)), Some(object(1)), None)
    );
}

#[test]
fn only_so_many_are_under_way() {
    let (mut queue, start) = (Queue::default(), Instant::now());
    for i in 0..=IN_FLIGHT {
        queue.mark(&object(i), start);
    }
    assert!(!queue.is_behind(start));
    let start = settled(start);
    assert!(queue.is_behind(start));
    let popped: Vec<_> = std::iter::from_fn(|| queue.pop(start)).collect();
    assert_eq!(popped.len(), IN_FLIGHT);
    assert!(queue.is_behind(start), "one has no place, though it is its turn");
    assert_eq!(queue.next(), None, "nothing is due as long as nobody has ended");
    queue.finished(&popped[0], Turn::Written, 0.0, start);
    assert!(queue.pop(start).is_some());
}

#[test]
fn a_busy_api_server_has_less_to_do_at_one_time() {
    let (mut queue, mut now) = (Queue::default(), Instant::now());
    let mut next = 0;
    // as many as may be are under way, and each takes so long
    let mut round = |queue: &mut Queue, took: Duration| {
        for i in next..next + IN_FLIGHT {
            queue.mark(&object(i), now);
        }
        next += IN_FLIGHT;
        now += SETTLE;
        let popped: Vec<_> = std::iter::from_fn(|| queue.pop(now)).collect();
        now += took;
        for key in &popped {
            queue.finished(key, Turn::Written, 0.0, now);
        }
        popped.len()
    };
    assert_eq!(round(&mut queue, BUSY), IN_FLIGHT);
    assert_eq!(round(&mut queue, BUSY + ms(1)), IN_FLIGHT);
    let busy = round(&mut queue, BUSY + ms(1));
    assert_eq!(busy, IN_FLIGHT_BUSY, "all of them took long");
    assert_eq!(round(&mut queue, ms(5)), IN_FLIGHT_BUSY);
    let more: Vec<usize> = (0..7).map(|_| round(&mut queue, ms(5))).collect();
    assert_eq!(more, [3, 4, 5, 6, 7, 8, 8]);
}

#[test]
fn looks_that_write_nothing_say_nothing_of_the_api_server() {
    let (mut queue, start) = (Queue::default(), Instant::now());
    for turn in [Turn::Idle, Turn::Lazy, Turn::Unanswered] {
        queue.mark(&object(0), start);
        let began = start + LAZY_PAUSE;
        assert_eq!(queue.pop(began), Some(object(0)));
        queue.finished(&object(0), turn, 0.0, began + BUSY * 2);
    }
    assert_eq!(queue.limit.at_one_time, IN_FLIGHT);
}

#[test]
fn failures_back_off_and_a_conflict_comes_back_soon() {
    for (turn, waits) in [
        (Turn::Failed, [1000, 2000, 4000, 8000, 16000, 30000, 30000]),
        (Turn::Conflict, [20, 40, 80, 160, 320, 640, 1000]),
    ] {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.mark(&object(0), now);
        now = settled(now);
        for wait in waits {
            assert_eq!(queue.pop(now), Some(object(0)));
            queue.finished(&object(0), turn, 0.0, now);
            assert_eq!(queue.next(), Some(now + ms(wait)));
            now += ms(wait);
        }
    }
}

#[test]
fn words_alone_wait_and_news_do_not_wait_for_them() {
    let (mut queue, start, k) = (Queue::default(), Instant::now(), object(0));
    // Looks at it; whether only words have changed, and they wait.
    let waits = |queue: &mut Queue, at: Instant| {
        assert_eq!(queue.pop(at), Some(object(0)));
        let waits = queue.words_wait(&object(0), at);
        let turn = if waits { Turn::Lazy } else { Turn::Written };
        queue.finished(&object(0), turn, 0.0, at);
        waits
    };
    queue.mark(&k, start);
    assert!(waits(&mut queue, settled(start)));
    assert_eq!(queue.next(), Some(start + WORDS_SETTLE));
    // other words do not make them wait longer
    queue.mark(&k, start + ms(3000));
    assert_eq!(queue.next(), Some(settled(start + ms(3000))));
    assert!(waits(&mut queue, settled(start + ms(3000))));
    let written = start + WORDS_SETTLE;
    assert_eq!(queue.next(), Some(written));
    assert!(!waits(&mut queue, written));
    // not twice in half a minute
    queue.mark(&k, written + ms(2000));
    assert!(waits(&mut queue, settled(written + ms(2000))));
    assert_eq!(queue.next(), Some(written + LAZY_PAUSE));
    // what is more than words comes in between, with them, and waits for answers from when it came
    let news = written + ms(20_000);
    queue.mark(&k, news);
    assert_eq!(queue.pop(settled(news)), Some(k.clone()));
    assert!(queue.may_wait(&k, settled(news)));
    queue.finished(&k, Turn::Written, 0.0, settled(news));
    assert_eq!(queue.next(), None);
}

#[test]
fn what_is_gone_is_forgotten() {
    let (mut queue, start) = (Queue::default(), Instant::now());
    queue.mark(&object(0), start);
    queue.forget(&object(0));
    assert_eq!((queue.pop(settled(start)), queue.next()), (None, None));
    queue.mark(&object(1), start);
    queue.pop(settled(start));
    queue.forget(&object(1));
    queue.finished(&object(1), Turn::Gone, 0.0, start);
    assert_eq!(queue.entries.len(), 0);
}

/// What befalls the writer.
#[derive(Clone, Debug)]
enum Step {
    Mark(usize),
    Pass(u64),
    End(usize, Turn),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let turn = prop_oneof![
        4 => Just(Turn::Written),
        2 => Just(Turn::Idle),
        1 => Just(Turn::Lazy),
        1 => Just(Turn::Unanswered),
        1 => Just(Turn::Conflict),
        1 => Just(Turn::Failed),
    ];
    let step = prop_oneof![
        4 => (0usize..4).prop_map(Step::Mark),
        3 => (1u64..700).prop_map(Step::Pass),
        4 => (0usize..4, turn).prop_map(|(i, turn)| Step::End(i, turn)),
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    /// Whatever changes, and however writes end, the API server never gets two writes of one object within a second; and no
    /// change is left behind.
    #[test]
    fn never_two_writes_of_one_object_within_a_second(steps in steps()) {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        let mut under_way: BTreeMap<ObjectKey, Instant> = BTreeMap::new();
        // a write that failed may have arrived
        let mut last: BTreeMap<ObjectKey, Instant> = BTreeMap::new();
        let mut changed: BTreeMap<ObjectKey, bool> = BTreeMap::new();
        let mut steps = steps;
        // in the end all is quiet: everything has had its turn
        steps.extend((0..200).flat_map(|i| [Step::End(i % 4, Turn::Written), Step::Pass(300)]));
        for step in steps {
            match step {
                Step::Mark(i) => {
                    queue.mark(&object(i), now);
                    changed.insert(object(i), true);
                }
                Step::Pass(milliseconds) => now += ms(milliseconds),
                Step::End(i, turn) => {
                    let key = object(i);
                    if under_way.remove(&key).is_some() {
                        if matches!(turn, Turn::Written | Turn::Failed) {
                            last.insert(key.clone(), now);
                        }
                        if matches!(turn, Turn::Conflict | Turn::Failed | Turn::Lazy | Turn::Unanswered) {
                            changed.insert(key.clone(), true);
                        }
                        queue.finished(&key, turn, 0.5, now);
                    }
                }
            }
            while let Some(key) = queue.pop(now) {
                prop_assert!(!under_way.contains_key(&key), "two at one time");
                if let Some(last) = last.get(&key) {
                    prop_assert!(now >= *last + PAUSE, "{:?} after the last one", now - *last);
                }
                changed.insert(key.clone(), false);
                under_way.insert(key, now);
            }
            prop_assert!(under_way.len() <= IN_FLIGHT);
        }
        prop_assert!(changed.values().all(|changed| !changed), "{:?}", changed);
    }
}
