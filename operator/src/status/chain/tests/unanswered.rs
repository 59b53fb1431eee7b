//! When a status waits for what proxies are about to say.

use crate::status::desk::Look;

use super::*;

/// A look at the chain.
fn look(scene: &mut Scene) -> Look {
    let chain = key(switchyard_crds::Kind::ProxyChain, "c");
    scene.desk.look(&chain, scene.now(), scene.wall())
}

/// The chain has another generation.
fn edit(scene: &mut Scene) {
    scene.edit(|chain| chain.spec.server_first = true);
}

fn compile(scene: &mut Scene) {
    scene.publish(&[
        (ResourceId::Pool, "pool 1"),
        (ResourceId::Listener("sync".into()), "sync 1"),
        (c(), "c 2"),
    ]);
    scene.compile(&key(switchyard_crds::Kind::ProxyChain, "c"), Vec::new());
}

fn second() -> ChainReport {
    ChainReport {
        generation: 2,
        ..well()
    }
}

#[test]
fn a_change_is_one_write_when_all_have_answered() {
    let mut scene = Scene::serving(&["a", "b", "d"]);
    edit(&mut scene);
    // the status knows nothing of it before it is compiled
    assert!(matches!(look(&mut scene), Look::Fine));
    compile(&mut scene);
    for name in ["a", "b", "d"] {
        assert!(matches!(look(&mut scene), Look::Unanswered(_)), "before {name}");
        scene.runs(name, &[("c", "c 2")]);
    }
    // all run it, and nobody has said what clients see since
    assert!(matches!(look(&mut scene), Look::Unanswered(_)));
    scene.reports("a", second());
    assert!(matches!(look(&mut scene), Look::Unanswered(_)));
    scene.reports("b", second());
    assert!(matches!(look(&mut scene), Look::Changed(_)));
    scene.write();
    // the last one says nothing new
    scene.reports("d", second());
    scene.write();
    assert_eq!(scene.writes, 1);
    assert_eq!(scene.condition("Ready"), "True/Serving @2: primary serves");
}

#[test]
fn a_refusal_is_told_at_once() {
    let mut scene = Scene::serving(&["a", "b"]);
    edit(&mut scene);
    compile(&mut scene);
    scene.refuses("a", c(), "c 2", "no such file");
    assert!(matches!(look(&mut scene), Look::Changed(_)), "b lags");
}

#[test]
fn who_refuses_is_not_waited_for() {
    let mut scene = Scene::serving(&["a", "b"]);
    edit(&mut scene);
    compile(&mut scene);
    scene.refuses("a", c(), "c 2", "no such file");
    scene.write();
    scene.runs("b", &[("c", "c 2")]);
    assert!(matches!(look(&mut scene), Look::Changed(_)));
}

#[test]
fn a_failover_is_told_at_once() {
    let mut scene = Scene::serving(&["a", "b"]);
    edit(&mut scene);
    compile(&mut scene);
    for name in ["a", "b"] {
        scene.reports(name, failed_over(2000));
    }
    assert!(matches!(look(&mut scene), Look::Changed(_)), "both lag");
}

#[test]
fn a_proxy_that_does_not_say_its_generation_is_not_waited_for() {
    let mut scene = Scene::serving(&["a"]);
    scene.reports(
        "a",
        ChainReport {
            generation: 0,
            ..well()
        },
    );
    edit(&mut scene);
    compile(&mut scene);
    scene.runs("a", &[("c", "c 2")]);
    assert!(matches!(look(&mut scene), Look::Changed(_)));
}

#[test]
fn nobody_is_waited_for_where_nobody_is() {
    let mut scene = Scene::new(3);
    assert!(matches!(look(&mut scene), Look::Changed(_)));
}
