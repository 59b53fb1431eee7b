//! Backends die, hang, come back, are suspended and switched: who serves, how
//! long anybody waits, and how sessions leave. Each test runs with one data
//! worker and with two, and judges by what clients saw.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use switchyard_tests::backend::Backend;
use switchyard_tests::client::{End, Load, LoadPlan, Session};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use super::scene::{
    Kill, MEASURING, PORT, QUICK_HEALTH, QUICK_INTERVAL, SOON, await_open, backend, chain, entry, kill,
    must_be_served_but_at, one_chain, only, pool,
};

mod by_hand;
mod failback;
mod monitors;
mod moves;
mod outages;
mod restarts;

pub fn add(suite: &mut Suite) {
    failback::add(suite); // these take longest
    moves::add(suite);
    restarts::add(suite);
    outages::add(suite);
    by_hand::add(suite);
    monitors::add(suite);
}

/// A primary at 10.77.0.11 and a backup at 10.77.0.12 behind a running proxy.
struct Pair {
    client: Host,
    proxy_host: Host,
    primary: Backend,
    backup: Backend,
    proxy: Switchyard,
}

impl Pair {
    /// Starts everything, with `more` in the chain's spec, and awaits that both serve.
    fn start(lab: &Lab, workers: usize, more: &str) -> Self {
        let (primary, backup) = (backend(lab, "primary", 11), backend(lab, "backup", 12));
        let proxy_host = lab.host("proxy", 2);
        let plan = Plan::new(workers, &Self::manifests_for(&primary, &backup, more));
        let proxy = Switchyard::start_ready(&proxy_host, plan);
        let pair = Self {
            client: lab.host("client", 100),
            proxy_host,
            primary,
            backup,
            proxy,
        };
        pair.await_both_serving();
        pair
    }

    fn manifests_for(primary: &Backend, backup: &Backend, more: &str) -> String {
        one_chain(&[entry(primary, 0), entry(backup, 1)], more)
    }

    fn manifests(&self, more: &str) -> String {
        Self::manifests_for(&self.primary, &self.backup, more)
    }

    fn at(&self) -> SocketAddr {
        self.proxy_host.at(PORT)
    }

    fn load(&self, per_second: u32) -> Load {
        Load::start(&self.client, LoadPlan::new(self.at(), per_second))
    }

    #[track_caller]
    fn await_both_serving(&self) {
        let both = [self.primary.address(), self.backup.address()];
        self.proxy.await_serving("app", &both, SOON);
    }

    /// Awaits that this tier is active, and says when that was seen.
    #[track_caller]
    fn await_tier(&self, tier: u32) -> Instant {
        await_tier(&self.proxy, "app", tier)
    }
}

#[track_caller]
fn await_tier(proxy: &Switchyard, chain: &str, tier: u32) -> Instant {
    proxy.await_chain(chain, &format!("tier {tier} is active"), SOON, |state| {
        state.active.as_ref().is_some_and(|active| active.tier == tier)
    });
    Instant::now()
}

/// That these sessions ended with FIN, in turn, `pace` of them per second
/// (within 10 %, and what the clients themselves were late); says when the
/// first did.
#[track_caller]
fn must_leave_paced(lab: &Lab, sessions: &[Session], pace: u32) -> Instant {
    let end = |session: &Session| match &session.ended {
        Some((at, End::Fin)) => (*at, session.late),
        other => panic!("ended with {other:?}, not with FIN"),
    };
    let mut ends: Vec<(Instant, Duration)> = sessions.iter().map(end).collect();
    ends.sort_unstable();
    let ((first, first_late), (last, last_late)) = (ends[0], ends[ends.len() - 1]);
    let took = last - first;
    let rate = |took: Duration| (ends.len() - 1) as f64 / took.as_secs_f64();
    // Over two seconds, so that neither a pause of this machine nor the pace's own slack counts for much. What is seen in
    // them came in them, or as much earlier as the clients were late.
    let window = |n: usize| {
        let at = ends[n].0;
        let within = |(end, _): &&(Instant, Duration)| *end >= at && *end < at + Duration::from_secs(2);
        let seen: Vec<_> = ends.iter().filter(within).collect();
        let late = seen.iter().map(|(_, late)| *late).max().unwrap_or_default();
        (seen.len(), Duration::from_secs(2) + late)
    };
    let windows: Vec<(usize, Duration)> = (0..ends.len()).map(window).collect();
    let most = windows.iter().map(|(count, _)| *count).max().unwrap_or_default();
    let late = ends.iter().map(|(_, late)| *late).max().unwrap_or_default();
    lab.say(format!(
        "{} sessions left with FIN in {took:.2?}: {:.1} a second, {most} in the two fullest; the pace is {pace}; \
         seen at most {late:.1?} late",
        ends.len(),
        rate(took)
    ));
    let pace = f64::from(pace);
    let (slowest, fastest) = (rate(took + first_late), rate(took.saturating_sub(last_late)));
    assert!(
        slowest <= pace * 1.1 && fastest >= pace * 0.9,
        "{slowest:.1} to {fastest:.1} a second is not {pace} within 10 %"
    );
    for (count, time) in windows {
        assert!(
            count as f64 <= time.as_secs_f64() * pace * 1.1 + 1.0,
            "{count} in {time:.2?}, not {pace} in each second"
        );
    }
    first
}
