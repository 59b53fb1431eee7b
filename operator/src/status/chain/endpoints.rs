//! Endpoints as most proxies see them. In: views, and the endpoints as the status has them. Out: the first 32, by tier and
//! backend of the chain and by address.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use switchyard_crds::ProxyChainSpec;
use switchyard_crds::proxychain::{EndpointState, EndpointStatus};
use switchyard_snapshot::{EndpointReport, EndpointState as Reported};

use super::view::{View, dissent, most};
use crate::status::conditions::{cut, seconds};

/// A status has at most so many.
const KEPT: usize = 32;

/// The bound of a reason.
const REASON_BYTES: usize = 1024;

/// The endpoints that most of those who list them agree on.
pub fn fold(spec: &ProxyChainSpec, views: &[View<'_>], old: &[EndpointStatus]) -> Vec<EndpointStatus> {
    let mut seen: BTreeMap<(usize, &str, SocketAddr), Vec<&EndpointReport>> = BTreeMap::new();
    for view in views {
        for endpoint in &view.report.endpoints {
            let rank = rank(spec, &endpoint.backend);
            let key = (rank, endpoint.backend.as_str(), endpoint.address);
            seen.entry(key).or_default().push(endpoint);
        }
    }
    let first = seen.into_iter().take(KEPT);
    let folded = first.filter_map(|((_, backend, address), reports)| {
        let address = address.to_string();
        let before = old
            .iter()
            .find(|old| old.backend == backend && old.address == address);
        one(backend, address, &reports, before, views.len())
    });
    folded.collect()
}

/// The order of the chain's backends; those it has no longer come last.
fn rank(spec: &ProxyChainSpec, backend: &str) -> usize {
    let position = spec.backends.iter().position(|it| it.name == backend);
    position.unwrap_or(usize::MAX)
}

fn one(
    backend: &str,
    address: String,
    reports: &[&EndpointReport],
    before: Option<&EndpointStatus>,
    proxies: usize,
) -> Option<EndpointStatus> {
    let (state, count) = most(reports.iter().map(|report| report.state))?;
    let agree = || reports.iter().filter(|report| report.state == state);
    let same = before.filter(|before| before.state == written(state));
    let (words, _) = most(agree().map(|report| report.reason.as_str()))?;
    let words = format!("{words}{}", dissent(reports.len() - count, proxies));
    let reason = cut(words, REASON_BYTES);
    Some(EndpointStatus {
        backend: backend.to_owned(),
        address,
        state: written(state),
        reason: match same {
            Some(same) if same_but_for_numbers(&same.reason, &reason) => same.reason.clone(),
            _ => reason,
        },
        since: match same {
            Some(same) => same.since.clone(),
            None => seconds(agree().map(|report| report.since).min()?),
        },
    })
}

const fn written(state: Reported) -> EndpointState {
    match state {
        Reported::Serving => EndpointState::Serving,
        Reported::Stale => EndpointState::Stale,
        Reported::Ejected => EndpointState::Ejected,
        Reported::Draining => EndpointState::Draining,
    }
}

/// Whether two reasons say the same, but for ages and counts, which go on for ever: they are no reason to write a status.
pub fn same_but_for_numbers(one: &str, other: &str) -> bool {
    one == other || words(one).eq(words(other))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && !word.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether an endpoint of the tier serves although its name no longer resolves.
pub fn stale(spec: &ProxyChainSpec, endpoints: &[EndpointStatus], tier: u32) -> bool {
    endpoints.iter().any(|endpoint| {
        endpoint.state == EndpointState::Stale
            && spec
                .backend(&endpoint.backend)
                .is_none_or(|backend| backend.tier == tier)
    })
}
