use switchyard_crds::proxychain::EndpointState as State;
use switchyard_snapshot::EndpointState::{Draining, Ejected, Serving, Stale};
use switchyard_snapshot::{ChainReport, EndpointReport};

use super::*;
use crate::status::desk::Look;
use crate::status::fixture::*;
// the module under test has a function of that name
use crate::status::fixture::refusal;

mod history;
mod properties;
mod redirect;
mod unanswered;

fn c() -> ResourceId {
    chain_resource("c")
}

#[test]
fn a_chain_that_all_serve() {
    let scene = Scene::serving(&["a", "b"]);
    let status = scene.chain();
    assert_eq!(status.observed_generation, Some(1));
    let types: Vec<&str> = status.conditions.iter().map(|it| it.type_.as_str()).collect();
    assert_eq!(
        types,
        ["Accepted", "ResolvedRefs", "Programmed", "PrimaryActive", "Ready"]
    );
    assert_eq!(scene.condition("Accepted"), "True/Accepted @1");
    assert_eq!(scene.condition("ResolvedRefs"), "True/ResolvedRefs @1");
    assert_eq!(
        scene.condition("Programmed"),
        "True/Programmed @1: 2 of 2 programmed"
    );
    assert_eq!(
        scene.condition("PrimaryActive"),
        "True/Serving @1: primary serves"
    );
    assert_eq!(scene.condition("Ready"), "True/Serving @1: primary serves");
    let active = status.active.unwrap();
    assert_eq!(
        (active.backend.as_str(), active.tier, active.since),
        ("primary", 0, seconds(time(0)))
    );
    assert_eq!(
        (status.healthy.as_deref(), status.programmed.as_deref()),
        (Some("2/2"), Some("2/2"))
    );
    let endpoints: Vec<_> = status
        .endpoints
        .iter()
        .map(|it| (it.backend.as_str(), it.address.as_str(), it.state))
        .collect();
    assert_eq!(
        endpoints,
        [
            ("primary", "10.0.0.1:1650", State::Serving),
            ("standby", "10.0.0.2:1650", State::Serving)
        ]
    );
}

#[test]
fn every_way_to_be_served_or_not_has_its_reason() {
    let suspended = || {
        let mut report = seen(Some((0, 0)), Draining, Draining);
        report.suspended = true;
        report
    };
    for (report, ready, primary) in [
        (
            well(),
            "True/Serving @1: primary serves",
            "True/Serving @1: primary serves",
        ),
        (
            seen(Some((0, 0)), Serving, Ejected),
            "True/Serving @1: primary serves",
            "True/Serving @1: primary serves",
        ),
        (
            seen(Some((0, 0)), Stale, Serving),
            "True/ServingStale @1: primary serves, though the resolver does not answer for it",
            "True/Serving @1: primary serves",
        ),
        (
            // a standby that is stale makes nobody's service stale
            seen(Some((0, 0)), Serving, Stale),
            "True/Serving @1: primary serves",
            "True/Serving @1: primary serves",
        ),
        (
            failed_over(10),
            "True/OnBackup @1: standby of tier 1 serves, tier 0 does not",
            "False/OnBackup @1: standby of tier 1 serves, tier 0 does not",
        ),
        (
            // tiers are strict: the standby has not taken over yet, so nobody is served
            seen(Some((0, 0)), Ejected, Serving),
            "False/NoHealthyBackends @1: no endpoint serves; primary 10.0.0.1:1650 ejected: monitor tcp:1650 failed 2 in a row: connection refused",
            "False/NoHealthyBackends @1: no endpoint serves; primary 10.0.0.1:1650 ejected: monitor tcp:1650 failed 2 in a row: connection refused",
        ),
        (
            seen(None, Ejected, Ejected),
            "False/NoHealthyBackends @1: no endpoint serves; primary 10.0.0.1:1650 ejected: monitor tcp:1650 failed 2 in a row: connection refused",
            "False/NoHealthyBackends @1: no endpoint serves; primary 10.0.0.1:1650 ejected: monitor tcp:1650 failed 2 in a row: connection refused",
        ),
        (
            suspended(),
            "False/Suspended @1: it is suspended",
            "False/Suspended @1: it is suspended",
        ),
    ] {
        let mut scene = Scene::serving(&["a"]);
        scene.reports("a", report);
        scene.write();
        assert_eq!(scene.condition("Ready"), ready);
        assert_eq!(scene.condition("PrimaryActive"), primary);
    }
}

#[test]
fn a_chain_without_any_known_endpoint_says_so() {
    let mut scene = Scene::serving(&["a"]);
    let mut report = seen(None, Ejected, Ejected);
    report.endpoints.clear();
    (report.endpoints_total, report.endpoints_serving) = (0, 0);
    scene.reports("a", report);
    scene.write();
    assert_eq!(
        scene.condition("Ready"),
        "False/NoHealthyBackends @1: no endpoint serves, none is known"
    );
    assert_eq!(scene.chain().healthy.as_deref(), Some("0/0"));
    assert_eq!(scene.chain().active, None);
}

#[test]
fn two_of_three_programmed_while_one_lags() {
    let mut scene = Scene::serving(&["a", "b", "slow"]);
    scene.edit(|chain| chain.spec.hostnames = vec!["sync.example".into()]);
    scene.publish(&[
        (ResourceId::Pool, "pool 1"),
        (ResourceId::Listener("sync".into()), "sync 1"),
        (c(), "c 2"),
    ]);
    scene.compile(&key(switchyard_crds::Kind::ProxyChain, "c"), Vec::new());
    scene.write();
    assert_eq!(
        scene.condition("Programmed"),
        "False/Pending @2: 0 of 3 programmed; waiting for a, b, slow"
    );
    // clients are served by what was there before, and `kubectl wait` sees that this is not about the new generation
    assert_eq!(scene.condition("Ready"), "True/Serving @1: primary serves");
    for name in ["a", "b"] {
        scene.runs(name, &[("c", "c 2")]);
        scene.reports(
            name,
            ChainReport {
                generation: 2,
                ..well()
            },
        );
    }
    scene.write();
    assert_eq!(
        scene.condition("Programmed"),
        "False/PartiallyProgrammed @2: 2 of 3 programmed; waiting for slow"
    );
    assert_eq!(scene.chain().programmed.as_deref(), Some("2/3"));
    assert_eq!(scene.condition("Ready"), "True/Serving @2: primary serves");
    scene.runs("slow", &[("c", "c 2")]);
    scene.write();
    assert_eq!(
        scene.condition("Programmed"),
        "True/Programmed @2: 3 of 3 programmed"
    );
}

#[test]
fn a_report_that_was_under_way_when_the_generation_was_acknowledged_is_about_the_old_one() {
    let mut scene = Scene::serving(&["a"]);
    scene.edit(|chain| chain.spec.backends[0].host = Some("dead.example".into()));
    scene.publish(&[(c(), "c 2")]);
    scene.compile(&key(switchyard_crds::Kind::ProxyChain, "c"), Vec::new());
    scene.runs("a", &[("c", "c 2")]);
    scene.reports("a", well());
    scene.write();
    assert_eq!(
        scene.condition("Programmed"),
        "True/Programmed @2: 1 of 1 programmed"
    );
    assert_eq!(scene.condition("Ready"), "True/Serving @1: primary serves");
    scene.reports(
        "a",
        ChainReport {
            generation: 2,
            ..seen(None, Ejected, Ejected)
        },
    );
    scene.write();
    assert!(
        scene
            .condition("Ready")
            .starts_with("False/NoHealthyBackends @2: "),
        "{}",
        scene.condition("Ready")
    );
}

#[test]
fn a_proxy_that_does_not_say_its_generation_is_judged_by_what_it_acknowledged() {
    let mut scene = Scene::serving(&["a"]);
    scene.edit(|chain| chain.spec.server_first = true);
    scene.publish(&[(c(), "c 2")]);
    scene.compile(&key(switchyard_crds::Kind::ProxyChain, "c"), Vec::new());
    scene.reports(
        "a",
        ChainReport {
            generation: 0,
            ..well()
        },
    );
    scene.write();
    assert_eq!(scene.condition("Ready"), "True/Serving @1: primary serves");
    scene.runs("a", &[("c", "c 2")]);
    scene.write();
    assert_eq!(scene.condition("Ready"), "True/Serving @2: primary serves");
}

#[test]
fn a_refusal_is_told_in_the_proxys_words_and_others_are_unharmed() {
    let mut scene = Scene::serving(&["a", "b", "d"]);
    scene.put(crate::status::Object::Chain(std::sync::Arc::new(chain("other"))));
    let versions = [
        (ResourceId::Pool, "pool 1"),
        (ResourceId::Listener("sync".into()), "sync 1"),
        (chain_resource("other"), "other 1"),
    ];
    scene.publish(&[versions.as_slice(), &[(c(), "c 2")]].concat());
    scene.compile(&key(switchyard_crds::Kind::ProxyChain, "other"), Vec::new());
    for name in ["a", "b", "d"] {
        scene.runs(name, &[("other", "other 1")]);
    }
    scene.refuses("b", c(), "c 2", "too many names");
    scene.refuses("d", c(), "c 1", "of another version");
    scene.write();
    assert_eq!(
        scene.condition("Programmed"),
        "False/ConfigRejected @1: 0 of 3 programmed; b: too many names"
    );
    assert_eq!(
        scene.happened(),
        ["ConfigRejected: 0 of 3 programmed; b: too many names"]
    );
    assert_eq!(
        scene.pool_condition("Programmed"),
        "True/Programmed @1: 3 of 3 programmed"
    );
    scene.refuses("a", c(), "c 2", "too many names");
    scene.write();
    assert_eq!(
        scene.condition("Programmed"),
        "False/ConfigRejected @1: 0 of 3 programmed; a, b: too many names"
    );
    assert_eq!(scene.happened(), Vec::<String>::new(), "one event per transition");
    for name in ["a", "b", "d"] {
        scene.runs(name, &[("c", "c 2")]);
    }
    scene.write();
    assert_eq!(
        scene.condition("Programmed"),
        "True/Programmed @1: 3 of 3 programmed"
    );
}

#[test]
fn a_new_chain_that_every_proxy_refuses_serves_nobody() {
    let mut scene = Scene::new(1);
    scene.connect("a");
    scene.refuses("a", c(), "c 1", "no");
    scene.does(
        "a",
        switchyard_discovery::server::What::Reported(report(Vec::new())),
    );
    scene.write();
    assert_eq!(
        scene.condition("Ready"),
        "False/ConfigRejected @1: its proxies refuse it"
    );
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn what_the_compile_step_refuses_is_accepted_false_or_a_reference() {
    let k = key(switchyard_crds::Kind::ProxyChain, "c");
    let table = [
        (
            Reason::Invalid,
            "minTTL",
            "must be above zero",
            "False/Invalid @1: spec.minTTL: must be above zero",
            "True/ResolvedRefs @1",
            "Invalid",
        ),
        (
            Reason::Conflicted,
            "hostnames",
            "taken",
            "False/Conflicted @1: spec.hostnames: taken",
            "True/ResolvedRefs @1",
            "Conflicted",
        ),
        (
            Reason::UnsupportedValue,
            "group",
            "not supported by this version: spec.group",
            "False/UnsupportedValue @1: not supported by this version: spec.group",
            "True/ResolvedRefs @1",
            "UnsupportedValue",
        ),
        (
            Reason::NoMatchingParent,
            "poolRef",
            "no pool",
            "False/NoMatchingParent @1: spec.poolRef: no pool",
            "True/ResolvedRefs @1",
            "NoMatchingParent",
        ),
        (
            Reason::Pending,
            "poolRef",
            "refused",
            "False/Pending @1: spec.poolRef: refused",
            "True/ResolvedRefs @1",
            "Pending",
        ),
        (
            Reason::BackendNotFound,
            "backends",
            "no Service",
            "True/Accepted @1",
            "False/BackendNotFound @1: spec.backends: no Service",
            "BackendNotFound",
        ),
        (
            Reason::InvalidCertificateRef,
            "tls",
            "no cert",
            "True/Accepted @1",
            "False/InvalidCertificateRef @1: spec.tls: no cert",
            "InvalidCertificateRef",
        ),
        (
            Reason::InvalidSecretRef,
            "tls",
            "no Secret",
            "True/Accepted @1",
            "False/InvalidSecretRef @1: spec.tls: no Secret",
            "InvalidSecretRef",
        ),
        (
            Reason::UnsupportedProtocol,
            "tls",
            "no",
            "True/Accepted @1",
            "False/UnsupportedProtocol @1: spec.tls: no",
            "UnsupportedProtocol",
        ),
    ];
    for (reason, field, message, accepted, resolved, ready) in table {
        let mut scene = Scene::serving(&["a"]);
        scene.compile(&k, vec![refusal(&k, field, reason, message)]);
        scene.publish(&[(ResourceId::Pool, "pool 1")]);
        scene.does(
            "a",
            switchyard_discovery::server::What::Reported(report(Vec::new())),
        );
        scene.write();
        assert_eq!(scene.condition("Accepted"), accepted);
        assert_eq!(scene.condition("ResolvedRefs"), resolved);
        let programmed = if reason == Reason::Pending {
            "Pending"
        } else {
            "Invalid"
        };
        assert!(
            scene
                .condition("Programmed")
                .starts_with(&format!("False/{programmed} @1"))
        );
        assert_eq!(
            scene.condition("Ready"),
            format!("False/{ready} @1: it is not accepted: nobody is served")
        );
        assert_eq!(scene.condition("PrimaryActive"), scene.condition("Ready"));
        assert_eq!((scene.chain().active, scene.chain().endpoints.len()), (None, 0));
    }
}

#[test]
fn a_chain_that_is_refused_now_is_served_until_its_proxies_have_dropped_it() {
    let mut scene = Scene::serving(&["a"]);
    let k = key(switchyard_crds::Kind::ProxyChain, "c");
    scene.edit(|chain| chain.spec.group = Some("g".into()));
    scene.compile(&k, vec![refusal(&k, "group", Reason::UnsupportedValue, "no")]);
    scene.publish(&[(ResourceId::Pool, "pool 1")]);
    scene.write();
    assert_eq!(
        scene.condition("Accepted"),
        "False/UnsupportedValue @2: spec.group: no"
    );
    assert_eq!(scene.condition("Ready"), "True/Serving @1: primary serves");
}

#[test]
fn proxies_that_do_not_report_are_unknown_only_after_five_seconds() {
    let mut scene = Scene::serving(&["a", "b"]);
    let before = scene.chain();
    for name in ["a", "b"] {
        scene.does(name, switchyard_discovery::server::What::Disconnected);
    }
    for _ in 0..4 {
        scene.pass(1);
        scene.write();
    }
    assert_eq!((scene.writes, scene.chain()), (0, before));
    scene.pass(1);
    scene.write();
    assert_eq!(
        scene.condition("Ready"),
        "Unknown/Unknown @1: none of 2 proxies reports; the rest is what was known last"
    );
    assert_eq!(scene.condition("PrimaryActive"), scene.condition("Ready"));
    assert_eq!(
        scene.condition("Programmed"),
        "False/Pending @1: 0 of 2 programmed; 2 not connected"
    );
    assert_eq!(scene.chain().active.unwrap().backend, "primary");
    assert_eq!(
        scene.happened(),
        Vec::<String>::new(),
        "that nobody knows is no event"
    );
}

#[test]
fn a_proxy_that_reconnects_changes_nothing() {
    let mut scene = Scene::serving(&["a", "b"]);
    scene.does("a", switchyard_discovery::server::What::Disconnected);
    scene.write();
    scene.pass(3);
    scene.connect("a");
    scene.write();
    scene.runs("a", &[("c", "c 1")]);
    scene.write();
    scene.reports("a", well());
    scene.write();
    scene.pass(60);
    scene.write();
    assert_eq!(scene.writes, 0);
}

#[test]
fn a_proxy_that_comes_back_without_the_chain_counts_no_more() {
    let mut scene = Scene::serving(&["a", "b"]);
    scene.does("a", switchyard_discovery::server::What::Disconnected);
    scene.connect("a");
    scene.runs("a", &[]);
    scene.write();
    assert_eq!(
        scene.condition("Programmed"),
        "False/PartiallyProgrammed @1: 1 of 2 programmed; waiting for a"
    );
}

#[test]
fn a_new_leader_says_nothing_until_it_knows() {
    let mut scene = Scene::serving(&["a", "b"]);
    scene.pass(100);
    scene.another_leads(&["a", "b"]);
    scene.write();
    scene.connect("a");
    scene.runs("a", &[("c", "c 1")]);
    scene.reports("a", well());
    scene.write();
    scene.pass(2);
    scene.write();
    scene.connect("b");
    scene.runs("b", &[("c", "c 1")]);
    scene.write();
    scene.reports("b", failed_over(1100));
    scene.write();
    // everybody has reported: no reason to wait any longer
    assert_eq!(scene.writes, 1);
    assert!(
        scene.condition("Ready").ends_with("(differs on 1 of 2)"),
        "{}",
        scene.condition("Ready")
    );
    scene.another_leads(&["a", "b"]);
    scene.pass(14);
    scene.write();
    assert_eq!(scene.writes, 1);
    scene.pass(1);
    scene.write();
    assert!(scene.condition("Ready").starts_with("Unknown/Unknown @1"));
}

/// Without an API server a replica goes on serving, and its proxies stay connected: they say nothing again once it has the
/// lease back.
#[test]
fn who_has_the_lease_back_knows_its_proxies_still() {
    let mut scene = Scene::serving(&["a", "b"]);
    scene.desk.follow();
    scene.pass(40);
    let now = scene.now();
    scene.desk.lead(now);
    scene.write();
    scene.pass(20);
    scene.write();
    assert_eq!(scene.writes, 0, "{}", scene.condition("Programmed"));
}

#[test]
fn a_new_leader_tells_a_new_chain_at_once() {
    let mut scene = Scene::new(1);
    scene.write();
    assert_eq!(scene.condition("Accepted"), "True/Accepted @1");
    assert_eq!(
        scene.condition("Programmed"),
        "False/Pending @1: 0 of 1 programmed; 1 not connected"
    );
    assert_eq!(
        scene.condition("Ready"),
        "Unknown/Unknown @1: none of 1 proxies reports; the rest is what was known last"
    );
}

#[test]
fn a_pool_without_proxies_serves_nobody() {
    for (replicas, ready) in [(0, 0), (2, 0)] {
        let mut scene = Scene::serving(&["a"]);
        scene.does("a", switchyard_discovery::server::What::Disconnected);
        scene.workload(workload(replicas, ready));
        scene.pass(5);
        scene.write();
        assert_eq!(
            scene.condition("Ready"),
            "False/NoReadyProxies @1: no proxy is up"
        );
        assert_eq!(scene.chain().active, None);
    }
}

#[test]
fn a_chain_that_no_report_names_yet_is_pending() {
    let mut scene = Scene::new(1);
    scene.connect("a");
    scene.does(
        "a",
        switchyard_discovery::server::What::Reported(report(Vec::new())),
    );
    scene.write();
    assert_eq!(
        scene.condition("Ready"),
        "Unknown/Pending @1: no proxy has reported on it yet"
    );
}

#[test]
fn a_report_of_ninety_seconds_says_nothing() {
    let mut scene = Scene::serving(&["a", "b"]);
    scene.pass(60);
    scene.reports("b", well());
    scene.pass(29);
    scene.write();
    assert_eq!(scene.writes, 0);
    scene.pass(1);
    scene.write();
    assert_eq!(scene.writes, 0, "the other one still reports");
    scene.pass(60);
    scene.write();
    assert!(scene.condition("Ready").starts_with("Unknown/Unknown @1"));
}

#[test]
fn the_majority_decides_and_says_who_differs() {
    let mut scene = Scene::serving(&["a", "b", "d"]);
    scene.reports("a", failed_over(1000));
    scene.write();
    assert_eq!(
        scene.condition("Ready"),
        "True/Serving @1: primary serves (differs on 1 of 3)"
    );
    let endpoints = scene.chain().endpoints;
    assert_eq!(endpoints[0].state, State::Serving);
    assert_eq!(
        endpoints[0].reason,
        "served: monitor tcp:1650 passes (differs on 1 of 3)"
    );
    assert_eq!(endpoints[1].reason, "served: monitor tcp:1650 passes");
    assert!(
        scene.chain().transitions.is_empty(),
        "one of three is no majority"
    );
    scene.reports("b", failed_over(1001));
    scene.write();
    assert_eq!(
        scene.condition("Ready"),
        "True/OnBackup @1: standby of tier 1 serves, tier 0 does not (differs on 1 of 3)"
    );
    let status = scene.chain();
    assert_eq!(status.active.unwrap().since, seconds(time(1000)));
    assert_eq!(status.endpoints[0].state, State::Ejected);
    assert_eq!(status.transitions.len(), 1);
}

#[test]
fn that_some_differ_waits_and_that_none_does_is_told() {
    let mut scene = Scene::serving(&["a", "b", "d", "e", "f"]);
    let k = key(switchyard_crds::Kind::ProxyChain, "c");
    let look = |scene: &Scene| scene.desk.look(&k, scene.now(), scene.wall());
    for name in ["a", "b"] {
        scene.reports(name, failed_over(1000));
        let found = look(&scene);
        assert!(matches!(found, Look::Words(_)), "{found:?}");
        scene.write();
    }
    scene.reports("a", well());
    let found = look(&scene);
    assert!(matches!(found, Look::Words(_)), "one of five: {found:?}");
    scene.reports("b", well());
    let found = look(&scene);
    assert!(matches!(found, Look::Changed(_)), "none: {found:?}");
    scene.write();
    for name in ["a", "b", "d"] {
        scene.reports(name, failed_over(1000));
    }
    let found = look(&scene);
    assert!(matches!(found, Look::Changed(_)), "most of them: {found:?}");
}

#[test]
fn words_without_who_differs() {
    for (words, others) in [
        ("primary serves", "primary serves"),
        ("primary serves (differs on 1 of 3)", "primary serves"),
        (
            "its clients are sent to n (differs on 2 of 3); why (differs on 1 of 3)",
            "its clients are sent to n; why",
        ),
        ("who can tell (differs on", "who can tell (differs on"),
        ("who can tell (differs on 1", "who can tell"),
    ] {
        assert_eq!(without_dissent(words), others, "{words}");
    }
}

#[test]
fn a_tie_goes_to_the_newest_change_of_tier() {
    for names in [["a", "b"], ["b", "a"]] {
        let mut scene = Scene::serving(&["a", "b"]);
        scene.reports(names[0], failed_over(1000));
        scene.write();
        assert!(
            scene.condition("Ready").starts_with("True/OnBackup"),
            "{}",
            scene.condition("Ready")
        );
    }
}

#[test]
fn ages_and_counts_that_grow_are_no_news() {
    let mut scene = Scene::serving(&["a"]);
    let ejected = |words: &str| {
        let mut report = failed_over(1000);
        report.endpoints[0].reason = words.into();
        report
    };
    scene.reports(
        "a",
        ejected("ejected: monitor tcp:1650 failed 2 in a row: connection refused"),
    );
    scene.write();
    assert_eq!(scene.writes, 1);
    scene.reports(
        "a",
        ejected("ejected: monitor tcp:1650 failed 31 in a row: connection refused"),
    );
    scene.write();
    assert_eq!(scene.writes, 1);
    scene.reports(
        "a",
        ejected("ejected: monitor tcp:1650 failed 32 in a row: timeout"),
    );
    let k = key(switchyard_crds::Kind::ProxyChain, "c");
    let look = scene.desk.look(&k, scene.now(), scene.wall());
    assert!(matches!(look, Look::Words(_)), "{look:?}");
}

#[test]
fn of_many_endpoints_the_first_32_by_tier_and_address_stand_in_the_status() {
    let mut scene = Scene::serving(&["a"]);
    let mut report = well();
    let one = report.endpoints[0].clone();
    report.endpoints = (0..40)
        .rev()
        .map(|i| EndpointReport {
            address: format!("10.0.1.{i}:1650").parse().unwrap(),
            ..one.clone()
        })
        .collect();
    (report.endpoints_total, report.endpoints_serving) = (100, 90);
    scene.reports("a", report);
    scene.write();
    let endpoints = scene.chain().endpoints;
    assert_eq!(endpoints.len(), 32);
    assert_eq!(
        (endpoints[0].address.as_str(), endpoints[31].address.as_str()),
        ("10.0.1.0:1650", "10.0.1.31:1650")
    );
    assert_eq!(scene.chain().healthy.as_deref(), Some("90/100"));
}

#[test]
fn a_chain_made_again_by_the_same_name_waits_for_its_own_verdict() {
    let mut scene = Scene::serving(&["a"]);
    let mut again = chain("c");
    again.metadata.uid = Some("another".into());
    scene.put(crate::status::Object::Chain(std::sync::Arc::new(again)));
    scene.write();
    assert_eq!(scene.chain(), ProxyChainStatus::default());
    scene.compile(&key(switchyard_crds::Kind::ProxyChain, "c"), Vec::new());
    scene.write();
    assert_eq!(scene.condition("Ready"), "True/Serving @1: primary serves");
}

#[test]
fn conditions_of_others_stay() {
    let mut scene = Scene::serving(&["a"]);
    scene.edit(|chain| {
        let conditions = &mut chain.status.as_mut().unwrap().conditions;
        let mut foreign = conditions[0].clone();
        foreign.type_ = "example.com/Audited".into();
        conditions.push(foreign);
    });
    scene.compile(&key(switchyard_crds::Kind::ProxyChain, "c"), Vec::new());
    scene.write();
    assert_eq!(
        scene.chain().conditions.last().unwrap().type_,
        "example.com/Audited"
    );
    assert_eq!(scene.chain().conditions.len(), 6);
}
