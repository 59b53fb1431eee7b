//! Who has the processors. In: a scene. Out: what each process used of one processor between two moments.

use std::time::{Duration, Instant};

use switchyard_tests::apiserver::ControlPlane;
use switchyard_tests::eventually::let_pass;
use switchyard_tests::process;

use crate::report::Report;
use crate::rollup::Scene;

/// How long nothing happens when idleness is measured.
const CALM: Duration = Duration::from_secs(20);

/// What each process has used so far.
pub struct Processors {
    at: Instant,
    used: Vec<(&'static str, Duration)>,
}

/// Percent of one processor, on average.
pub struct Shares(Vec<(&'static str, usize)>);

impl Processors {
    /// Until now.
    pub fn now(scene: &Scene) -> Self {
        let mut used = vec![
            ("operator", scene.operator.cpu()),
            ("proxies and whoever measures", process::cpu(std::process::id())),
        ];
        used.extend(scene.ground.plane.cpu());
        Self::used(used)
    }

    /// Until now, of the control plane alone.
    pub fn of_plane(plane: &ControlPlane) -> Self {
        Self::used(plane.cpu())
    }

    fn used(used: Vec<(&'static str, Duration)>) -> Self {
        Self {
            at: Instant::now(),
            used,
        }
    }

    /// Of the time since then.
    pub fn since(&self, before: &Self) -> Shares {
        let time = (self.at - before.at).as_secs_f64();
        let share = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() / time * 100.0;
        let both = self.used.iter().zip(&before.used);
        let shares = both.map(|((name, now), (_, then))| (*name, share(*now, *then).round() as usize));
        Shares(shares.collect())
    }
}

impl Shares {
    /// A figure of each.
    pub fn tell(&self, case: &str, report: &mut Report) {
        for (whose, percent) in &self.0 {
            report.count(case, &format!("{whose}, percent of one processor"), *percent);
        }
    }
}

/// What all of it costs while nothing changes.
pub fn measure_idle(scene: &Scene, report: &mut Report) {
    let before = Processors::now(scene);
    let_pass(CALM);
    Processors::now(scene).since(&before).tell("idle", report);
}
