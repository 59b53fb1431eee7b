//! Proxies that do not hear each other, or not all of it.

use super::{
    Cut, Duration, Instant, Lab, MENDED, SETTLED, Scene, Suite, TCP, await_served_by, let_pass, only_by,
    throughout,
};

pub fn add(suite: &mut Suite) {
    suite.test(
        "redirect::partitions::site_cut_off_from_peers_not_from_clients",
        peers,
    );
    suite.test("redirect::partitions::one_proxy_is_blind", blind);
    suite.test(
        "redirect::partitions::one_of_a_pool_of_two_is_cut_off",
        one_of_two,
    );
    suite.test("redirect::partitions::gossip_in_one_direction", one_direction);
    suite.test("redirect::partitions::thirty_percent_of_gossip_is_lost", loss);
    suite.test(
        "redirect::partitions::two_sites_believe_each_other_dead",
        believed_dead,
    );
}

/// How long a network stays as it is, so that everybody has drawn conclusions: peers count as dead after 5 s.
const LONG: Duration = Duration::from_secs(7);

/// A site hears no other: its clients notice nothing. Its servers die: there is nobody whom it knows to live, so clients are
/// refused, until the network is well again.
fn peers(lab: &Lab) {
    let mut scene = Scene::start(lab, &[2, 2], false, "");
    let begun = Instant::now();
    let (first, second) = (scene.load(1), scene.load(2));
    let cuts = Cut::between(&scene.proxies(1), &scene.proxies(2));
    let_pass(LONG);
    let killed = Instant::now();
    scene.kill(1);
    let_pass(SETTLED);
    drop(cuts);
    let mended = Instant::now();
    let served = await_served_by(&first, "site-2", MENDED + SETTLED);
    let_pass(Duration::from_secs(3));
    let (first, second) = (first.stop(), second.stop());
    lab.say(format!(
        "clients of site 1\n{first}clients of site 2\n{second}served by site 2 at the latest {:.1?} after the network was well",
        served - mended
    ));
    only_by(&first, begun, killed - Duration::from_millis(100), "site-1");
    only_by(&first, served, Instant::now(), "site-2");
    only_by(&second, begun, Instant::now(), "site-2");
    scene.must_not_bounce(lab);
}

/// One proxy does not reach the server that its mate reaches: its clients go through the mate, and the tier stays, though a spare
/// would serve.
fn blind(lab: &Lab) {
    let scene = Scene::start(lab, &[2, 2], true, "");
    let before = scene.sites.site(1).tiers(TCP);
    let load = scene.load_at(scene.proxy(1, 1).at(TCP.port));
    let mate = scene.load_at(scene.proxy(1, 2).at(TCP.port));
    let begun = Instant::now();
    let cut = Cut::from(scene.proxy(1, 1), [&scene.servers[0]]);
    let tier_stays = || match scene.sites.site(1).tiers(TCP) {
        now if now == before => Ok(()),
        now => Err(format!("tiers and epochs {now:?}, before {before:?}")),
    };
    throughout("the tier stays", LONG, tier_stays);
    let relayed = scene.sites.hops().iter().filter(|hops| **hops == 2).count();
    drop(cut);
    throughout("the tier stays", SETTLED, tier_stays);
    let (load, mate) = (load.stop(), mate.stop());
    lab.say(format!(
        "clients of the blind one\n{load}clients of its mate\n{mate}{relayed} were relayed"
    ));
    only_by(&load, begun, Instant::now(), "site-1");
    only_by(&mate, begun, Instant::now(), "site-1");
    assert!(relayed > 0, "nobody went through the mate");
    scene.must_not_bounce(lab);
}

/// One of two hears nobody, but reaches servers: both decide for themselves, the same, and agree when they hear each other again.
fn one_of_two(lab: &Lab) {
    let mut scene = Scene::start(lab, &[2, 2], true, "failover: {failback: Sticky}");
    let load = scene.load(1);
    let begun = Instant::now();
    let mut others = scene.proxies(2);
    others.push(scene.proxy(1, 2));
    let cuts = Cut::between(&[scene.proxy(1, 1)], &others);
    let_pass(LONG);
    let killed = Instant::now();
    scene.kill(1);
    let switched = scene.sites.site(1).await_tier(TCP, 1);
    let_pass(SETTLED);
    drop(cuts);
    let_pass(MENDED);
    scene.revive(1);
    let tiers = scene.sites.site(1).tiers(TCP);
    let_pass(SETTLED);
    let seen = load.stop();
    lab.say(format!(
        "both on the spare {:.1?} after the kill; once they hear each other: tier and epoch {tiers:?}\n{seen}",
        switched - killed
    ));
    only_by(&seen, begun, killed - Duration::from_millis(100), "site-1");
    only_by(&seen, killed + SETTLED, Instant::now(), "spare-1");
    assert_eq!(tiers[0], tiers[1], "they do not agree");
    scene.must_not_bounce(lab);
}

/// One proxy does not hear its mate, nor one of the other site; these hear it.
fn one_direction(lab: &Lab) {
    let mut scene = Scene::start(lab, &[2, 2], false, "");
    let load = scene.load(1);
    let begun = Instant::now();
    let _cut = Cut::gossip_from(scene.proxy(1, 1), [scene.proxy(1, 2), scene.proxy(2, 1)]);
    let_pass(LONG);
    let killed = Instant::now();
    scene.kill(1);
    let_pass(LONG);
    let seen = load.stop();
    lab.say(seen.to_string());
    only_by(&seen, begun, killed - Duration::from_millis(100), "site-1");
    only_by(&seen, killed + SETTLED, Instant::now(), "site-2");
    scene.must_not_bounce(lab);
}

/// Nearly a third of all datagrams is lost: nobody is taken for dead, and who dies is left as fast.
fn loss(lab: &Lab) {
    let mut scene = Scene::start(lab, &[2, 2, 2], false, "");
    let loads = [1, 2, 3].map(|site| scene.load(site));
    let begun = Instant::now();
    let _cuts: Vec<Cut> = scene
        .sites
        .hosts()
        .into_iter()
        .map(|host| Cut::loses(host, 30))
        .collect();
    let_pass(2 * LONG);
    let killed = Instant::now();
    scene.kill(1);
    let_pass(LONG);
    let seen = loads.map(super::Load::stop);
    for (site, seen) in (1..).zip(&seen) {
        lab.say(format!("clients of site {site}\n{seen}"));
    }
    only_by(&seen[0], begun, killed - Duration::from_millis(100), "site-1");
    only_by(&seen[0], killed + SETTLED, Instant::now(), "site-2");
    only_by(&seen[1], begun, Instant::now(), "site-2");
    only_by(&seen[2], begun, Instant::now(), "site-3");
    scene.must_not_bounce(lab);
}

/// First both die at once, each sent its clients to the other until it knew better; then neither hears the other, and both die
/// again; then one of them lives.
fn believed_dead(lab: &Lab) {
    let mut scene = Scene::start(lab, &[2, 2], false, "");
    let (first, second) = (scene.load(1), scene.load(2));
    scene.kill(1);
    scene.kill(2);
    let_pass(SETTLED);
    scene.revive(1);
    scene.revive(2);
    // A detour that has begun is held for 10 s at least.
    await_served_by(&first, "site-1", Duration::from_secs(40));
    await_served_by(&second, "site-2", Duration::from_secs(40));
    let (one, two) = (scene.proxies(1), scene.proxies(2));
    let deaf = |these: &[&super::Host], those: &[&super::Host]| -> Vec<Cut> {
        these
            .iter()
            .map(|host| Cut::gossip_from(host, those.iter().copied()))
            .collect()
    };
    let cuts = [deaf(&one, &two), deaf(&two, &one)];
    let_pass(LONG);
    scene.kill(1);
    scene.kill(2);
    let_pass(SETTLED);
    scene.revive(2);
    await_served_by(&second, "site-2", Duration::from_mins(1));
    drop(cuts);
    let mended = Instant::now();
    let served = await_served_by(&first, "site-2", MENDED + SETTLED);
    let (first, second) = (first.stop(), second.stop());
    lab.say(format!(
        "clients of site 1\n{first}clients of site 2\n{second}site 1's are served by site 2 {:.1?} after they hear each other",
        served - mended
    ));
    scene.must_not_bounce(lab);
}
