//! From what proxies report to what statuses say. In: proxies that are connected. Out: the time from the last of what they
//! report to the last status that says so, twice: under a new leader, to which everybody comes with news; and under a leader
//! that has been there.

use std::time::{Duration, Instant};

use switchyard_tests::eventually::eventually;
use switchyard_tests::process::Program;

use crate::backend::Backend;
use crate::change::tell_writes;
use crate::fleet::Fleet;
use crate::ground::{Ground, PROBES, SOON, Sizes};
use crate::processors::Processors;
use crate::report::Report;
use crate::statuses::{Statuses, programmed, says};

/// From the last report to the last status.
const BOUND: Duration = Duration::from_secs(5);

/// Pools and chains, their proxies, an operator.
pub struct Scene {
    /// Of the running operator.
    pub operator: Program,
    /// The proxies.
    pub fleet: Fleet,
    /// What the chains lead to.
    pub backend: Backend,
    /// What is told.
    pub statuses: Statuses,
    /// The control plane, last: the others need it.
    pub ground: Ground,
}

impl Scene {
    /// Sets it up, and awaits that every status says that all is well.
    pub fn set(sizes: Sizes) -> Self {
        let ground = Ground::new();
        let backend = Backend::start(&ground.plane, sizes.chains);
        ground.populate(sizes, backend.address());
        let (operator, _) = ground.operator();
        ground.pods_run(sizes);
        let fleet = Fleet::start(&ground, sizes);
        let statuses = Statuses::watch(&ground);
        let scene = Self {
            operator,
            fleet,
            backend,
            statuses,
            ground,
        };
        scene.all_well(sizes);
        scene
    }

    fn all_well(&self, sizes: Sizes) -> Instant {
        self.statuses
            .await_all("all is well", sizes.chains, SOON, |status| {
                says(status, "Ready", "True", "Serving") && programmed(status, sizes.members())
            })
    }

    fn all_fail(&self, sizes: Sizes) -> Instant {
        self.statuses
            .await_all("no chain is served", sizes.chains, SOON, |status| {
                says(status, "Ready", "False", "NoHealthyBackends") && programmed(status, sizes.members())
            })
    }
}

/// All backends fail while nobody leads; then one does. All backends come back.
pub fn measure(scene: &mut Scene, sizes: Sizes, report: &mut Report) {
    let members = sizes.members();
    Ground::stop(&mut scene.operator);
    scene
        .backend
        .turn(&scene.ground.plane, false, members, PROBES * 3);
    let (operator, began) = scene.ground.operator();
    scene.operator = operator;
    let told = scene.all_fail(sizes);
    let connected = eventually("every proxy is connected", SOON, || {
        let connected = scene.fleet.all_connected(began, sizes.proxies);
        connected.ok_or_else(|| "not all".to_owned())
    });
    let case = "roll-up under a new leader";
    report.time(case, "its start to the last proxy", connected - began, None);
    let since = told.saturating_duration_since(connected);
    report.time(case, "the last proxy to the last status", since, Some(BOUND));

    let back = scene.backend.turn(&scene.ground.plane, true, members, PROBES * 3);
    let before = Processors::now(scene);
    let mark = scene.ground.plane.audit().mark();
    let told = scene.all_well(sizes);
    let used = Processors::now(scene).since(&before);
    let case = "roll-up, all backends come back";
    let since = told.saturating_duration_since(back);
    report.time(case, "the last probe to the last status", since, Some(BOUND));
    // what there is to do then, and who is in whose way
    tell_writes(scene, mark, case, report);
    used.tell(case, report);
}
