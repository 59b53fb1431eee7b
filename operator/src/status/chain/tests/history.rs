//! Changes of the active tier, and the events of them.

use super::*;

fn history(scene: &Scene) -> Vec<(i64, String, String)> {
    let transitions = scene.chain().transitions;
    let each = |it: &switchyard_crds::proxychain::Transition| {
        (
            it.at.0.as_second() - time(0).as_second(),
            it.from.clone(),
            it.to.clone(),
        )
    };
    transitions.iter().map(each).collect()
}

fn step(at: i64, from: &str, to: &str) -> (i64, String, String) {
    (at, from.into(), to.into())
}

#[test]
fn a_failover_and_a_failback_are_told_once_each_however_many_saw_them() {
    let mut scene = Scene::serving(&["a", "b", "d"]);
    for (name, at) in [("a", 1003), ("b", 1001), ("d", 1000)] {
        scene.reports(name, failed_over(at));
    }
    scene.write();
    assert_eq!(history(&scene), [step(1000, "primary", "standby")]);
    assert_eq!(
        scene.happened(),
        [
            "FailedOver: from primary to standby: primary is down",
            "BackendDown: primary: 10.0.0.1:1650 ejected: monitor tcp:1650 failed 2 in a row: connection refused",
        ]
    );
    for (name, at) in [("a", 1060), ("b", 1061), ("d", 1062)] {
        let mut report = ChainReport {
            active: seen(Some((0, at)), Serving, Serving).active,
            ..well()
        };
        report.transitions = vec![
            change(1003, "primary", "standby"),
            change(at, "standby", "primary"),
        ];
        scene.reports(name, report);
    }
    scene.write();
    assert_eq!(
        history(&scene),
        [step(1000, "primary", "standby"), step(1060, "standby", "primary")]
    );
    assert_eq!(
        scene.happened(),
        [
            "FailedBack: from standby back to primary: standby is down",
            "BackendUp: primary is back in rotation"
        ]
    );
    assert_eq!(scene.chain().active.unwrap().since, seconds(time(1060)));
}

#[test]
fn there_and_back_between_two_writes_is_not_lost() {
    let mut scene = Scene::serving(&["a"]);
    let mut report = well();
    report.active.as_mut().unwrap().since = time(1020);
    report.transitions = vec![
        change(1000, "primary", "standby"),
        change(1020, "standby", "primary"),
    ];
    scene.reports("a", report);
    scene.write();
    assert_eq!(
        history(&scene),
        [step(1000, "primary", "standby"), step(1020, "standby", "primary")]
    );
    assert_eq!(
        scene.happened(),
        [
            "FailedOver: from primary to standby: primary is down",
            "FailedBack: from standby back to primary: standby is down"
        ]
    );
    assert_eq!(scene.chain().active.unwrap().since, seconds(time(1020)));
}

#[test]
fn there_and_back_within_one_second_stays_in_order() {
    let mut scene = Scene::serving(&["a"]);
    let mut report = well();
    let mut back = change(1000, "standby", "primary");
    back.at += jiff::SignedDuration::from_millis(400);
    report.transitions = vec![change(1000, "primary", "standby"), back];
    scene.reports("a", report);
    scene.write();
    assert_eq!(
        history(&scene),
        [step(1000, "primary", "standby"), step(1000, "standby", "primary")]
    );
}

#[test]
fn the_history_outlives_the_proxies_that_made_it() {
    let mut scene = Scene::serving(&["a"]);
    scene.reports("a", failed_over(1000));
    scene.write();
    scene.happened();
    let writes = scene.writes;
    // the same tier, but a proxy that has just started and knows nothing of how it came to it
    scene.reports(
        "a",
        ChainReport {
            transitions: Vec::new(),
            ..failed_over(2000)
        },
    );
    scene.write();
    assert_eq!(scene.writes, writes, "{:#?}", scene.chain());
    assert_eq!(history(&scene), [step(1000, "primary", "standby")]);
    assert_eq!(scene.happened(), Vec::<String>::new());
}

#[test]
fn a_change_that_nobody_reports_is_told_all_the_same() {
    let mut scene = Scene::serving(&["a"]);
    scene.reports(
        "a",
        ChainReport {
            transitions: Vec::new(),
            ..failed_over(1010)
        },
    );
    scene.write();
    assert_eq!(history(&scene), [step(1010, "primary", "standby")]);
    assert_eq!(
        scene.happened()[0],
        "FailedOver: from primary to standby: as most proxies report"
    );
}

#[test]
fn ten_changes_are_kept() {
    let mut scene = Scene::serving(&["a"]);
    let turns = |n: i64| -> Vec<_> {
        let each = |i: i64| {
            let (from, to) = if i % 2 == 0 {
                ("primary", "standby")
            } else {
                ("standby", "primary")
            };
            change(1000 + 100 * i, from, to)
        };
        (0..n).map(each).collect()
    };
    scene.reports(
        "a",
        ChainReport {
            transitions: turns(8),
            ..well()
        },
    );
    scene.write();
    scene.reports(
        "a",
        ChainReport {
            transitions: turns(14)[4..].to_vec(),
            ..well()
        },
    );
    scene.write();
    assert_eq!(history(&scene).len(), 10);
    assert_eq!(history(&scene)[0].0, 1400);
    let told = scene.happened();
    assert_eq!(
        told.iter().filter(|it| it.starts_with("Failed")).count(),
        14,
        "{told:#?}"
    );
}

#[test]
fn endpoints_that_outlive_their_resolver_are_told_once() {
    let mut scene = Scene::serving(&["a"]);
    scene.reports("a", seen(Some((0, 0)), Stale, Serving));
    scene.write();
    assert_eq!(
        scene.happened(),
        ["EndpointsStale: primary: 10.0.0.1:1650 served: stale 3 s, monitor tcp:1650 passes"]
    );
    scene.reports("a", well());
    scene.write();
    assert_eq!(scene.happened(), Vec::<String>::new());
}

#[test]
fn a_backend_whose_name_leads_nowhere_has_left_rotation() {
    let mut scene = Scene::serving(&["a"]);
    let mut report = well();
    report.endpoints.pop();
    (report.endpoints_total, report.endpoints_serving) = (1, 1);
    scene.reports("a", report);
    scene.write();
    assert_eq!(
        scene.happened(),
        ["BackendDown: standby: no endpoint is known any more"]
    );
}

#[test]
fn a_backend_that_is_new_has_not_come_back() {
    let mut scene = Scene::new(1);
    scene.connect("a");
    scene.runs("a", &[("c", "c 1")]);
    scene.reports("a", well());
    scene.write();
    assert_eq!(scene.happened(), Vec::<String>::new());
}
