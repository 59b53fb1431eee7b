//! Changes of the active tier. In: the changes that proxies report, and those that the status has. Out: one history: a change
//! counts once more than half of those who report have seen it, and only once although each saw it at a moment of its own.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use switchyard_crds::proxychain::Transition;
use switchyard_snapshot::TransitionReport;

use super::view::{View, most};
use crate::status::conditions::{cut, seconds};

/// A status has at most so many.
const KEPT: usize = 10;

/// Proxies see one change at most so far apart: twice what three missed probes and a round of gossip take by default.
const APART: SignedDuration = SignedDuration::from_secs(10);

/// The bound of a backend's name.
const NAME_BYTES: usize = 63;

/// The bound of a reason.
const REASON_BYTES: usize = 1024;

/// A change as one proxy saw it.
#[derive(Clone, Copy)]
struct Sighting<'a> {
    proxy: usize,
    change: &'a TransitionReport,
}

/// Adds what is new. True: something was.
pub fn merge(history: &mut Vec<Transition>, views: &[View<'_>]) -> bool {
    let mut by_change: BTreeMap<(&str, &str), Vec<Sighting<'_>>> = BTreeMap::new();
    for (proxy, view) in views.iter().enumerate() {
        for change in &view.report.transitions {
            let (from, to) = (first(&change.from), first(&change.to));
            if from != to {
                by_change
                    .entry((from, to))
                    .or_default()
                    .push(Sighting { proxy, change });
            }
        }
    }
    let mut new: Vec<(Timestamp, Transition)> = Vec::new();
    for ((from, to), seen) in by_change {
        let happened = |at| {
            history
                .iter()
                .any(|it| it.from == from && it.to == to && same_time(it.at.0, at))
        };
        let confirmed = together(seen)
            .into_iter()
            .filter(|it| witnesses(it) * 2 > views.len());
        for sightings in confirmed {
            let Some(at) = sightings.first().map(|sighting| sighting.change.at) else {
                continue;
            };
            if !happened(at) {
                let reason = most(sightings.iter().map(|sighting| sighting.change.reason.as_str()));
                let reason = reason.map_or("", |(words, _)| words);
                new.push((at, transition(from, to, seconds(at), reason)));
            }
        }
    }
    new.sort_by_key(|(at, _)| *at);
    let before = history.clone();
    // Times are whole seconds: of equal ones those that are there already stay first, then as they came.
    history.extend(new.into_iter().map(|(_, transition)| transition));
    history.sort_by_key(|transition| transition.at.0);
    bound(history);
    *history != before
}

/// Sightings of one kind of change, in groups that are each about one change.
fn together(mut seen: Vec<Sighting<'_>>) -> Vec<Vec<Sighting<'_>>> {
    seen.sort_by_key(|sighting| (sighting.change.at, sighting.change.reason.as_str()));
    let mut groups: Vec<Vec<Sighting<'_>>> = Vec::new();
    for sighting in seen {
        match groups.last_mut() {
            Some(group)
                if group
                    .first()
                    .is_some_and(|first| near(first.change.at, sighting.change.at)) =>
            {
                group.push(sighting);
            }
            _ => groups.push(vec![sighting]),
        }
    }
    groups
}

/// How many proxies saw it.
fn witnesses(sightings: &[Sighting<'_>]) -> usize {
    sightings
        .iter()
        .map(|sighting| sighting.proxy)
        .collect::<BTreeSet<_>>()
        .len()
}

/// The tier has changed though no report says how: a proxy that was the only one to know has gone.
pub fn complete(history: &mut Vec<Transition>, from: &str, to: &str, at: Time) {
    if history.last().is_some_and(|last| last.to == to) || from == to {
        return;
    }
    history.push(transition(from, to, at, "as most proxies report"));
    history.sort_by_key(|transition| transition.at.0);
    bound(history);
}

fn bound(history: &mut Vec<Transition>) {
    history.drain(..history.len().saturating_sub(KEPT));
}

fn transition(from: &str, to: &str, at: Time, reason: &str) -> Transition {
    Transition {
        at,
        from: cut(from.to_owned(), NAME_BYTES),
        to: cut(to.to_owned(), NAME_BYTES),
        reason: cut(reason.to_owned(), REASON_BYTES),
    }
}

/// A tier is told by its first backend.
fn first(names: &str) -> &str {
    names.split(',').next().unwrap_or_default().trim()
}

fn near(earlier: Timestamp, later: Timestamp) -> bool {
    later.duration_since(earlier) <= APART
}

/// What is written has lost up to a second.
fn same_time(written: Timestamp, seen: Timestamp) -> bool {
    seen.duration_since(written).abs() <= APART + SignedDuration::from_secs(1)
}
