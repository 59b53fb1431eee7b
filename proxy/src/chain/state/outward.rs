//! What a chain makes of the others: how it stands, where its clients are sent meanwhile, and when guests go back. In: the
//! circle, what serves here, time. Out: the outward part of a view, and what people are told of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use switchyard_snapshot::{Chain, ChainId, GroupPlace, RedirectReport, Return, Standing, StandingReport};

use super::ChainState;
use crate::chain::event::TransitionKind;
use crate::chain::view::{Candidate, Detour, Empty, Returning, Via, View};
use crate::clock::Now;
use crate::endpoint::Endpoint;
use crate::failover::schedule::Calendar;
use crate::gossip::PeerId;
use crate::redirect::detour::{self, Relay};
use crate::redirect::hold::Hold;
use crate::redirect::returning::{self, Home, Returns};
use crate::redirect::standing::{self, Facts};
use crate::redirect::table::{Remotes, Sources, Table};

/// Mates need so long, beyond a probe's timeout, to see what is seen here and to say so.
const TOLD_WITHIN: Duration = Duration::from_millis(500);

/// The name under which relaying proxies stand where a backend's name is asked for.
const RELAY: &str = "relay";

/// What a chain shows to the outside.
#[derive(Clone, Debug)]
pub(super) struct Outward {
    remotes: Arc<Remotes>,
    draining: bool,
    /// Somebody said that guests shall go now.
    told: bool,
    /// The group's prime time.
    calendar: Option<Calendar>,
    stand: StandingReport,
    /// Since when nobody here serves.
    out_since: Option<Instant>,
    hold: Hold,
    /// Why nobody served here when somebody last did not.
    why: String,
    detour: Option<(Arc<Detour>, Timestamp)>,
    returns: Returns,
    returning: Option<Arc<Returning>>,
    /// The other chains of the group; none: they have to be looked at.
    homes: Option<Vec<Home>>,
    endpoints: BTreeMap<(PeerId, SocketAddr), Arc<Endpoint>>,
}

impl Outward {
    pub(super) fn new(chain: &Chain, returns_at: Option<Timestamp>, now: Now) -> Self {
        Self {
            remotes: Arc::default(),
            draining: false,
            told: false,
            calendar: calendar(chain),
            stand: StandingReport {
                standing: Standing::Unsure,
                reason: "it starts".to_owned(),
            },
            out_since: None,
            hold: Hold::default(),
            why: String::new(),
            detour: None,
            returns: Returns::new(returns_at, now),
            returning: None,
            homes: None,
            endpoints: BTreeMap::new(),
        }
    }

    /// Others, or what is configured of them, may have changed.
    pub(super) fn look_again(&mut self) {
        self.homes = None;
    }

    pub(super) fn configure(&mut self, before: &Chain, chain: &Chain) {
        self.look_again();
        let schedule = |chain: &Chain| chain.group.as_ref().and_then(|group| group.schedule.clone());
        if schedule(before) != schedule(chain) {
            self.calendar = calendar(chain);
            self.returns.recalendar();
        }
    }

    pub(super) fn set_remotes(&mut self, remotes: Arc<Remotes>) {
        self.remotes = remotes;
        self.look_again();
    }

    pub(super) fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    pub(super) fn tell(&mut self) {
        self.told = true;
    }

    /// Whether it matters how old the words of others are, and how much room they have.
    pub(super) fn is_attentive(&self) -> bool {
        self.out_since.is_some() || self.detour.is_some()
    }

    pub(super) fn detours(&self) -> bool {
        self.detour.is_some()
    }

    /// What of it outlives a restart.
    pub(super) fn stored(&self, chain: &Chain) -> Option<Timestamp> {
        let scheduled = chain.redirect.return_ == Return::Scheduled;
        self.returns.returns_at().filter(|_| scheduled)
    }

    pub(super) fn returns_at(&self) -> Option<Timestamp> {
        self.returns.returns_at()
    }

    pub(super) fn stand(&self) -> &StandingReport {
        &self.stand
    }

    pub(super) fn redirect(&self) -> Option<RedirectReport> {
        let (detour, since) = self.detour.as_ref()?;
        Some(RedirectReport {
            to: detour::mostly_to(detour)?.clone(),
            since: *since,
            why: detour.why.clone(),
        })
    }

    /// When time alone changes something.
    pub(super) fn changes_at(&self) -> Option<Instant> {
        self.hold.until().into_iter().chain(self.returns.wake_at()).min()
    }

    /// The endpoints of these proxies: the same for the same proxy at the same address, so that its counts stay with it.
    fn candidates(&mut self, relays: Vec<Relay>) -> Vec<Candidate> {
        let known = std::mem::take(&mut self.endpoints);
        let candidate = |relay: Relay| {
            let key = (relay.to.peer.clone(), relay.address);
            let endpoint = known.get(&key).map(Arc::clone);
            let endpoint = endpoint.unwrap_or_else(|| Endpoint::new(RELAY.into(), relay.address));
            self.endpoints.insert(key, Arc::clone(&endpoint));
            Candidate {
                endpoint,
                weight: relay.weight,
                rank: relay.rank,
                warming_since: None,
                max_connections: None,
                via: Via::default(),
                relay: Some(Arc::new(relay.to)),
            }
        };
        let candidates = relays.into_iter().map(candidate).collect();
        let in_use = known
            .into_iter()
            .filter(|(_, endpoint)| endpoint.connections() > 0);
        for (key, endpoint) in in_use {
            self.endpoints.entry(key).or_insert(endpoint);
        }
        candidates
    }
}

impl ChainState {
    /// How the chain stands here.
    pub fn standing(&self) -> &StandingReport {
        self.outward.stand()
    }

    /// The redirect table of its group, as this proxy sees it; none: it talks to nobody.
    pub fn table(&self, now: Instant) -> Option<Table> {
        let sources = Sources {
            chain: &self.chain,
            own: &self.outward.stand,
            topology: self.circle.topology()?,
            neighbours: self.circle.neighbours(),
            remotes: &self.outward.remotes,
            now,
        };
        Some(Table::of(&sources))
    }

    /// Whether guests of this home have had their `grace`: who is still here is closed, paced.
    pub fn grace_is_over(&self, home: &ChainId, now: Instant) -> bool {
        self.outward
            .returns
            .grace_is_over(home, &self.chain.redirect, now)
    }

    /// Puts the outward part into a view of what serves here.
    pub(super) fn look_outward(&mut self, view: &mut View, now: Now) {
        let before = self.outward.redirect();
        self.outward.stand = self.stand(view, now.mono);
        self.bring_back(view, now);
        self.detour(view, now);
        let here = || "its own backends".to_owned();
        match (before, self.outward.redirect()) {
            (None, Some(begun)) => {
                let to = begun.to.to_string();
                self.announce(TransitionKind::RedirectStarted, here(), to, begun.why, now);
            }
            (Some(ended), None) => {
                let (from, why) = (ended.to.to_string(), self.outward.stand.reason.clone());
                self.announce(TransitionKind::RedirectEnded, from, here(), why, now);
            }
            _ => {}
        }
    }

    fn stand(&self, view: &View, now: Instant) -> StandingReport {
        let tier = self.machine.tier();
        let of_tier =
            |member: &&super::Member| member.tier(&self.chain) == Some(tier) && member.health.0.serves();
        let mut serving = self.roster.iter().filter(of_tier).map(super::Member::stale);
        let fresh = serving.clone().any(|stale| stale.is_none());
        standing::stand(&Facts {
            suspended: self.chain.suspend,
            draining: self.outward.draining,
            tier,
            tiers: &self.tiers,
            min_healthy: self.chain.failover.min_healthy,
            stale: serving.next().flatten().filter(|_| !fresh),
            council: &self.circle.council(&self.chain, now),
            reaches: self.reaches(),
            empty: view.empty.as_ref().map_or("", |empty| empty.why.as_str()),
        })
    }

    /// Nobody here serves: clients are sent to others.
    fn detour(&mut self, view: &mut View, now: Now) {
        let tier = self.machine.tier();
        let pending = self.tiers.iter().any(|t| t.tier == tier && t.pending) && !self.chain.suspend;
        let out = view.empty.is_some() && !pending;
        self.outward.out_since = out.then(|| self.outward.out_since.unwrap_or(now.mono));
        let settled = self.settled_at(now.mono).is_none_or(|at| now.mono >= at);
        let wanted = out && settled;
        if out {
            self.outward.why.clone_from(&self.outward.stand.reason);
        }
        let needed = wanted || self.outward.detour.is_some();
        let table = self.table(now.mono).filter(|_| needed);
        let until = self.outward.returns.next_start();
        let plan =
            table.and_then(|table| detour::plan(&table, &self.chain.redirect, &self.outward.why, until));
        let on = self.outward.hold.step(wanted, plan.is_some(), now.mono);
        let Some((detour, relays)) = plan.filter(|_| on) else {
            self.outward.detour = None;
            return;
        };
        let (detour, since) = match self.outward.detour.take() {
            Some((known, since)) if *known == detour => (known, since),
            Some((_, since)) => (Arc::new(detour), since),
            None => (Arc::new(detour), now.wall),
        };
        self.outward.detour = Some((Arc::clone(&detour), since));
        view.candidates = self.outward.candidates(relays);
        view.away.clear();
        view.empty = view.candidates.is_empty().then(|| Empty {
            since: view.empty.as_ref().map_or(now.mono, |empty| empty.since),
            why: detour.why.clone(),
            suspended: self.chain.suspend,
        });
        view.detour = Some(detour);
    }

    /// A fresh look, or the words of mates, are missing: they get the time of a probe. Another tier may serve, and each
    /// failover would send clients away for as long as a detour holds; or a mate says that it serves and may not have noticed
    /// yet that the servers, which are the same, are gone: whoever was sent there would be sent on. None: nothing is waited
    /// for.
    fn settled_at(&self, now: Instant) -> Option<Instant> {
        let since = self.outward.out_since.filter(|_| !self.chain.suspend)?;
        let mate_serves = || {
            let council = self.circle.council(&self.chain, now);
            council.who_serves().is_some()
        };
        let asked = self.looks || self.machine.waits().is_some() || mate_serves();
        let Chain { health, connect, .. } = &*self.chain;
        let patience = (health.timeout + TOLD_WITHIN).min(connect.timeout / 2);
        asked.then(|| since + patience)
    }

    /// Guests go back.
    fn bring_back(&mut self, view: &mut View, now: Now) {
        if self.outward.homes.is_none() {
            self.outward.homes = Some(self.homes(now.mono));
        }
        let rules = returning::Rules {
            redirect: &self.chain.redirect,
            delay: self.chain.failover.delay,
            calendar: self.outward.calendar.as_ref(),
        };
        let homes = self.outward.homes.as_deref().unwrap_or_default();
        let told = std::mem::take(&mut self.outward.told);
        let returning = self.outward.returns.step(&rules, homes, told, now);
        self.outward.returning = match (self.outward.returning.take(), returning) {
            (Some(known), Some(new)) if *known == new => Some(known),
            (_, new) => new.map(Arc::new),
        };
        view.returning.clone_from(&self.outward.returning);
    }

    /// The other chains of the group, in its order.
    fn homes(&self, now: Instant) -> Vec<Home> {
        let (Some(group), Some(topology)) = (&self.chain.group, self.circle.topology()) else {
            return Vec::new();
        };
        let Some(table) = self.table(now) else {
            return Vec::new();
        };
        let others = group
            .members
            .iter()
            .filter(|member| member.chain != self.chain.id);
        let home = |member: &switchyard_snapshot::GroupMember| {
            let access = match &member.at {
                GroupPlace::Pool { pool, listener, .. } => {
                    let mut listeners = topology.pool(pool)?.listeners.iter();
                    let found = listeners.find(|known| known.name == *listener)?;
                    (found.access_host.clone().unwrap_or_default(), found.access_port)
                }
                // Its clients never come here: nobody there redirects to us.
                GroupPlace::Remote { .. } => return None,
            };
            Some(Home {
                chain: member.chain.clone(),
                access,
                lives: table.living().any(|row| row.chain == member.chain),
            })
        };
        others.filter_map(home).collect()
    }

    /// When time alone changes what is shown to the outside.
    pub(super) fn outward_changes_at(&self, now: Instant) -> Option<Instant> {
        let words = self.outward.is_attentive();
        let stale = || self.circle.council(&self.chain, now).stale_at();
        let stale = if words { stale() } else { None };
        let settled = self.settled_at(now).filter(|at| *at > now);
        let all = stale.into_iter().chain(settled).chain(self.outward.changes_at());
        all.filter(|at| *at > now).min()
    }
}

/// The group's prime time; none: it has none, or one that cannot be understood (which the compile step refuses).
fn calendar(chain: &Chain) -> Option<Calendar> {
    let schedule = chain.group.as_ref()?.schedule.as_ref()?;
    Calendar::new(schedule).ok()
}
