//! What the proxies see of one chain, and what most of them see. In: reports. Out: one picture, whatever the order of the
//! proxies.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use switchyard_crds::ProxyChain;
use switchyard_snapshot::{ChainId, ChainReport, EndpointState, Standing};

use crate::status::fleet::Fleet;
use crate::status::proxies::ProxyState;

/// What one proxy sees.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// In its own words.
    pub report: &'a ChainReport,
    /// What it runs.
    pub state: &'a ProxyState,
    /// What it does for clients of the chain.
    pub serving: Serving,
}

/// What happens to a client of the chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Serving {
    /// This tier serves it.
    Tier {
        /// Its number.
        tier: u32,
        /// A backend of it.
        backend: String,
    },
    /// Nobody does.
    Nothing,
    /// Nobody does, on purpose.
    Suspended,
}

/// What most see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Majority {
    /// What happens to clients. Of equal numbers the one with the newest change of tier counts.
    pub serving: Serving,
    /// How many see it otherwise.
    pub differ: usize,
    /// How many see the chain.
    pub of: usize,
    /// Since when, by the first of those who agree.
    pub since: Timestamp,
    /// Endpoints that serve, of those known.
    pub healthy: (u32, u32),
    /// The oldest generation that is run.
    pub generation: i64,
    /// How it stands, as most of those who say so see it.
    pub standing: Option<Standing>,
}

/// The views of those who report on the chain.
pub fn of<'a>(fleet: &Fleet<'a>, chain: &ProxyChain, id: &ChainId) -> Vec<View<'a>> {
    let mut views = Vec::with_capacity(fleet.members.len());
    for member in &fleet.members {
        let Some(report) = member.report.and_then(|report| report.chain(id)) else {
            continue;
        };
        views.push(View {
            report,
            state: member.state,
            serving: serving(report, chain),
        });
    }
    views
}

fn serving(report: &ChainReport, chain: &ProxyChain) -> Serving {
    if report.suspended {
        return Serving::Suspended;
    }
    match &report.active {
        Some(active) if endpoint_serves(report, chain, active.tier) => Serving::Tier {
            tier: active.tier,
            backend: active.backend.clone(),
        },
        _ => Serving::Nothing,
    }
}

fn standing(view: &View<'_>) -> Option<Standing> {
    view.report.standing.as_ref().map(|it| it.standing)
}

/// Whether an endpoint of the tier serves. Where the list is cut short, or names backends that the chain has no longer, any
/// endpoint that serves will do.
fn endpoint_serves(report: &ChainReport, chain: &ProxyChain, tier: u32) -> bool {
    let listed = u32::try_from(report.endpoints.len()).unwrap_or(u32::MAX);
    let tier_of = |name: &str| chain.spec.backend(name).map(|backend| backend.tier);
    let known = report
        .endpoints
        .iter()
        .all(|endpoint| tier_of(&endpoint.backend).is_some());
    if listed < report.endpoints_total || !known {
        return report.endpoints_serving > 0;
    }
    report.endpoints.iter().any(|endpoint| {
        matches!(endpoint.state, EndpointState::Serving | EndpointState::Stale)
            && tier_of(&endpoint.backend) == Some(tier)
    })
}

/// What most of `votes` say, how many do; of equally many the greatest.
pub fn most<T: Ord>(votes: impl IntoIterator<Item = T>) -> Option<(T, usize)> {
    let mut counted: BTreeMap<T, usize> = BTreeMap::new();
    for vote in votes {
        *counted.entry(vote).or_default() += 1;
    }
    // the last of equal maxima
    counted.into_iter().max_by_key(|(_, count)| *count)
}

impl Majority {
    /// None: nobody sees the chain.
    pub fn of(views: &[View<'_>]) -> Option<Self> {
        let mut camps: BTreeMap<&Serving, (usize, u64)> = BTreeMap::new();
        for view in views {
            let epoch = view.report.active.as_ref().map_or(0, |active| active.epoch);
            let (count, newest) = camps.entry(&view.serving).or_default();
            *count += 1;
            *newest = (*newest).max(epoch);
        }
        let (serving, (count, _)) = camps
            .into_iter()
            .max_by_key(|(serving, (count, epoch))| (*count, *epoch, Reverse(*serving)))?;
        let since = views.iter().filter(|view| view.serving == *serving);
        let since = since.filter_map(|view| view.report.active.as_ref().map(|active| active.since));
        let healthy = most(views.iter().map(|view| {
            let report = view.report;
            Reverse((report.endpoints_serving, report.endpoints_total))
        }));
        Some(Self {
            serving: serving.clone(),
            differ: views.len() - count,
            of: views.len(),
            since: since.min().unwrap_or(Timestamp::UNIX_EPOCH),
            healthy: healthy.map(|(Reverse(healthy), _)| healthy).unwrap_or_default(),
            generation: views
                .iter()
                .map(|view| view.report.generation)
                .min()
                .unwrap_or_default(),
            standing: most(views.iter().filter_map(standing)).map(|(standing, _)| standing),
        })
    }

    /// ` (isolated)`: proxies that see nobody who serves may be at fault themselves.
    pub fn doubt(&self) -> String {
        match self.standing {
            Some(
                standing @ (Standing::Blind | Standing::Isolated | Standing::Draining | Standing::Unsure),
            ) => {
                format!(" ({})", standing.as_str())
            }
            Some(Standing::Live | Standing::Degraded | Standing::Dead | Standing::Suspended) | None => {
                String::new()
            }
        }
    }

    /// That not everybody sees it so.
    pub fn dissent(&self) -> String {
        dissent(self.differ, self.of)
    }
}

/// How it begins to be told that some proxies see something otherwise.
const DISSENT: &str = " (differs on ";

/// ` (differs on 1 of 3)`; nothing where none does.
pub fn dissent(differ: usize, of: usize) -> String {
    if differ == 0 {
        String::new()
    } else {
        format!("{DISSENT}{differ} of {of})")
    }
}

/// Whether these words say that some see it otherwise.
pub fn has_dissent(words: &str) -> bool {
    words.contains(DISSENT)
}

/// The same words without [`dissent`], wherever it stands in them.
pub fn without_dissent(words: &str) -> String {
    let mut parts = words.split(DISSENT);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |known, part| {
        known + part.split_once(')').map_or("", |(_, after)| after)
    })
}
