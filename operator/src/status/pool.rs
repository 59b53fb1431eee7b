//! The status of a pool: pure. In: the pool with the status it has, what the compile step said of it, what is published for it,
//! its workload, its proxies. Out: the status it should have.

mod warnings;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use switchyard_crds::proxypool::WorkloadKind;
use switchyard_crds::{ConditionType, ProxyPool, ProxyPoolStatus, Reason};
use switchyard_discovery::Hash;
use switchyard_snapshot::ResourceId;

use super::Workload;
use super::board::Verdict;
use super::conditions::{self, Finding, Status};
use super::fleet::{Counted, Fleet, list};

/// Everything that the status of a pool depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The pool, with the status that it has.
    pub pool: &'a ProxyPool,
    /// What the compile step said.
    pub verdict: &'a Verdict,
    /// The versions of the pool itself and of its listeners; empty: nothing is published for it.
    pub versions: &'a [(&'a ResourceId, Hash)],
    /// What runs its proxies; none: nobody has looked yet.
    pub workload: Option<&'a Workload>,
    /// Its proxies.
    pub fleet: &'a Fleet<'a>,
    /// Now.
    pub now: Timestamp,
}

/// What counts the proxies of a pool besides their connections.
pub fn counted(pool: Option<&ProxyPool>, workload: Option<&Workload>) -> Option<Counted> {
    if pool.is_some_and(|pool| pool.spec.workload.kind == WorkloadKind::Sidecar) {
        return None;
    }
    workload.map(|workload| Counted {
        replicas: workload.replicas,
        ready: workload.ready,
    })
}

/// The status the pool should have.
pub fn fold(facts: &Facts<'_>) -> ProxyPoolStatus {
    let mut status = facts.pool.status.clone().unwrap_or_default();
    let old = std::mem::take(&mut status.conditions);
    status.observed_generation = Some(facts.verdict.generation);
    let known = conditions::find(&old, ConditionType::Programmed).is_some();
    let (accepted, programmed, ready) = if known && !facts.fleet.settled {
        // what pods are refused is not known yet either
        let accepted = conditions::accepted(facts.verdict, &warnings::of(facts.pool, facts.workload));
        (accepted, None, None)
    } else {
        count(facts, &mut status);
        let warnings = warnings::of(facts.pool, facts.workload);
        let strict = warnings::too_strict(facts.pool, facts.workload);
        let accepted = conditions::accepted(facts.verdict, &warnings);
        let ready = ready(facts, &status, strict.as_deref(), &old);
        (accepted, Some(programmed(facts, &mut status)), Some(ready))
    };
    let found = vec![
        (ConditionType::Accepted, Some(accepted)),
        (
            ConditionType::ResolvedRefs,
            Some(conditions::resolved(facts.verdict)),
        ),
        (ConditionType::Programmed, programmed),
        (ConditionType::Ready, ready),
    ];
    status.conditions = conditions::merge(&old, found, facts.now);
    status
}

/// Whether somebody is about to say more: the newest generation is not compiled, or a proxy that is there has neither taken
/// over what it shall run nor refused it.
pub fn unanswered(facts: &Facts<'_>) -> bool {
    let there = facts.pool.metadata.generation;
    there.is_some_and(|there| there > facts.verdict.generation)
        || !facts.fleet.tally(facts.versions).lagging.is_empty()
}

/// The numbers and addresses.
fn count(facts: &Facts<'_>, status: &mut ProxyPoolStatus) {
    let Facts {
        pool,
        workload,
        fleet,
        ..
    } = facts;
    let sidecar = pool.spec.workload.kind == WorkloadKind::Sidecar;
    let up = || {
        let reports = fleet.members.iter().filter_map(|member| member.report);
        u32::try_from(reports.filter(|report| report.ready && !report.draining).count()).unwrap_or(u32::MAX)
    };
    let wanted = match workload {
        Some(workload) if !sidecar => {
            status.replicas = workload.replicas;
            status.ready_replicas = workload.ready;
            workload.wanted
        }
        _ => {
            status.replicas = fleet.size;
            status.ready_replicas = up();
            fleet.size
        }
    };
    status.ready = Some(format!("{}/{wanted}", status.ready_replicas));
    if let Some(workload) = workload {
        status.selector.clone_from(&workload.selector);
        status.addresses.clone_from(&workload.reach.addresses);
    }
}

fn programmed(facts: &Facts<'_>, status: &mut ProxyPoolStatus) -> Finding {
    let generation = facts.verdict.generation;
    if facts.versions.is_empty() {
        status.programmed = Some(format!("0/{}", facts.fleet.size));
        return if facts.verdict.refusals.is_empty() {
            Finding::new(
                Status::Unknown,
                Reason::Pending,
                "it is not published yet",
                generation,
            )
        } else {
            Finding::new(
                Status::False,
                Reason::Invalid,
                "it cannot be used as it is",
                generation,
            )
        };
    }
    let mut tally = facts.fleet.tally(facts.versions);
    for member in &facts.fleet.members {
        let errors = member
            .report
            .map(|report| report.listen_errors.as_slice())
            .unwrap_or_default();
        let runs = facts
            .versions
            .iter()
            .all(|(id, version)| member.state.runs(id, *version));
        if let (true, [first, ..]) = (runs, errors) {
            tally.cannot(format!("{} cannot listen: {first}", member.name));
        }
    }
    status.programmed = Some(tally.column());
    let found = tally.programmed(generation);
    let pending = facts.workload.is_some_and(|workload| workload.reach.pending);
    if pending && found.status == Status::True {
        let words = format!("{}; the load balancer has no address yet", found.message);
        return Finding::new(Status::False, Reason::AddressNotAssigned, words, generation);
    }
    found
}

fn ready(facts: &Facts<'_>, status: &ProxyPoolStatus, strict: Option<&str>, old: &[Condition]) -> Finding {
    let Facts {
        verdict,
        workload,
        fleet,
        ..
    } = facts;
    // What runs may be of an older generation than what was compiled: then this is about that one.
    let applied = workload
        .map(|workload| workload.generation)
        .filter(|applied| *applied > 0);
    let before = || conditions::find(old, ConditionType::Ready).and_then(|ready| ready.observed_generation);
    let generation = applied
        .or_else(before)
        .unwrap_or(verdict.generation)
        .min(verdict.generation);
    let finding = |status, reason, message: &str| Finding::new(status, reason, message, generation);
    if status.ready_replicas > 0 {
        let pending = workload.is_some_and(|workload| workload.reach.pending);
        if pending {
            let words = "the proxies are up, but the load balancer has no address yet";
            return finding(Status::False, Reason::AddressNotAssigned, words);
        }
        let wanted = status
            .ready
            .as_deref()
            .and_then(|text| text.split_once('/'))
            .map_or("", |(_, wanted)| wanted);
        let words = format!("{} of {wanted} proxies are ready", status.ready_replicas);
        return finding(Status::True, Reason::Ready, &words);
    }
    if let Some(words) = strict {
        return finding(Status::False, Reason::PrivilegedNamespaceRequired, words);
    }
    if let (Some(refusal), true) = (verdict.refusals.first(), facts.versions.is_empty()) {
        return finding(
            Status::False,
            refusal.reason,
            "it is not accepted: nobody is served",
        );
    }
    let refused = workload.and_then(|workload| workload.pods_refused.as_deref());
    if let Some(words) = refused {
        let words = format!("no proxy is up; pods cannot be made: {words}");
        return finding(Status::False, Reason::NoReadyProxies, &words);
    }
    let silent: Vec<&str> = fleet
        .members
        .iter()
        .filter(|member| member.report.is_none())
        .map(|member| member.name)
        .collect();
    if workload.is_none() && !silent.is_empty() && silent.len() == fleet.members.len() {
        let words = format!("{} do not report", list(&silent));
        return finding(Status::Unknown, Reason::Unknown, &words);
    }
    finding(Status::False, Reason::NoReadyProxies, "no proxy is up")
}

#[cfg(test)]
mod tests;
