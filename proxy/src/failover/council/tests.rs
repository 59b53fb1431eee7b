use super::*;

const DOWN: Claim = Claim::Down { tier: 0, min: 1 };
const READY: Claim = Claim::Ready { tier: 0, min: 1 };

/// `7/1 0:0/0 1:2/1` is: epoch 7, tier 1; of tier 0 nobody serves; of tier 1 two, one of them proven. `0:-` waits for an
/// answer.
fn said(text: &str) -> ChainSaid {
    let mut parts = text.split(' ');
    let (epoch, tier) = parts.next().unwrap().split_once('/').unwrap();
    let tiers = parts.map(|part| {
        let (tier, numbers) = part.split_once(':').unwrap();
        let numbers = numbers
            .split_once('/')
            .map(|(s, p)| (s.parse().unwrap(), p.parse().unwrap()));
        let (serving, proven) = numbers.unwrap_or((0, 0));
        TierSaid {
            tier: tier.parse().unwrap(),
            serving,
            proven,
            pending: numbers.is_none(),
        }
    });
    ChainSaid {
        epoch: epoch.parse().unwrap(),
        tier: tier.parse().unwrap(),
        tiers: tiers.collect(),
        suspended: false,
        detours: false,
        reaches: true,
    }
}

fn ago(now: Instant, millis: u64) -> Instant {
    now.checked_sub(Duration::from_millis(millis)).unwrap()
}

/// The objection of one mate that said `words` so long ago.
fn objection(words: &ChainSaid, answers: bool, millis: u64, claim: Claim) -> String {
    let now = Instant::now() + Duration::from_hours(1);
    let mate = Mate {
        name: "b",
        answers,
        confirmed: ago(now, millis),
        said: Ok(words),
    };
    let council = Council::new(vec![mate], Duration::from_secs(4), ago(now, 60_000), now);
    council.objection(claim).unwrap_or_default()
}

#[test]
fn who_has_to_say_the_same_and_how_lately() {
    // words, answers, how long ago in ms, claim, objection
    let table = [
        ("0/0 0:0/0", true, 0, DOWN, ""),
        ("0/0 0:0/0", true, 4_000, DOWN, ""),
        ("0/0 0:0/0", true, 4_001, DOWN, "waits for b: its word is 4 s old"),
        ("0/0 0:1/1", true, 0, DOWN, "waits for b: it still sees tier 0 up"),
        ("0/0 0:1/0", true, 0, DOWN, "waits for b: it still sees tier 0 up"),
        (
            "0/0 0:-",
            true,
            0,
            DOWN,
            "waits for b: it does not know yet how tier 0 does",
        ),
        ("0/0 0:1/1", true, 9_000, DOWN, "waits for b: its word is 9 s old"),
        // suspect: its last word counts for as long as any word does
        ("0/0 0:0/0", false, 3_000, DOWN, ""),
        (
            "0/0 0:0/0",
            false,
            4_500,
            DOWN,
            "waits for b: it does not answer, and may be alive",
        ),
        (
            "0/0 0:1/1",
            false,
            500,
            DOWN,
            "waits for b: it still sees tier 0 up",
        ),
        ("0/0 0:1/1", true, 0, READY, ""),
        (
            "0/0 0:1/0",
            true,
            0,
            READY,
            "waits for b: it does not see tier 0 up",
        ),
        (
            "0/0 0:-",
            true,
            0,
            READY,
            "waits for b: it does not see tier 0 up",
        ),
        // it runs another configuration
        ("0/0 1:1/1", true, 0, DOWN, ""),
        ("0/0 1:1/1", true, 0, READY, ""),
    ];
    for (words, answers, millis, claim, expected) in table {
        let found = objection(&said(words), answers, millis, claim);
        assert_eq!(found, expected, "{words} {answers} {millis} {claim:?}");
    }
    let mut isolated = said("0/0 0:1/1");
    isolated.reaches = false;
    assert_eq!(objection(&isolated, true, 0, DOWN), "", "it knows nothing");
}

#[test]
fn who_starts_hears_others_first_and_waits_for_the_silent_for_a_while() {
    let now = Instant::now() + Duration::from_hours(1);
    let lasts = Duration::from_secs(4);
    let council = |mates, since: u64, at| Council::new(mates, lasts, ago(now, since), at);
    let nobody = council(vec![], 999, now);
    assert_eq!(
        nobody.objection(DOWN).as_deref(),
        Some("waits for a first word of the pool's other proxies")
    );
    assert_eq!(nobody.changes_at(), Some(now + Duration::from_millis(1)));
    let later = council(vec![], 1_000, now);
    assert_eq!((later.objection(DOWN), later.changes_at()), (None, None));
    let heard = said("0/0 0:0/0");
    let mate = |said| Mate {
        name: "b",
        answers: true,
        confirmed: now,
        said,
    };
    assert_eq!(council(vec![mate(Ok(&heard))], 10, now).objection(DOWN), None);
    let silent = |millis| council(vec![mate(Err(ago(now, millis)))], 60_000, now);
    assert_eq!(
        silent(4_999).objection(DOWN).as_deref(),
        Some("waits for b: it has said nothing of this chain yet")
    );
    assert_eq!(silent(4_999).changes_at(), Some(now + Duration::from_millis(1)));
    assert_eq!(silent(5_000).objection(DOWN), None);
    let two = council(vec![mate(Err(now)), mate(Err(now))], 60_000, now);
    assert_eq!(
        two.objection(READY).as_deref(),
        Some("waits for b: it has said nothing of this chain yet; and for 1 more")
    );
}

/// What mates say, our epoch and tier, whose is newer.
type Epochs = (&'static [&'static str], u64, u32, Option<(u64, u32)>);

#[test]
fn the_higher_epoch_holds_and_of_equals_the_better_tier() {
    let now = Instant::now();
    let table: [Epochs; 8] = [
        (&["3/1"], 2, 0, Some((3, 1))),
        (&["3/1"], 3, 1, None),
        (&["3/1"], 3, 0, None),
        (&["3/0"], 3, 1, Some((3, 0))),
        (&["3/1", "5/2", "4/0"], 3, 1, Some((5, 2))),
        (&["5/2", "5/1"], 3, 1, Some((5, 1))),
        // tier 9 is not configured here
        (&["7/9", "4/2"], 3, 1, Some((4, 2))),
        (&[], 0, 0, None),
    ];
    for (texts, epoch, tier, expected) in table {
        let words: Vec<ChainSaid> = texts.iter().map(|text| said(text)).collect();
        let mates = words.iter().map(|said| Mate {
            name: "b",
            answers: false,
            confirmed: now,
            said: Ok(said),
        });
        let council = Council::new(mates.collect(), Duration::from_secs(4), now, now);
        let newer = council.newer(epoch, tier, |tier| tier < 3);
        assert_eq!(newer.map(|n| (n.epoch, n.tier)), expected, "{texts:?}");
    }
}

#[test]
fn evidence_lasts_two_intervals_and_a_second_at_least() {
    let mut health = crate::chain::fixture::health();
    assert_eq!(evidence_lasts(&health), Duration::from_secs(4));
    health.interval = Duration::from_millis(100);
    assert_eq!(evidence_lasts(&health), Duration::from_secs(1));
}
