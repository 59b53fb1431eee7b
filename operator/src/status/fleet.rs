//! The proxies of one pool as a fold sees them. In: who is there, what the workload says. Out: how many run something, who does
//! not and why.

use std::collections::BTreeMap;
use std::time::Instant;

use switchyard_crds::Reason;
use switchyard_discovery::Hash;
use switchyard_snapshot::{Report, ResourceId};

use super::conditions::{Finding, Status};
use super::proxies::{Members, ProxyState};

/// So many proxies are named in a message; the others are counted.
const NAMED: usize = 3;

/// The proxies of a pool.
#[derive(Clone, Debug)]
pub struct Fleet<'a> {
    /// How many there are, also those that nothing is known of.
    pub size: u32,
    /// Those that are connected, or were a moment ago, by name.
    pub members: Vec<Member<'a>>,
    /// Whether everybody who will report has had the time to: until then what the status says of proxies stays.
    pub settled: bool,
    /// How many are ready by the workload's word; none: nothing is known of a workload.
    pub ready: Option<u32>,
}

/// One proxy.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it runs and refuses.
    pub state: &'a ProxyState,
    /// Its newest report.
    pub report: Option<&'a Report>,
}

/// What the workload knows of a pool's proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many there are.
    pub replicas: u32,
    /// How many are ready.
    pub ready: u32,
}

impl<'a> Fleet<'a> {
    /// `counted` is none where there is no workload.
    pub fn new(members: Option<&'a Members>, counted: Option<Counted>, settled: bool, now: Instant) -> Self {
        let members: Vec<Member<'a>> = members
            .into_iter()
            .flatten()
            .map(|((name, _), state)| Member {
                name,
                state,
                report: state.report(now),
            })
            .collect();
        let there = u32::try_from(members.len()).unwrap_or(u32::MAX);
        Self {
            size: counted.map_or(there, |counted| counted.replicas.max(there)),
            members,
            settled,
            ready: counted.map(|counted| counted.ready),
        }
    }

    /// Whether everybody who is there by the workload's word has said how it is.
    pub fn complete(&self) -> bool {
        let reporting = self
            .members
            .iter()
            .filter(|member| member.report.is_some())
            .count();
        self.ready.is_some() && reporting >= usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    /// Who runs all of these.
    pub fn tally(&self, wanted: &[(&ResourceId, Hash)]) -> Tally<'a> {
        let mut tally = Tally {
            size: self.size,
            ..Tally::default()
        };
        for member in &self.members {
            let state: &'a ProxyState = member.state;
            let refused = wanted
                .iter()
                .find_map(|(id, version)| state.refuses(id, *version));
            if let Some(reason) = refused {
                tally
                    .refused
                    .entry(reason.to_owned())
                    .or_default()
                    .push(member.name);
            } else if wanted.iter().all(|(id, version)| state.runs(id, *version)) {
                tally.running += 1;
            } else {
                tally.lagging.push(member.name);
            }
        }
        tally
    }
}

/// How far something is programmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally<'a> {
    /// Proxies there are.
    pub size: u32,
    /// Those that run it.
    pub running: u32,
    /// Those that refuse it, by the reason they give.
    pub refused: BTreeMap<String, Vec<&'a str>>,
    /// Those that are connected and have answered nothing yet.
    pub lagging: Vec<&'a str>,
}

impl Tally<'_> {
    /// As columns show it.
    pub fn column(&self) -> String {
        format!("{}/{}", self.running, self.size)
    }

    /// One that cannot do what it was told is counted as one that refuses it.
    pub fn cannot(&mut self, reason: String) {
        self.running = self.running.saturating_sub(1);
        self.refused.entry(reason).or_default();
    }

    /// The condition `Programmed`.
    pub fn programmed(&self, generation: i64) -> Finding {
        let counted = format!("{} of {} programmed", self.running, self.size);
        let (status, reason, message) = if !self.refused.is_empty() {
            let told = self.refused.iter().take(NAMED).map(|(reason, names)| {
                if names.is_empty() {
                    reason.clone()
                } else {
                    format!("{}: {reason}", list(names))
                }
            });
            let told: Vec<String> = told.collect();
            let message = format!("{counted}; {}", told.join("; "));
            (Status::False, Reason::ConfigRejected, message)
        } else if self.size == 0 {
            (
                Status::False,
                Reason::NoReadyProxies,
                "there is no proxy".to_owned(),
            )
        } else if self.running >= self.size {
            (Status::True, Reason::Programmed, counted)
        } else {
            let known = self.running + u32::try_from(self.lagging.len()).unwrap_or(u32::MAX);
            let away = self.size.saturating_sub(known);
            let mut waiting = Vec::new();
            if !self.lagging.is_empty() {
                waiting.push(format!("waiting for {}", list(&self.lagging)));
            }
            if away > 0 {
                waiting.push(format!("{away} not connected"));
            }
            let reason = if self.running == 0 {
                Reason::Pending
            } else {
                Reason::PartiallyProgrammed
            };
            (
                Status::False,
                reason,
                format!("{counted}; {}", waiting.join(", ")),
            )
        };
        Finding::new(status, reason, message, generation)
    }
}

/// `a, b, c and 2 more`.
pub fn list(names: &[&str]) -> String {
    let named = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMED).filter(|more| *more > 0) {
        Some(more) => format!("{named} and {more} more"),
        None => named,
    }
}
