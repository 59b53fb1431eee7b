//! What the controller found of a pool's workload, for the pool's status. In: an outcome. Out: numbers and addresses at the board, and
//! what is refused among the verdicts.

use switchyard_snapshot::PoolId;

use crate::compile::ObjectKey;
use crate::controller::proxypool::outcome::{Outcome, WorkloadObject};
use crate::status::{Board, Workload, reach};
use crate::supply::View;
use crate::verdicts::Verdicts;

/// Passes an outcome on; none: the pool is gone.
pub fn told(board: &Board, verdicts: &Verdicts, view: &View, pool: PoolId, outcome: Option<Outcome>) {
    let Some(outcome) = outcome else {
        board.workload(pool, None);
        return;
    };
    let Outcome {
        uid,
        generation,
        refused,
        failed,
        workload,
        service,
        selector,
        pod_security,
    } = outcome;
    verdicts.built(ObjectKey::pool(&pool), &uid, generation, refused);
    let numbers = match &workload {
        Some(WorkloadObject::Deployment(of)) => Workload::deployment(of),
        Some(WorkloadObject::StatefulSet(of)) => Workload::stateful_set(of),
        Some(WorkloadObject::DaemonSet(of)) => Workload::daemon_set(of),
        None => Workload::default(),
    };
    let reach = view
        .pool(&pool)
        .map(|pool| reach(&pool, service.as_ref()))
        .unwrap_or_default();
    let refused = failed
        .filter(|failure| failure.refused)
        .map(|failure| failure.message);
    board.workload(
        pool,
        Some(Workload {
            generation,
            selector,
            reach,
            pod_security,
            pods_refused: numbers.pods_refused.clone().or(refused),
            ..numbers
        }),
    );
}
