//! A proxy that has no mate, or none for a while.

use switchyard_tests::client::End;

use super::{
    Cut, Duration, Instant, Lab, MENDED, SETTLED, Scene, Suite, TCP, await_served_by, let_pass, only_by,
    throughout,
};

pub fn add(suite: &mut Suite) {
    suite.test("redirect::partitions::pool_of_one", pool_of_one);
    suite.test("redirect::partitions::isolated", isolated);
    suite.test(
        "redirect::partitions::half_a_pool_restarts_while_the_tier_changes",
        restarts,
    );
}

/// So long a proxy that has just started may serve another tier than its mate, which it has not heard yet.
const ROUND: Duration = Duration::from_millis(500);

/// A pool of one decides alone: first the spare, then the other site, then its own server again.
fn pool_of_one(lab: &Lab) {
    let mut scene = Scene::start(lab, &[1, 2], true, "failover: {failback: Sticky}");
    let load = scene.load(1);
    let_pass(Duration::from_secs(1));
    let killed = Instant::now();
    scene.kill(1);
    let_pass(2 * SETTLED);
    let spare_killed = Instant::now();
    scene.spares[0].kill();
    let_pass(2 * SETTLED);
    let revived = scene.revive(1);
    let back = await_served_by(&load, "site-1", Duration::from_secs(40));
    let seen = load.stop();
    lab.say(format!(
        "served at home {:.1?} after its server lived again\n{seen}",
        back - revived
    ));
    only_by(
        &seen,
        killed + SETTLED,
        spare_killed - Duration::from_millis(100),
        "spare-1",
    );
    only_by(&seen, spare_killed + SETTLED, revived, "site-2");
    scene.must_not_bounce(lab);
}

/// A proxy that reaches nothing knows nothing: it keeps its tier, refuses its clients, and serves them as before once it reaches
/// its servers again.
fn isolated(lab: &Lab) {
    let scene = Scene::start(lab, &[1, 2], true, "connect: {timeout: 1s}");
    let before = scene.sites.site(1).tiers(TCP);
    let (load, other) = (scene.load(1), scene.load(2));
    let begun = Instant::now();
    let spare = scene.spares[0].host();
    let mut all = scene.proxies(2);
    all.extend([&scene.servers[0], &spare]);
    let cut = Cut::from(scene.proxy(1, 1), all);
    let tier_stays = || match scene.sites.site(1).tiers(TCP) {
        now if now == before => Ok(()),
        now => Err(format!("tiers and epochs {now:?}, before {before:?}")),
    };
    throughout("the tier stays", Duration::from_secs(8), tier_stays);
    drop(cut);
    let mended = Instant::now();
    let served = await_served_by(&load, "site-1", MENDED + SETTLED);
    throughout("the tier stays", SETTLED, tier_stays);
    let (seen, other) = (load.stop(), other.stop());
    lab.say(format!(
        "served again {:.1?} after the network was well\n{seen}clients of site 2\n{other}",
        served - mended
    ));
    let during = seen.begun(begun + Duration::from_secs(4), mended - Duration::from_secs(2));
    let silent = during.failed().filter(|o| o.end == End::Timeout).count();
    assert!(silent == 0, "{silent} were left without an answer");
    only_by(&seen, served, Instant::now(), "site-1");
    only_by(&other, begun, Instant::now(), "site-2");
    scene.must_not_bounce(lab);
}

/// The server dies while one of two proxies starts anew, with what it knew before: both end on the spare, and stay, though the
/// server is back when the second has only just come.
fn restarts(lab: &Lab) {
    let mut scene = Scene::start(lab, &[2, 2], true, "failover: {failback: Sticky}");
    let load = scene.load_at(scene.proxy(1, 1).at(TCP.port));
    let_pass(Duration::from_secs(1));
    let killed = Instant::now();
    scene.kill(1);
    let second = &mut scene.sites.site_mut(1).proxies[1];
    second.program().kill();
    second.start_again();
    let switched = scene.sites.site(1).await_tier(TCP, 1);
    // Again, after the change: it must not fall back to what it began with.
    let killed_again = Instant::now();
    let second = &mut scene.sites.site_mut(1).proxies[1];
    second.program().kill();
    scene.revive(1);
    let second = &mut scene.sites.site_mut(1).proxies[1];
    second.start_again();
    second.await_ready(super::sites::SOON);
    let mate = scene.load_at(scene.proxy(1, 2).at(TCP.port));
    let begun = Instant::now();
    let_pass(2 * SETTLED);
    let tiers = scene.sites.site(1).tiers(TCP);
    let (load, mate) = (load.stop(), mate.stop());
    lab.say(format!(
        "both on the spare {:.1?} after the kill; at the end tier and epoch {tiers:?}\nclients of the first\n{load}clients of the \
         second, from when it was ready\n{mate}",
        switched - killed
    ));
    // A detour that was begun before the change is held for a while: site 2 may serve, the server that was left must not.
    let since = load.begun(switched, killed_again).by_name();
    assert!(!since.contains_key("site-1"), "{since:?}");
    for seen in [&load, &mate] {
        let later = seen.begun_since(begun + ROUND);
        later.must_all_be_served();
        assert!(!later.by_name().contains_key("site-1"), "{later}");
    }
    assert!(mate.by_name().contains_key("spare-1"));
    assert_eq!(tiers[0], tiers[1]);
    scene.must_not_bounce(lab);
}
