//! What this proxy tells the operator of itself. In: what its chains believe, what it could not bind, how it drains. Out: a
//! [`Report`], anew when there is news.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use switchyard_snapshot::{
    ActiveReport, ChainId, ChainReport, ENDPOINTS_REPORTED, EndpointReport, EndpointState, GuestsReport,
    PeersReport, Report, ResourceId, TransitionReport,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::app::Running;
use crate::chain::event::TransitionKind;
use crate::chain::state;
use crate::chain::task::ANSWER_WITHIN;
use crate::drain::Phase;
use crate::gossip::Liveness;
use crate::verdict::Verdict;

/// News wait until the report before is this old.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Without news: counts have changed, and whoever lost a report has it back.
const AT_LEAST_EVERY: Duration = Duration::from_secs(30);

/// Keeps `reports` at the newest state; never ends.
pub(crate) async fn keep(running: &Running, reports: &watch::Sender<Option<Arc<Report>>>) {
    let mut standing = running.changes();
    let mut phase = running.life().watch();
    loop {
        standing.mark_unchanged();
        phase.mark_unchanged();
        reports.send_replace(Some(Arc::new(report(running).await)));
        let made = Instant::now();
        tokio::select! {
            () = running.news().notified() => {}
            _ = standing.changed() => {}
            _ = phase.changed() => {}
            () = sleep(AT_LEAST_EVERY) => {}
        }
        sleep_until(made + AT_MOST_EVERY).await;
    }
}

/// The whole truth, now. A chain whose task does not answer is left out: nobody knows what it does. So is one that nobody can
/// reach.
async fn report(running: &Running) -> Report {
    let phase = running.life().phase();
    let totals = running.workers().counters();
    let sessions: BTreeMap<&ChainId, u64> = totals
        .chains
        .iter()
        .map(|(id, chain)| (id, chain.active))
        .collect();
    let standing = running.standing();
    // no client reaches a chain whose listener could not be bound, whatever it knows of its backends
    let not_running = standing.not_running();
    let runs = |id: &ChainId| !not_running.contains_key(&ResourceId::Chain(id.clone()));
    let asked = running.workers().guests();
    let mut guests = timeout(ANSWER_WITHIN, asked).await.unwrap_or_default();
    let mut chains: Vec<ChainReport> = Vec::new();
    let talks = running.hood().borrow().topology.is_some();
    for (_, report) in running.reports().await {
        let Some(report) = report.filter(|report| runs(&report.config.id)) else {
            continue;
        };
        let mut told = chain(&report, &sessions);
        if talks {
            told.standing = Some(report.standing);
            told.redirect = report.redirect;
            told.returns_at = report.returns_at;
        }
        if let Some(counts) = totals.chains.get(&told.id) {
            told.guests = counts.guests;
        }
        let homes = guests.remove(&told.id).unwrap_or_default();
        let homes = homes
            .into_iter()
            .filter_map(|(home, guests)| Some(GuestsReport { home: home?, guests }));
        told.guests_of = homes.collect();
        chains.push(told);
    }
    chains.sort_by(|a, b| a.id.cmp(&b.id));
    let mut listen_errors: Vec<String> = standing
        .applied
        .listen_errors
        .iter()
        .map(ToString::to_string)
        .collect();
    listen_errors.sort();
    Report {
        ready: phase == Phase::Serving,
        draining: matches!(phase, Phase::Draining { .. } | Phase::Drained),
        sessions: sessions.values().sum(),
        listen_errors,
        chains,
        peers: peers(running),
    }
}

fn peers(running: &Running) -> PeersReport {
    let mut peers = PeersReport::default();
    for peer in running.hood().borrow().neighbours.peers.values() {
        match peer.liveness {
            Liveness::Alive => peers.alive += 1,
            Liveness::Suspect => peers.suspect += 1,
            Liveness::Dead => peers.dead += 1,
        }
    }
    peers
}

fn chain(report: &state::ChainReport, sessions: &BTreeMap<&ChainId, u64>) -> ChainReport {
    let config = &report.config;
    let (endpoints, serving) = endpoints(&report.endpoints);
    let active = &report.active;
    let lives = report
        .endpoints
        .iter()
        .any(|endpoint| endpoint.tier == Some(active.tier) && serves(endpoint));
    let backend = config.backends.iter().find(|backend| backend.tier == active.tier);
    ChainReport {
        id: config.id.clone(),
        generation: report.generation,
        active: backend
            .filter(|_| lives && !config.suspend)
            .map(|backend| ActiveReport {
                backend: backend.name.clone(),
                tier: active.tier,
                epoch: active.epoch,
                since: active.since,
            }),
        suspended: config.suspend,
        sessions: sessions.get(&config.id).copied().unwrap_or_default(),
        endpoints,
        endpoints_total: report.endpoints.len() as u32,
        endpoints_serving: serving,
        transitions: report
            .transitions
            .iter()
            .filter(|transition| {
                matches!(
                    transition.kind,
                    TransitionKind::FailedOver | TransitionKind::FailedBack | TransitionKind::Switched
                )
            })
            .map(|transition| TransitionReport {
                at: transition.at,
                from: transition.from.clone(),
                to: transition.to.clone(),
                reason: transition.reason.clone(),
            })
            .collect(),
        standing: None,
        redirect: None,
        guests: 0,
        guests_of: Vec::new(),
        returns_at: None,
    }
}

/// Those that are listed, and how many of all serve. Where there are too many to list, those that do not serve go first:
/// somebody will ask about them.
fn endpoints(all: &[state::EndpointReport]) -> (Vec<EndpointReport>, u32) {
    let mut sorted: Vec<&state::EndpointReport> = all.iter().collect();
    let place = |endpoint: &&state::EndpointReport| (endpoint.backend.clone(), endpoint.address);
    sorted.sort_by_cached_key(|endpoint| (serves(endpoint), place(endpoint)));
    sorted.truncate(ENDPOINTS_REPORTED);
    sorted.sort_by_cached_key(place);
    let listed = sorted.into_iter().map(|endpoint| EndpointReport {
        backend: endpoint.backend.clone(),
        address: endpoint.address,
        state: match endpoint.verdict {
            Verdict::Serve => EndpointState::Serving,
            Verdict::ServeStale => EndpointState::Stale,
            Verdict::Drain => EndpointState::Draining,
            Verdict::Eject => EndpointState::Ejected,
        },
        reason: endpoint.reason.clone(),
        since: endpoint.since,
    });
    (
        listed.collect(),
        all.iter().filter(|endpoint| serves(endpoint)).count() as u32,
    )
}

fn serves(endpoint: &state::EndpointReport) -> bool {
    endpoint.verdict.serves()
}

#[cfg(test)]
mod tests;
