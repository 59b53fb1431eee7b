//! A proxy whose network was broken, and is well again.

use super::*;

const MAIN: &str = "10.0.0.1";
const SPARE: &str = "10.0.1.1";

/// A main server and its spare; both pass.
fn served() -> Rig {
    let mut rig = Rig::new(vec![backend("main", MAIN, 0), backend("spare", SPARE, 1)]);
    rig.probed(SPARE, "++");
    rig.probed(MAIN, "++");
    assert_eq!(rig.candidates(), [MAIN]);
    rig
}

/// Neither answers any more.
fn cut_off(rig: &mut Rig) {
    for _ in 0..4 {
        rig.pass(1_000);
        rig.probed(MAIN, "-");
        rig.probed(SPARE, "-");
    }
    assert_eq!(tier(rig), (0, 0));
    rig.pass(1_000);
}

fn tier(rig: &Rig) -> (u32, u64) {
    (rig.state.machine.tier(), rig.state.machine.epoch())
}

fn ordered_to_confirm(rig: &Rig, address: &str) -> bool {
    rig.orders.contains(&Order::Confirm(rig.id(address)))
}

#[test]
fn who_answers_first_does_not_take_over_from_one_that_is_well_too() {
    let mut rig = served();
    cut_off(&mut rig);
    rig.probed(SPARE, "+");
    assert!(
        ordered_to_confirm(&rig, MAIN),
        "it is asked at once: {:?}",
        rig.orders
    );
    rig.probed(SPARE, "++");
    rig.pass(500);
    assert_eq!(tier(&rig), (0, 0));
    rig.probed(MAIN, "+");
    rig.probed(SPARE, "+");
    assert_eq!(
        tier(&rig),
        (0, 0),
        "one pass of two brings nobody back, but it answers"
    );
    rig.probed(MAIN, "+");
    rig.pass(60_000);
    assert_eq!((tier(&rig), rig.candidates()), ((0, 0), vec![MAIN.to_owned()]));
}

#[test]
fn what_failed_before_is_asked_once_more_and_then_left() {
    for begun_before in [true, false] {
        let mut rig = served();
        cut_off(&mut rig);
        let begun = rig.clock.0.mono;
        rig.pass(100);
        rig.probed(SPARE, "++");
        assert_eq!(tier(&rig), (0, 0));
        rig.pass(100);
        let endpoint = rig.id(MAIN);
        let result = Err("no answer within 1s".to_owned());
        if begun_before {
            rig.send(Event::Confirmed {
                endpoint,
                begun,
                result: result.clone(),
            });
            assert_eq!(tier(&rig), (0, 0), "that probe began while nothing answered");
        }
        let begun = rig.clock.0.mono;
        rig.send(Event::Confirmed {
            endpoint,
            begun,
            result,
        });
        assert_eq!((tier(&rig), rig.candidates()), ((1, 1), vec![SPARE.to_owned()]));
    }
}

/// A probe that is never heard of keeps nobody for ever.
#[test]
fn an_answer_that_does_not_come_is_waited_for_for_a_while() {
    let mut rig = served();
    cut_off(&mut rig);
    rig.probed(SPARE, "++");
    let health = &rig.state.chain.health;
    let patience = (1 + health.rise) * (health.interval + health.timeout);
    rig.pass(patience.as_millis() as u64 - 1);
    assert_eq!(tier(&rig), (0, 0));
    rig.pass(1);
    assert_eq!(tier(&rig), (1, 1));
}

/// Whoever starts, and finds one dead and the other well, waits for nothing.
#[test]
fn a_start_is_no_blackout() {
    for order in [[MAIN, SPARE], [SPARE, MAIN]] {
        let mut rig = Rig::new(vec![backend("main", MAIN, 0), backend("spare", SPARE, 1)]);
        for address in order {
            rig.probed(address, if address == MAIN { "--" } else { "++" });
        }
        assert_eq!(tier(&rig), (1, 1), "{order:?}");
    }
}

/// As long as anything answers, a failure is that of the endpoint.
#[test]
fn while_the_spare_answers_nothing_is_asked_twice() {
    let mut rig = served();
    rig.pass(1_000);
    rig.probed(MAIN, "-");
    rig.probed(SPARE, "+");
    rig.probed(MAIN, "-");
    rig.probed(SPARE, "+");
    assert_eq!(tier(&rig), (1, 1));
}

/// The way back is as good as the way there.
#[test]
fn the_main_server_does_not_take_over_from_a_spare_that_is_well() {
    let mut rig = served();
    rig.probed(MAIN, "--");
    rig.probed(SPARE, "+");
    assert_eq!(tier(&rig), (1, 1));
    for _ in 0..3 {
        rig.pass(1_000);
        rig.probed(SPARE, "-");
    }
    rig.pass(100);
    rig.probed(MAIN, "+++");
    rig.pass(100);
    assert_eq!(tier(&rig), (1, 1));
    rig.probed(SPARE, "++");
    rig.pass(60_000);
    assert_eq!(tier(&rig), (1, 1));
}

/// Where all who may be well would still be too few, there is nothing to wait for.
#[test]
fn who_could_not_serve_anyway_is_not_waited_for() {
    let mut chain = fixture::chain(vec![backend("main", MAIN, 0), backend("spare", "b", 1)]);
    chain.failover.min_healthy = 2;
    let mut rig = Rig::of(chain, None);
    rig.answers("b", &["10.0.1.1", "10.0.1.2"]);
    for address in [MAIN, "10.0.1.1", "10.0.1.2"] {
        rig.probed(address, "--");
    }
    rig.probed("10.0.1.1", "++");
    rig.probed("10.0.1.2", "++");
    assert_eq!(tier(&rig), (1, 1));
}
