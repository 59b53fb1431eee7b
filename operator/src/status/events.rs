//! Events, one per transition. In: the status before and after one write. Out: what happened in between; what came and went in
//! between is not told, but for changes of the active tier, of which the status keeps a history.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};
use switchyard_crds::proxychain::{EndpointState, EndpointStatus, Transition};
use switchyard_crds::{
    ConditionType, EventReason, ProxyChainSpec, ProxyChainStatus, ProxyPoolStatus, Reason,
};

use super::conditions::{cut, find};

/// The bound of an event's note (events.k8s.io/v1).
const NOTE_BYTES: usize = 1024;

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// What.
    pub reason: EventReason,
    /// In words.
    pub note: String,
    /// The backend that it happened to, where it is one of several: repetitions are counted for each.
    pub backend: Option<String>,
}

impl Happening {
    /// As it is published.
    pub fn event(&self) -> Event {
        let (type_, action) = match self.reason {
            EventReason::FailedOver => (EventType::Warning, "FailOver"),
            EventReason::FailedBack => (EventType::Normal, "FailBack"),
            EventReason::RedirectStarted => (EventType::Warning, "Redirect"),
            EventReason::RedirectEnded => (EventType::Normal, "Return"),
            EventReason::EndpointsStale => (EventType::Warning, "Resolve"),
            EventReason::BackendDown => (EventType::Warning, "Eject"),
            EventReason::BackendUp => (EventType::Normal, "Admit"),
            EventReason::ConfigRejected => (EventType::Warning, "Program"),
        };
        Event {
            type_,
            reason: self.reason.as_str().to_owned(),
            note: Some(cut(self.note.clone(), NOTE_BYTES)),
            action: action.to_owned(),
            secondary: None,
        }
    }

    /// Where in the object it happened, in the notation of an `ObjectReference`. The recorder puts events together that agree
    /// in everything but their note, so what is not the same backend must not look the same.
    pub fn field_path(&self) -> Option<String> {
        self.backend
            .as_ref()
            .map(|name| format!("spec.backends{{{name}}}"))
    }
}

/// What happened to a chain.
pub fn of_chain(spec: &ProxyChainSpec, old: &ProxyChainStatus, new: &ProxyChainStatus) -> Vec<Happening> {
    let mut events: Vec<Happening> = new_transitions(old, new)
        .filter_map(|it| of_transition(spec, it))
        .collect();
    let (before, after) = (by_backend(&old.endpoints), by_backend(&new.endpoints));
    for backend in &spec.backends {
        let name = backend.name.as_str();
        events.extend(of_backend(name, before.get(name), after.get(name)));
    }
    events.extend(redirected(old, new));
    events.extend(rejected(&old.conditions, &new.conditions));
    events
}

/// What happened to a pool.
pub fn of_pool(old: &ProxyPoolStatus, new: &ProxyPoolStatus) -> Vec<Happening> {
    rejected(&old.conditions, &new.conditions).into_iter().collect()
}

/// Those that are newer than everything that was known.
fn new_transitions<'a>(
    old: &'a ProxyChainStatus,
    new: &'a ProxyChainStatus,
) -> impl Iterator<Item = &'a Transition> {
    let last = old.transitions.last().map(|last| last.at.0);
    let since = old.active.as_ref().map(|active| active.since.0);
    let known = last.max(since);
    new.transitions
        .iter()
        .filter(move |it| known.is_none_or(|known| it.at.0 >= known) && !old.transitions.contains(it))
}

fn of_transition(spec: &ProxyChainSpec, transition: &Transition) -> Option<Happening> {
    let Transition {
        at: _,
        from,
        to,
        reason,
    } = transition;
    let tier = |name: &str| spec.backend(name).map(|backend| backend.tier);
    let (reason_, verb) = match (tier(from), tier(to)) {
        // that nobody serves, or somebody again, is told of each backend
        _ if from.is_empty() || to.is_empty() => return None,
        (Some(from), Some(to)) if to == from => return None,
        (Some(from), Some(to)) if to < from => (EventReason::FailedBack, "back to"),
        (None, Some(0)) => (EventReason::FailedBack, "back to"),
        _ => (EventReason::FailedOver, "to"),
    };
    Some(Happening {
        reason: reason_,
        note: format!("from {from} {verb} {to}: {reason}"),
        backend: Some(to.clone()),
    })
}

/// How a backend is, by its endpoints.
struct Rotation<'a> {
    serving: usize,
    stale: Option<&'a EndpointStatus>,
    out: Option<&'a EndpointStatus>,
}

fn by_backend(endpoints: &[EndpointStatus]) -> BTreeMap<&str, Rotation<'_>> {
    let mut backends: BTreeMap<&str, Rotation<'_>> = BTreeMap::new();
    for endpoint in endpoints {
        let rotation = backends.entry(&endpoint.backend).or_insert(Rotation {
            serving: 0,
            stale: None,
            out: None,
        });
        match endpoint.state {
            EndpointState::Serving => rotation.serving += 1,
            EndpointState::Stale => {
                rotation.serving += 1;
                rotation.stale = rotation.stale.or(Some(endpoint));
            }
            EndpointState::Ejected | EndpointState::Draining => {
                rotation.out = rotation.out.or(Some(endpoint));
            }
        }
    }
    backends
}

/// A backend that was not there before has neither left rotation nor come back.
fn of_backend(name: &str, before: Option<&Rotation<'_>>, after: Option<&Rotation<'_>>) -> Vec<Happening> {
    let Some(before) = before else {
        return Vec::new();
    };
    let happening = |reason, note: String| Happening {
        reason,
        note,
        backend: Some(name.to_owned()),
    };
    let serves = after.map_or(0, |after| after.serving);
    let mut events = Vec::new();
    if before.serving > 0 && serves == 0 {
        let words = match after.and_then(|after| after.out) {
            Some(out) => format!("{} {}", out.address, out.reason),
            None => "no endpoint is known any more".to_owned(),
        };
        events.push(happening(EventReason::BackendDown, format!("{name}: {words}")));
    }
    if before.serving == 0 && serves > 0 {
        events.push(happening(
            EventReason::BackendUp,
            format!("{name} is back in rotation"),
        ));
    }
    if let (None, Some(stale)) = (before.stale, after.and_then(|after| after.stale)) {
        let note = format!("{name}: {} {}", stale.address, stale.reason);
        events.push(happening(EventReason::EndpointsStale, note));
    }
    events
}

/// Clients are sent away, or elsewhere than before, or not any more. Why, the condition says that is written with it.
fn redirected(old: &ProxyChainStatus, new: &ProxyChainStatus) -> Option<Happening> {
    let to = |status: &ProxyChainStatus| {
        let redirect = status.redirect.as_ref().filter(|redirect| redirect.active)?;
        Some(redirect.to.clone().unwrap_or_default())
    };
    let words = || {
        let ready = find(&new.conditions, ConditionType::Ready);
        ready.map_or_else(String::new, |ready| ready.message.clone())
    };
    let (reason, note) = match (to(old), to(new)) {
        (None, Some(_)) => (EventReason::RedirectStarted, words()),
        (Some(before), Some(after)) if before != after => (
            EventReason::RedirectStarted,
            format!("to {after}, no longer to {before}: {}", words()),
        ),
        (Some(before), None) => (
            EventReason::RedirectEnded,
            format!("clients are no longer sent to {before}: {}", words()),
        ),
        (None, None) | (Some(_), Some(_)) => return None,
    };
    Some(Happening {
        reason,
        note,
        backend: None,
    })
}

/// A configuration was refused that was not known to be: each generation is one.
fn rejected(old: &[Condition], new: &[Condition]) -> Option<Happening> {
    let refused = |conditions: &[Condition]| {
        let programmed = find(conditions, ConditionType::Programmed)?;
        let refused = programmed.reason == Reason::ConfigRejected.as_str();
        refused.then(|| (programmed.observed_generation, programmed.message.clone()))
    };
    let (generation, note) = refused(new)?;
    if refused(old).is_some_and(|(before, _)| before == generation) {
        return None;
    }
    Some(Happening {
        reason: EventReason::ConfigRejected,
        note,
        backend: None,
    })
}
