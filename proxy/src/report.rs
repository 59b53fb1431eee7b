//! What this proxy tells the operator of itself. In: what its chains believe, what it could not bind, how it drains. Out: a
//! [`Report`], anew when there is news.

mod news;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use switchyard_snapshot::{
    ActiveReport, ChainId, ChainReport, ENDPOINTS_REPORTED, EndpointReport, EndpointState, GuestsReport,
    PeersReport, Report, ResourceId, TransitionReport,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::app::{Running, reports_of};
use crate::chain::event::TransitionKind;
use crate::chain::state;
use crate::chain::task::ANSWER_WITHIN;
use crate::drain::Phase;
use crate::gossip::Liveness;
use crate::verdict::Verdict;

pub use news::News;

/// News wait until the report before is this old.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Every chain is asked, and reported, this often although it has no news: counts have changed, and whoever lost a report has
/// it back.
const AT_LEAST_EVERY: Duration = Duration::from_secs(30);

/// Keeps `reports` at the newest state; never ends.
pub(crate) async fn keep(running: &Running, reports: &watch::Sender<Option<Arc<Report>>>) {
    let mut standing = running.changes();
    let mut phase = running.life().watch();
    let mut heard = Heard {
        chains: BTreeMap::new(),
        all_at: Instant::now(),
    };
    loop {
        standing.mark_unchanged();
        phase.mark_unchanged();
        let made = Instant::now();
        heard.ask(running, made).await;
        reports.send_replace(Some(Arc::new(report(running, &heard).await)));
        tokio::select! {
            () = running.news().any() => {}
            _ = standing.changed() => {}
            _ = phase.changed() => {}
            () = sleep_until(heard.all_at) => {}
        }
        sleep_until(made + AT_MOST_EVERY).await;
    }
}

/// What chains said when they were asked last. Of many, few have news: only those are asked.
struct Heard {
    chains: BTreeMap<ChainId, ChainReport>,
    /// When all of them are asked, whether or not they have news.
    all_at: Instant,
}

impl Heard {
    /// Asks those that have news. One whose task does not answer is left out until it does: nobody knows what it does.
    async fn ask(&mut self, running: &Running, now: Instant) {
        let news = running.news().take();
        let all = running.controls();
        let there: BTreeSet<&ChainId> = all.iter().map(|control| &control.handle.id).collect();
        self.chains.retain(|id, _| there.contains(id));
        let everybody = now >= self.all_at;
        if everybody {
            self.all_at = now + AT_LEAST_EVERY;
        }
        let asked = all.iter().filter(|control| {
            let id = &control.handle.id;
            everybody || news.contains(id) || !self.chains.contains_key(id)
        });
        let asked = asked.cloned().collect();
        for (control, said) in reports_of(asked).await {
            let id = &control.handle.id;
            match said {
                Some(said) => self.chains.insert(id.clone(), chain(said)),
                None => self.chains.remove(id),
            };
        }
    }
}

/// The whole truth, now. A chain that nobody can reach is left out.
async fn report(running: &Running, heard: &Heard) -> Report {
    let phase = running.life().phase();
    let totals = running.workers().counters();
    let standing = running.standing();
    // no client reaches a chain whose listener could not be bound, whatever it knows of its backends
    let not_running = standing.not_running();
    let runs = |id: &ChainId| !not_running.contains_key(&ResourceId::Chain(id.clone()));
    let asked = running.workers().guests();
    let mut guests = timeout(ANSWER_WITHIN, asked).await.unwrap_or_default();
    let talks = running.hood().borrow().topology.is_some();
    let chains = heard.chains.values().filter(|chain| runs(&chain.id)).map(|said| {
        let mut told = said.clone();
        if !talks {
            told.standing = None;
            told.redirect = None;
            told.returns_at = None;
        }
        if let Some(counts) = totals.chains.get(&told.id) {
            told.sessions = counts.active;
            told.guests = counts.guests;
        }
        let homes = guests.remove(&told.id).unwrap_or_default();
        let homes = homes
            .into_iter()
            .filter_map(|(home, guests)| Some(GuestsReport { home: home?, guests }));
        told.guests_of = homes.collect();
        told
    });
    let chains = chains.collect();
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
        sessions: totals.chains.values().map(|chain| chain.active).sum(),
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

/// As the chain itself knows it: who is connected, only workers know.
fn chain(report: state::ChainReport) -> ChainReport {
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
        sessions: 0,
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
        standing: Some(report.standing),
        redirect: report.redirect,
        guests: 0,
        guests_of: Vec::new(),
        returns_at: report.returns_at,
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
