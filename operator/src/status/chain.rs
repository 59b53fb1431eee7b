//! The status of a chain: pure. In: the chain with the status it has, what the compile step said of it, what is published for
//! it, the proxies of its pool. Out: the status it should have.
//!
//! What is served is the majority of the reports' matter: a chain whose newest generation nobody runs yet is still served, and
//! `Ready` says so, with the generation that it is about.

mod endpoints;
mod redirect;
mod transitions;
mod view;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use switchyard_crds::proxychain::{ActiveTier, EndpointState, EndpointStatus, RedirectStatus};
use switchyard_crds::{ConditionType, ProxyChain, ProxyChainStatus, Reason};
use switchyard_discovery::Hash;
use switchyard_snapshot::{ChainId, ChainReport, ResourceId};

use super::board::Verdict;
use super::conditions::{self, Finding, Status, seconds};
use super::fleet::{Fleet, Tally};
use crate::compile::chain_id;
use redirect::Sent;
use view::{Majority, Serving, View};
pub use view::{has_dissent, without_dissent};

/// Everything that the status of a chain depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The chain, with the status that it has.
    pub chain: &'a ProxyChain,
    /// What the compile step said.
    pub verdict: &'a Verdict,
    /// The version that its pool's proxies shall run; none: it is not among what they shall run.
    pub version: Option<Hash>,
    /// The proxies of its pool.
    pub fleet: &'a Fleet<'a>,
    /// What proxies report of the other chains of its group.
    pub mates: &'a [&'a ChainReport],
    /// Now.
    pub now: Timestamp,
}

/// The status the chain should have.
pub fn fold(facts: &Facts<'_>) -> ProxyChainStatus {
    if facts.chain.spec.remote.is_some() {
        return beyond(facts);
    }
    let mut status = facts.chain.status.clone().unwrap_or_default();
    let old = std::mem::take(&mut status.conditions);
    status.observed_generation = Some(facts.verdict.generation);
    let accepted = conditions::accepted(facts.verdict, &[]);
    let resolved = conditions::resolved(facts.verdict);
    let known = conditions::find(&old, ConditionType::Programmed).is_some();
    let (programmed, primary, ready) = if known && !facts.fleet.settled {
        (None, None, None)
    } else {
        let id = chain_id(&facts.chain.metadata);
        let programmed = programmed(facts, &id, &mut status);
        let (primary, ready) = served(facts, &id, &old, &mut status);
        (Some(programmed), primary, ready)
    };
    let found = vec![
        (ConditionType::Accepted, Some(accepted)),
        (ConditionType::ResolvedRefs, Some(resolved)),
        (ConditionType::Programmed, programmed),
        (ConditionType::PrimaryActive, primary),
        (ConditionType::Ready, ready),
    ];
    status.conditions = conditions::merge(&old, found, facts.now);
    status
}

/// A chain beyond this cluster: no proxy of ours runs it, so nothing is said of that.
fn beyond(facts: &Facts<'_>) -> ProxyChainStatus {
    let mut old = facts.chain.status.clone().unwrap_or_default().conditions;
    let of_proxies = [
        ConditionType::Programmed,
        ConditionType::PrimaryActive,
        ConditionType::Ready,
    ];
    old.retain(|it| of_proxies.iter().all(|type_| type_.as_str() != it.type_));
    let accepted = conditions::accepted(facts.verdict, &[]);
    let resolved = conditions::resolved(facts.verdict);
    let found = vec![
        (ConditionType::Accepted, Some(accepted)),
        (ConditionType::ResolvedRefs, Some(resolved)),
    ];
    ProxyChainStatus {
        observed_generation: Some(facts.verdict.generation),
        conditions: conditions::merge(&old, found, facts.now),
        ..ProxyChainStatus::default()
    }
}

/// Whether somebody is about to say more: the newest generation is not compiled, a proxy that is there has neither taken over
/// what it shall run nor refused it, or most of those who report speak of what they ran before.
pub fn unanswered(facts: &Facts<'_>) -> bool {
    let newest = facts.verdict.generation;
    if facts
        .chain
        .metadata
        .generation
        .is_some_and(|there| there > newest)
    {
        return true;
    }
    let Some(version) = facts.version else {
        return false;
    };
    let id = chain_id(&facts.chain.metadata);
    let tally = tally(facts.fleet, &id, version);
    if !tally.lagging.is_empty() {
        return true;
    }
    if !tally.refused.is_empty() {
        return false; // who refuses it speaks of what was before for as long as it does
    }
    let views = view::of(facts.fleet, facts.chain, &id);
    let before = |view: &&View<'_>| (1..newest).contains(&view.report.generation);
    views.iter().filter(before).count() * 2 >= views.len().max(1)
}

fn programmed(facts: &Facts<'_>, id: &ChainId, status: &mut ProxyChainStatus) -> Finding {
    let generation = facts.verdict.generation;
    let Some(version) = facts.version else {
        status.programmed = Some(format!("0/{}", facts.fleet.size));
        return match refusal(facts.verdict) {
            Some(Reason::Pending) => Finding::new(
                Status::False,
                Reason::Pending,
                "it is not accepted yet",
                generation,
            ),
            Some(_) => Finding::new(
                Status::False,
                Reason::Invalid,
                "it cannot be used as it is",
                generation,
            ),
            None => Finding::new(
                Status::Unknown,
                Reason::Pending,
                "it is not published yet",
                generation,
            ),
        };
    };
    let tally = tally(facts.fleet, id, version);
    status.programmed = Some(tally.column());
    tally.programmed(generation)
}

fn tally<'a>(fleet: &Fleet<'a>, id: &ChainId, version: Hash) -> Tally<'a> {
    fleet.tally(&[(&ResourceId::Chain(id.clone()), version)])
}

/// Why the chain cannot be used, if that is so.
fn refusal(verdict: &Verdict) -> Option<Reason> {
    let own = verdict
        .refusals
        .iter()
        .find(|refusal| refusal.reason != Reason::Pending);
    own.or(verdict.refusals.first()).map(|refusal| refusal.reason)
}

/// `PrimaryActive` and `Ready`, and what the proxies see.
fn served(
    facts: &Facts<'_>,
    id: &ChainId,
    old: &[Condition],
    status: &mut ProxyChainStatus,
) -> (Option<Finding>, Option<Finding>) {
    let views = view::of(facts.fleet, facts.chain, id);
    let Some(majority) = Majority::of(&views) else {
        let (finding, forget) = unseen(facts, id);
        if forget {
            status.active = None;
            status.healthy = None;
            status.endpoints.clear();
            status.redirect = status.redirect.take().map(|_| RedirectStatus::default());
        }
        return (Some(finding.clone()), Some(finding));
    };
    let news = transitions::merge(&mut status.transitions, &views);
    status.active = active(&majority, status.active.take(), &mut status.transitions, news);
    status.endpoints = endpoints::fold(&facts.chain.spec, &views, &status.endpoints);
    let (serving, total) = majority.healthy;
    status.healthy = Some(format!("{serving}/{total}"));
    let serves = matches!(majority.serving, Serving::Tier { .. });
    let sent = Sent::of(&views, serves, status.redirect.as_ref());
    let grouped = facts.chain.spec.group.is_some();
    let hosts = (views.as_slice(), facts.mates);
    status.redirect = redirect::fold(id, sent.as_ref(), hosts, grouped, status.redirect.as_ref());
    let generation = described(facts, &majority, &views, old);
    let (primary, ready) = itself(facts, &majority, &status.endpoints, generation);
    let ready = match &sent {
        Some(sent) => {
            let words = match majority.serving {
                Serving::Tier { .. } => sent.words(id),
                // how many see it otherwise is said once, at the end
                Serving::Nothing | Serving::Suspended => {
                    let own = ready.message.strip_suffix(&majority.dissent());
                    format!("{}; {}", own.unwrap_or(&ready.message), sent.words(id))
                }
            };
            let words = steady_words(old, words);
            Finding::new(Status::True, Reason::Redirecting, words, generation)
        }
        None => match &facts.chain.spec.group {
            Some(group) if !serves => {
                let words = format!("{}; no chain of group {group} takes its clients", ready.message);
                Finding::new(ready.status, ready.reason, words, generation)
            }
            _ => ready,
        },
    };
    (Some(primary), Some(ready))
}

/// What `PrimaryActive` and `Ready` would say if nobody's clients were sent anywhere.
fn itself(
    facts: &Facts<'_>,
    majority: &Majority,
    endpoints: &[EndpointStatus],
    generation: i64,
) -> (Finding, Finding) {
    let finding = |status, reason, message: &str| {
        let message = format!("{message}{}", majority.dissent());
        Finding::new(status, reason, message, generation)
    };
    match &majority.serving {
        Serving::Suspended => {
            let both = finding(Status::False, Reason::Suspended, "it is suspended");
            (both.clone(), both)
        }
        Serving::Nothing => {
            let words = format!("{}{}", nothing(endpoints), majority.doubt());
            let both = finding(Status::False, Reason::NoHealthyBackends, &words);
            (both.clone(), both)
        }
        Serving::Tier { tier: 0, backend } => {
            let stale = endpoints::stale(&facts.chain.spec, endpoints, 0);
            let (reason, words) = if stale {
                let words = format!("{backend} serves, though the resolver does not answer for it");
                (Reason::ServingStale, words)
            } else {
                (Reason::Serving, format!("{backend} serves"))
            };
            let primary = finding(Status::True, Reason::Serving, &format!("{backend} serves"));
            (primary, finding(Status::True, reason, &words))
        }
        Serving::Tier { tier, backend } => {
            let words = format!("{backend} of tier {tier} serves, tier 0 does not");
            let ready = finding(Status::True, Reason::OnBackup, &words);
            (finding(Status::False, Reason::OnBackup, &words), ready)
        }
    }
}

/// Proxies count seconds and endpoints in what they say: that goes on for ever, and is no reason to write a status.
fn steady_words(old: &[Condition], words: String) -> String {
    let ready = conditions::find(old, ConditionType::Ready);
    let stands = ready.filter(|ready| ready.reason == Reason::Redirecting.as_str());
    match stands {
        Some(stands) if endpoints::same_but_for_numbers(&stands.message, &words) => stands.message.clone(),
        _ => words,
    }
}

/// Nobody reports on the chain: what that means, and whether what was known of it is void.
fn unseen(facts: &Facts<'_>, id: &ChainId) -> (Finding, bool) {
    let Facts { verdict, fleet, .. } = facts;
    let finding = |status, reason, words: &str| Finding::new(status, reason, words, verdict.generation);
    let refused = refusal(verdict);
    let somebody_reports = fleet.members.iter().any(|member| member.report.is_some());
    if let (Some(reason), None) = (refused, facts.version) {
        let found = finding(Status::False, reason, "it is not accepted: nobody is served");
        return (found, true);
    }
    if fleet.size == 0 || (fleet.members.is_empty() && fleet.ready == Some(0)) {
        return (
            finding(Status::False, Reason::NoReadyProxies, "no proxy is up"),
            true,
        );
    }
    if !somebody_reports {
        let words = format!(
            "none of {} proxies reports; the rest is what was known last",
            fleet.size
        );
        return (finding(Status::Unknown, Reason::Unknown, &words), false);
    }
    let rejected = facts.version.is_some_and(|version| {
        let tally = tally(fleet, id, version);
        tally.running == 0 && !tally.refused.is_empty()
    });
    if rejected {
        return (
            finding(Status::False, Reason::ConfigRejected, "its proxies refuse it"),
            true,
        );
    }
    (
        finding(
            Status::Unknown,
            Reason::Pending,
            "no proxy has reported on it yet",
        ),
        false,
    )
}

/// The generation that what is served now is about: the newest, once most of those who report run it.
fn described(facts: &Facts<'_>, majority: &Majority, views: &[View<'_>], old: &[Condition]) -> i64 {
    let newest = facts.verdict.generation;
    let id = chain_id(&facts.chain.metadata);
    let runs = |view: &&View<'_>| match view.report.generation {
        // it does not say: what it has acknowledged must do
        0 => facts
            .version
            .is_some_and(|version| view.state.runs(&ResourceId::Chain(id.clone()), version)),
        generation => generation == newest,
    };
    if views.iter().filter(runs).count() * 2 > views.len() {
        return newest;
    }
    let before = conditions::find(old, ConditionType::Ready).and_then(|ready| ready.observed_generation);
    before.unwrap_or(majority.generation).min(newest)
}

fn nothing(endpoints: &[EndpointStatus]) -> String {
    match endpoints
        .iter()
        .find(|endpoint| endpoint.state == EndpointState::Ejected)
        .or(endpoints.first())
    {
        Some(EndpointStatus {
            backend,
            address,
            reason,
            ..
        }) => format!("no endpoint serves; {backend} {address} {reason}"),
        None => "no endpoint serves, none is known".to_owned(),
    }
}

/// The active tier. While the same one serves its time stands, unless it went and came back in between (`news`).
fn active(
    majority: &Majority,
    old: Option<ActiveTier>,
    transitions: &mut Vec<switchyard_crds::proxychain::Transition>,
    news: bool,
) -> Option<ActiveTier> {
    let Serving::Tier { tier, backend } = &majority.serving else {
        return None;
    };
    let same = old
        .as_ref()
        .is_some_and(|old| old.tier == *tier && old.backend == *backend);
    let came = transitions
        .iter()
        .rev()
        .find(|last| last.to == *backend)
        .map(|last| last.at.clone());
    let since = match (&old, came) {
        (Some(old), _) if same && !news => old.since.clone(),
        (_, Some(came)) if news => came,
        _ => seconds(majority.since),
    };
    if let Some(old) = old.filter(|old| old.tier != *tier) {
        transitions::complete(transitions, &old.backend, backend, since.clone());
    }
    Some(ActiveTier {
        backend: backend.clone(),
        tier: *tier,
        since,
    })
}

#[cfg(test)]
mod tests;
