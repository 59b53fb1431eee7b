//! Servers that come and go.

use switchyard_tests::client::Outcomes;

use super::{Duration, Instant, Lab, Load, SETTLED, Scene, Suite, await_served_by, let_pass, only_by};

pub fn add(suite: &mut Suite) {
    suite.test("redirect::partitions::ten_flaps_a_minute", flaps);
    suite.test("redirect::partitions::all_dead_and_back_one_by_one", all_dead);
}

const FLAPS: usize = 10;
const HALF: Duration = Duration::from_secs(3);

/// The servers of site 1 are away for 3 s, there for 3 s, for a minute: clients are not thrown back and forth as often.
fn flaps(lab: &Lab) {
    let mut scene = Scene::start(lab, &[2, 2], false, "");
    let load = scene.load(1);
    let_pass(Duration::from_secs(1));
    let mut kills = Vec::new();
    for _ in 0..FLAPS {
        kills.push(Instant::now());
        scene.kill(1);
        let_pass(HALF);
        scene.revive(1);
        let_pass(HALF);
    }
    let seen = load.stop();
    let moves = moves(&seen);
    lab.say(format!("{FLAPS} flaps: clients were moved {moves} times\n{seen}"));
    let near = |at: Instant| {
        kills
            .iter()
            .any(|kill| at + Duration::from_millis(500) >= *kill && at <= *kill + SETTLED)
    };
    let far: Vec<_> = seen.failed().filter(|o| !near(o.begun)).collect();
    assert!(
        far.is_empty(),
        "{} failed, not near a kill, such as {:?}",
        far.len(),
        far[0]
    );
    assert!(
        moves < FLAPS,
        "moved {moves} times, there and back with half of all flaps at most"
    );
    scene.must_not_bounce(lab);
}

/// How often the server that answers changed, in the order of the clients' begins.
fn moves(seen: &Outcomes) -> usize {
    let by: Vec<&str> = seen
        .iter()
        .filter_map(|o| o.served.as_ref().map(|(_, greeting)| greeting.name.as_str()))
        .collect();
    by.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// One site's servers die after the other's, until all are dead; they come back in the opposite order.
fn all_dead(lab: &Lab) {
    let mut scene = Scene::start(lab, &[2, 2, 2], false, "connect: {timeout: 1s}");
    let loads = [1, 2, 3].map(|site| scene.load(site));
    let_pass(Duration::from_secs(1));
    let mut steps = Vec::new();
    for site in [1, 2, 3] {
        scene.kill(site);
        let settled = Instant::now() + SETTLED;
        let_pass(2 * SETTLED);
        steps.push((settled, Instant::now()));
    }
    for (site, name) in [(3, "site-3"), (2, "site-2"), (1, "site-1")] {
        let revived = scene.revive(site);
        let own = &loads[usize::from(site) - 1];
        // A detour that was begun is held for 10 s at least.
        let back = await_served_by(own, name, Duration::from_mins(1));
        lab.say(format!(
            "{name} lives: its own clients are served there {:.1?} later",
            back - revived
        ));
        if site == 3 {
            for load in &loads[..2] {
                await_served_by(load, name, SETTLED);
            }
        }
    }
    let seen = loads.map(Load::stop);
    for (site, seen) in (1..).zip(&seen) {
        lab.say(format!("clients of site {site}\n{seen}"));
    }
    let [(from, to), (from_2, to_2), (from_3, to_3)] = [steps[0], steps[1], steps[2]];
    only_by(&seen[0], from, to, "site-2");
    only_by(&seen[2], from, to, "site-3");
    for seen in &seen {
        only_by(seen, from_2, to_2, "site-3");
        // Who came shortly before the first server was back waited for it.
        let dead = seen.begun(from_3, to_3 - Duration::from_millis(1500));
        assert_eq!(
            dead.failed().count(),
            dead.len(),
            "served by nobody's server: {dead}"
        );
        let longest = dead.longest_wait();
        lab.say(format!(
            "all are dead: clients wait {longest:.1?} at most until they are refused"
        ));
    }
    scene.must_not_bounce(lab);
}
