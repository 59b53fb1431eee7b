//! Clients that are sent elsewhere, and guests.

use switchyard_discovery::server::What;
use switchyard_snapshot::{GuestsReport, RedirectReport, Standing, StandingReport};

use super::*;
use crate::status::desk::Look;
// the module under test has a function of that name
use crate::status::fixture::chain_id;

pub fn sent(to: &str, since: i64) -> RedirectReport {
    RedirectReport {
        to: chain_id(to),
        since: time(since),
        why: "no endpoint serves for 3 s".into(),
    }
}

/// A proxy whose chain is down, and that sends clients there.
fn away(to: &str, since: i64) -> ChainReport {
    ChainReport {
        redirect: Some(sent(to, since)),
        ..down()
    }
}

fn down() -> ChainReport {
    seen(None, Ejected, Ejected)
}

const DOWN: &str = "no endpoint serves; primary 10.0.0.1:1650 ejected: monitor tcp:1650 failed 2 in a row: connection refused";

/// `active to since guests`.
fn told(scene: &Scene) -> String {
    let Some(redirect) = scene.chain().redirect else {
        return "none".into();
    };
    let since = redirect
        .since
        .map(|since| since.0.as_second() - time(0).as_second());
    let returns = redirect
        .returns_at
        .map(|at| at.0.as_second() - time(0).as_second());
    let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    format!(
        "{} {} since {} guests {} until {}",
        if redirect.active { "active" } else { "over" },
        redirect.to.as_deref().unwrap_or("-"),
        number(since),
        redirect.guests,
        number(returns),
    )
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn whether_clients_are_sent_away_is_the_proxies_majority() {
    let suspended = |redirect| ChainReport {
        suspended: true,
        redirect,
        ..seen(Some((0, 0)), Draining, Draining)
    };
    let held = |since| ChainReport {
        redirect: Some(sent("m", since)),
        ..well()
    };
    let why = "no endpoint serves for 3 s";
    let table: Vec<(&str, Vec<ChainReport>, String, &str, &str)> = vec![
        (
            "all send them",
            vec![away("m", 20), away("m", 10), away("m", 30)],
            format!("True/Redirecting @1: {DOWN}; its clients are sent to m: {why}"),
            "False/NoHealthyBackends",
            "active m since 10 guests 0 until -",
        ),
        (
            "to two chains: most of them to one",
            vec![away("n", 20), away("m", 10), away("n", 30)],
            format!("True/Redirecting @1: {DOWN}; its clients are sent to n: {why} (differs on 1 of 3)"),
            "False/NoHealthyBackends",
            "active n since 10 guests 0 until -",
        ),
        (
            "one of three is blind and sends them to its neighbours",
            vec![away("c", 20), well(), well()],
            "True/Serving @1: primary serves (differs on 1 of 3)".into(),
            "True/Serving",
            "none",
        ),
        (
            "two of three are blind",
            vec![away("c", 20), away("c", 25), well()],
            format!(
                "True/Redirecting @1: {DOWN} (differs on 1 of 3); other proxies of its pool serve its clients: {why} (differs on 1 of 3)"
            ),
            "False/NoHealthyBackends",
            "active c since 20 guests 0 until -",
        ),
        (
            "of two, one sends them and one serves",
            vec![away("m", 20), well()],
            "True/Serving @1: primary serves (differs on 1 of 2)".into(),
            "True/Serving",
            "none",
        ),
        (
            "of two, one sends them and one does not yet",
            vec![away("m", 20), down()],
            format!("True/Redirecting @1: {DOWN}; its clients are sent to m: {why} (differs on 1 of 2)"),
            "False/NoHealthyBackends",
            "active m since 20 guests 0 until -",
        ),
        (
            "it lives again, and the redirect is held for a while",
            vec![held(5), held(6)],
            format!("True/Redirecting @1: its clients are sent to m: {why}"),
            "True/Serving",
            "active m since 5 guests 0 until -",
        ),
        (
            "it is suspended, and another stands in",
            vec![suspended(Some(sent("m", 7)))],
            format!("True/Redirecting @1: it is suspended; its clients are sent to m: {why}"),
            "False/Suspended",
            "active m since 7 guests 0 until -",
        ),
        (
            "it is suspended, and nobody does",
            vec![suspended(None)],
            "False/Suspended @1: it is suspended".into(),
            "False/Suspended",
            "none",
        ),
        (
            "nobody stands in",
            vec![down(), down()],
            format!("False/NoHealthyBackends @1: {DOWN}"),
            "False/NoHealthyBackends",
            "none",
        ),
    ];
    for (what, reports, ready, primary, redirect) in table {
        let names = ["a", "b", "d"];
        let mut scene = Scene::serving(&names[..reports.len()]);
        for (name, report) in names.iter().zip(reports) {
            scene.reports(name, report);
        }
        scene.write();
        assert_eq!(scene.condition("Ready"), ready, "{what}");
        let found = scene.condition("PrimaryActive");
        assert!(found.starts_with(primary), "{what}: {found}");
        assert_eq!(told(&scene), redirect, "{what}");
    }
}

#[test]
fn a_redirect_that_starts_moves_and_ends_is_told_once_each() {
    let mut scene = Scene::serving(&["a", "b"]);
    let mut both = |report: &ChainReport| {
        for name in ["a", "b"] {
            scene.reports(name, report.clone());
        }
        scene.write();
        let events = scene.happened();
        let told = events
            .into_iter()
            .filter(|it| it.starts_with("Redirect"))
            .collect::<Vec<_>>();
        (told, self::told(&scene))
    };
    let start = format!("RedirectStarted: {DOWN}; its clients are sent to m: no endpoint serves for 3 s");
    assert_eq!(
        both(&away("m", 10)),
        (vec![start], "active m since 10 guests 0 until -".into())
    );
    let mut later = away("m", 10);
    later.redirect.as_mut().unwrap().why = "no endpoint serves for 9 s".into();
    assert_eq!(
        both(&later),
        (vec![], "active m since 10 guests 0 until -".into())
    );
    let moved = format!(
        "RedirectStarted: to n, no longer to m: {DOWN}; its clients are sent to n: no endpoint serves for 3 s"
    );
    assert_eq!(
        both(&away("n", 40)),
        (vec![moved], "active n since 10 guests 0 until -".into())
    );
    let end = "RedirectEnded: clients are no longer sent to n: primary serves".to_owned();
    assert_eq!(
        both(&well()),
        (vec![end], "over - since - guests 0 until -".into())
    );
    assert_eq!(both(&well()).0, [""; 0]);
    assert_eq!(both(&away("m", 90)).1, "active m since 90 guests 0 until -");
}

#[test]
fn while_as_many_send_to_two_chains_the_one_that_is_told_stays() {
    let mut scene = Scene::serving(&["a", "b"]);
    scene.reports("a", away("n", 10));
    scene.reports("b", away("n", 10));
    scene.write();
    scene.reports("b", away("m", 10));
    scene.write();
    assert_eq!(told(&scene), "active n since 10 guests 0 until -");
    scene.reports("a", away("m", 10));
    scene.write();
    assert_eq!(told(&scene), "active m since 10 guests 0 until -");
}

#[test]
fn words_that_only_count_on_are_not_written() {
    let mut scene = Scene::serving(&["a"]);
    scene.reports("a", away("m", 10));
    scene.write();
    let writes = scene.writes;
    for seconds in 4..9 {
        let mut report = away("m", 10);
        report.redirect.as_mut().unwrap().why = format!("no endpoint serves for {seconds} s");
        scene.reports("a", report);
        scene.write();
    }
    assert_eq!(scene.writes, writes);
}

#[test]
fn proxies_that_see_nobody_say_whether_it_may_be_their_own_fault() {
    for (standing, doubt) in [
        (Standing::Dead, ""),
        (Standing::Isolated, " (isolated)"),
        (Standing::Blind, " (blind)"),
        (Standing::Unsure, " (unsure)"),
    ] {
        let mut scene = Scene::serving(&["a"]);
        scene.reports(
            "a",
            ChainReport {
                standing: Some(StandingReport {
                    standing,
                    reason: "because".into(),
                }),
                ..down()
            },
        );
        scene.write();
        assert_eq!(
            scene.condition("Ready"),
            format!("False/NoHealthyBackends @1: {DOWN}{doubt}")
        );
    }
}

/// The chain `c` and the chains `m` and `n`, in one group of one pool: who is whose proxy does not matter here.
fn in_a_group(names: &[&str]) -> Scene {
    let mut scene = Scene::serving(names);
    scene.edit(|chain| chain.spec.group = Some("g".into()));
    scene.compile(&key(switchyard_crds::Kind::ProxyChain, "c"), Vec::new());
    for name in ["m", "n"] {
        let mut mate = chain(name);
        mate.spec.group = Some("g".into());
        scene.put(crate::status::board::Object::Chain(std::sync::Arc::new(mate)));
    }
    scene.write();
    scene
}

/// What a proxy says of `c`, and of its guests at `m` and `n`.
fn hosts(
    scene: &mut Scene,
    name: &str,
    of_c: ChainReport,
    at_m: (u64, &[(&str, u64)]),
    at_n: u64,
) -> Vec<String> {
    let host = |id: &str, guests, of: &[(&str, u64)]| ChainReport {
        id: chain_id(id),
        guests,
        guests_of: of
            .iter()
            .map(|(home, guests)| GuestsReport {
                home: chain_id(home),
                guests: *guests,
            })
            .collect(),
        returns_at: (guests > 0).then(|| time(5000)),
        ..well()
    };
    let chains = vec![of_c, host("m", at_m.0, at_m.1), host("n", at_n, &[])];
    let dirty = scene.does(name, What::Reported(report(chains)));
    dirty.iter().map(ToString::to_string).collect()
}

#[test]
fn guests_are_counted_where_they_are_and_told_until_the_last_is_back() {
    let mut scene = in_a_group(&["a", "b"]);
    assert_eq!(told(&scene), "over - since - guests 0 until -");
    for name in ["a", "b"] {
        // 2 of c, 3 of somebody else, 4 that did not say
        hosts(&mut scene, name, away("m", 10), (9, &[("c", 2), ("x", 3)]), 5);
    }
    scene.write();
    assert_eq!(told(&scene), "active m since 10 guests 12 until 5000");
    // it lives again: they stay until prime time
    for name in ["a", "b"] {
        hosts(&mut scene, name, well(), (9, &[("c", 2), ("x", 3)]), 5);
    }
    scene.write();
    assert_eq!(told(&scene), "over m since 10 guests 12 until 5000");
    assert_eq!(scene.condition("Ready"), "True/Serving @1: primary serves");
    let touched = hosts(&mut scene, "a", well(), (5, &[("c", 1), ("x", 3)]), 5);
    assert!(touched.contains(&"ProxyChain edge/c".to_owned()), "{touched:?}");
    scene.write();
    assert_eq!(told(&scene), "over m since 10 guests 8 until 5000");
    for name in ["a", "b"] {
        hosts(&mut scene, name, well(), (3, &[("x", 3)]), 5);
    }
    scene.write();
    assert_eq!(told(&scene), "over - since - guests 0 until -");
    let touched = hosts(&mut scene, "a", well(), (5, &[("x", 3)]), 5);
    assert!(!touched.contains(&"ProxyChain edge/c".to_owned()), "{touched:?}");
}

#[test]
fn another_number_of_guests_is_no_reason_to_write_at_once() {
    let mut scene = in_a_group(&["a"]);
    hosts(&mut scene, "a", away("m", 10), (1, &[]), 0);
    scene.write();
    hosts(&mut scene, "a", away("m", 10), (7, &[]), 0);
    let chain = key(switchyard_crds::Kind::ProxyChain, "c");
    let look = scene.desk.look(&chain, scene.now(), scene.wall());
    assert!(matches!(look, Look::Words(_)), "{look:?}");
}

#[test]
fn a_chain_whose_group_does_not_take_its_clients_says_so() {
    let mut scene = in_a_group(&["a"]);
    hosts(&mut scene, "a", down(), (0, &[]), 0);
    scene.write();
    assert_eq!(
        scene.condition("Ready"),
        format!("False/NoHealthyBackends @1: {DOWN}; no chain of group g takes its clients")
    );
}

#[test]
fn of_a_chain_beyond_this_cluster_nothing_is_said_that_only_proxies_could() {
    let mut scene = Scene::serving(&["a"]);
    scene.edit(|chain| {
        chain.spec.pool_ref = None;
        chain.spec.backends.clear();
        chain.spec.remote =
            Some(serde_json::from_value(serde_json::json!({"addresses": ["dr.example:443"]})).unwrap());
    });
    scene.compile(&key(switchyard_crds::Kind::ProxyChain, "c"), Vec::new());
    scene.write();
    let status = scene.chain();
    let types: Vec<&str> = status.conditions.iter().map(|it| it.type_.as_str()).collect();
    assert_eq!(types, ["Accepted", "ResolvedRefs"]);
    assert_eq!(scene.condition("Accepted"), "True/Accepted @2");
    assert_eq!(
        (status.programmed, status.healthy, status.active),
        (None, None, None)
    );
}
